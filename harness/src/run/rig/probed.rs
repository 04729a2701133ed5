//! Which of the manifests' probes an idle replica fails: cells go without them, and `lifecycle/probes-as-deployed` judges them.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Place, Rig, target};
use crate::cluster::backend::Cluster;
use crate::cluster::manifest::{Asked, ProbeKind};
use crate::transcript::{Path, Recorder};
use crate::wire::{Client, Raw};

/// What the kubelet calls itself.
const KUBELET: &str = "kube-probe/1.33";

/// An answer that does not come is missed only when it is missed so often.
const TRIES: usize = 3;

impl Rig {
    /// The startup and the liveness probe, where an idle replica answers them as no probe may be answered. Only what can be asked
    /// from here is asked: a path at the port that the hub serves.
    pub(super) async fn failing_probes(&self, cluster: &Cluster, recorder: &Recorder) -> Vec<ProbeKind> {
        let Some(manifests) = self.manifests() else { return Vec::new() };
        let Some(replica) = cluster.ready_replicas().into_iter().next() else { return Vec::new() };
        let Some(address) = cluster.at(&replica) else { return Vec::new() };
        let target = target(Path::Replica(replica), address);
        let client = Client::new(
            "survey-probes".to_owned(),
            cluster.client_address(0).await.ok().flatten(),
            recorder.clone(),
            Arc::clone(&self.dialect),
            Arc::clone(&self.timeouts),
        );
        let mut failing = Vec::new();
        for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
            let Some(Asked { path, timeout }) = manifests.asks_by_http(kind) else { continue };
            let mut passes = false;
            for _ in 0..TRIES {
                let asked = Raw::new("GET", &path).named(format!("{kind} probe")).with("user-agent", KUBELET);
                let began = std::time::Instant::now();
                let status = client.exchange(&target, asked).await.status;
                passes = status.is_some_and(|status| (200..400).contains(&status))
                    && began.elapsed() <= timeout.max(Duration::from_secs(1));
                // What was answered will be answered so again.
                if status.is_some() {
                    break;
                }
            }
            if !passes {
                failing.push(kind);
            }
        }
        failing
    }

    /// Leaves out the probes that ask another port than the hub's, where nothing listens there on `local`: a command line stands for
    /// an image, and need not serve all of its ports.
    pub(super) async fn leave_out_unserved(&mut self, cluster: &Cluster) {
        let Place::Local(local) = &mut self.place else { return };
        let replica = cluster.ready_replicas().into_iter().next();
        let Some(address) = replica.and_then(|replica| cluster.at(&replica)) else { return };
        for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
            let Some(port) = local.manifests.asks_elsewhere(kind) else { continue };
            let connecting = TcpStream::connect((address.addr.ip(), port));
            if !matches!(tokio::time::timeout(self.timeouts.connect, connecting).await, Ok(Ok(_))) {
                local.manifests.drop_probe(kind);
                self.noted.push(format!(
                    "the {kind} probe asks port {port}, where nothing listens on `local`: it is left out"
                ));
            }
        }
    }
}
