//! Faults that are edits of the manifests, and what the cluster says of them.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Holder, Stage};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::cluster::local::{PORT_TAKEN, START_DELAY};
use crate::cluster::manifest::Manifests;
use crate::plan::{Need, Tool};
use crate::transcript::probed::is_wrong_answer;
use crate::transcript::{Entry, Fault, PodChange, Symptom, Told, What};
use crate::wire::{Outcome, Progress, Target};

/// How often the transcript is looked at for an event.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A port that something else listens at, where a pod can be made to want it too.
pub struct TakenPort {
    host: &'static str,
    port: u16,
    /// What listens there, when it is we.
    holder: Option<TcpListener>,
}

/// Where every kubelet listens, on its node's own network.
const KUBELET: u16 = 10_250;

impl TakenPort {
    /// Makes the reference hub's container want the port.
    pub fn give_to(&self, manifests: &mut Manifests) {
        if self.holder.is_none() {
            manifests.use_host_network();
        }
        manifests.append_args(["--host".to_owned(), self.host.to_owned()]);
        manifests.append_args(["--port".to_owned(), self.port.to_string()]);
    }
}

impl Stage {
    /// A port that something else has for as long as this is kept: the kubelet's on a real node, one of ours on this machine,
    /// whose network all local replicas share.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn taken_port(&self) -> anyhow::Result<TakenPort> {
        if matches!(*self.cluster, Cluster::Local(_)) {
            let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = holder.local_addr()?.port();
            return Ok(TakenPort { host: "127.0.0.1", port, holder: Some(holder) });
        }
        Ok(TakenPort { host: "0.0.0.0", port: KUBELET, holder: None })
    }

    /// Makes the release of these manifests one whose process ends as soon as it starts, whatever the hub is.
    pub fn end_at_start(&self, manifests: &mut Manifests) {
        manifests.set_command(["sh", "-c", "exit 1"]);
    }

    /// Gives the port that the process of these manifests is told to listen at to something else, whatever the hub is.
    pub fn take_port(&self, manifests: &mut Manifests) {
        manifests.set_env(PORT_TAKEN, "1");
    }

    /// Makes the process of these manifests start so many seconds late, whatever the hub is.
    pub fn start_late(&self, manifests: &mut Manifests, seconds: u32) {
        if self.offers(Need::ReferenceHub) {
            manifests.set_env("START_DELAY", &format!("{seconds}s"));
        } else {
            manifests.set_env(START_DELAY, &seconds.to_string());
        }
    }

    /// The manifests as they are now.
    ///
    /// # Errors
    ///
    /// When the cluster is down, or not ours.
    pub async fn manifests(&self) -> anyhow::Result<Manifests> {
        Ok(self.cluster.manifests().await?)
    }

    /// The manifests as the run was given them, before the scenario's own edits.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn given_manifests(&self) -> anyhow::Result<&Manifests> {
        self.rig.manifests().ok_or_else(|| anyhow::anyhow!("a hub that is not ours has no manifests"))
    }

    /// Edits the manifests and applies them to the running cluster. The words say what changed; they are the same in
    /// every run and on every backend, and hold no value of a Secret.
    ///
    /// # Errors
    ///
    /// When the cluster does not take them.
    pub async fn apply(&self, change: &str, edit: impl FnOnce(&mut Manifests)) -> anyhow::Result<()> {
        let mut manifests = self.manifests().await?;
        edit(&mut manifests);
        // Before a replica can print them.
        self.recorder.mask_also(manifests.secret_values());
        Ok(self.cluster.apply(manifests, change).await?)
    }

    /// Notes that a replica is now made to take more memory than it may have.
    pub fn starves(&self, replica: &str) {
        self.recorder.record(What::Fault(Fault::Starve { replica: replica.to_owned() }));
    }

    /// Has a replica take so many MiB, however long a busy machine needs to give them.
    pub async fn take_memory(&self, holder: &Holder, target: &Target, mib: u64) -> Outcome {
        let params = self.tool_call(Tool::Allocate, &json!({ "mib": mib }));
        let settle = self.rig.timeouts.settle;
        let pending = holder.session.start(target, "tools/call", params, settle, Progress::No).await;
        pending.outcome().await
    }

    /// Waits for the cluster to tell what is wrong, by a message that names these. Whether it did is in the
    /// transcript, for checks to judge.
    pub async fn symptom(&self, symptom: Symptom, naming: &[&str]) -> bool {
        let began = Instant::now();
        let told = if symptom.is_a_state() {
            self.cluster.told(symptom, naming, self.rig.timeouts.settle).await
        } else {
            self.told_by_event(symptom).await
        };
        let is_told = told.is_ok();
        self.told(symptom, naming, began, told);
        is_told
    }

    /// Notes what the cluster told, or what was seen instead.
    pub(super) fn told(&self, symptom: Symptom, naming: &[&str], began: Instant, told: Result<Told, String>) {
        let (told, instead) = match told {
            Ok(told) => (Some(told), None),
            Err(instead) => (None, Some(instead)),
        };
        self.recorder.record(What::Symptom {
            symptom,
            naming: naming.iter().map(|name| (*name).to_owned()).collect(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            told,
            instead,
        });
    }

    /// Waits for an event that came after the latest fault.
    async fn told_by_event(&self, symptom: Symptom) -> Result<Told, String> {
        let find = |entry: &Entry| match &entry.what {
            What::Event { object, reason, message } => symptom.of_event(object, reason, message),
            _ => None,
        };
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let told = async {
            loop {
                look.tick().await;
                if let Some(told) = self.recorder.latest(|what| matches!(what, What::Fault(_)), find) {
                    return told;
                }
            }
        };
        let told = tokio::time::timeout(self.rig.timeouts.settle, told).await;
        told.map_err(|_| "no such event".to_owned())
    }

    /// Leaves the replica to its own probes: for so long, or until one of them fails; then until the failure has its consequence,
    /// for as long as that may take. An answer that is wrong needs no more.
    pub async fn until_probed(&self, asked: Duration, gives_up: Duration) {
        let failed = |what: &What| matches!(what, What::Event { reason, .. } if reason == "Unhealthy");
        let ended = |what: &What| {
            matches!(what, What::Pod { change: PodChange::NotReady | PodChange::Terminated { .. }, .. })
        };
        let since = self.recorder.entries().len();
        let seen = async |wanted: &(dyn Fn(&What) -> bool + Sync)| {
            let mut look = tokio::time::interval(LOOK_AGAIN);
            while !self.recorder.entries().iter().skip(since).any(|entry| wanted(&entry.what)) {
                look.tick().await;
            }
        };
        if tokio::time::timeout(asked, seen(&failed)).await.is_ok() {
            let is_enough = |what: &What| ended(what) || is_wrong_answer(what);
            let _ = tokio::time::timeout(gives_up, seen(&is_enough)).await;
        }
    }

    /// Notes how long something took, for the report and, where there is a limit, for the checks.
    pub fn measured(&self, what: &str, since: Instant, limit: Option<Duration>) {
        let (took_ms, limit_ms) = (millis(since.elapsed()), limit.map(millis));
        self.recorder.record(What::Measured { what: what.to_owned(), took_ms, limit_ms });
    }

    /// Waits for what the hub, and not the harness, has to bring about; whether it came true. Where [`Stage::wait`]
    /// breaks the scenario off, this leaves the verdict to the checks.
    pub async fn expect(&self, condition: Condition) -> bool {
        self.cluster.wait(&condition, self.rig.timeouts.settle).await.is_ok()
    }

    /// Notes how long a replica took from its creation until it was ready for the first time, for the report.
    pub fn time_to_ready(&self, replica: &str) {
        let entries = self.recorder.entries();
        let at = |wanted: &PodChange| {
            entries.iter().find_map(|entry| match &entry.what {
                What::Pod { pod, change } if pod == replica && change == wanted => Some(entry.at_us),
                _ => None,
            })
        };
        if let (Some(created), Some(ready)) = (at(&PodChange::Created), at(&PodChange::Ready)) {
            let took_ms = ready.saturating_sub(created) / 1000;
            self.recorder.record(What::Measured {
                what: "time to ready".to_owned(),
                took_ms,
                limit_ms: None,
            });
        }
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
