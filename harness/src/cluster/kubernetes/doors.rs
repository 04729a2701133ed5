//! The ways to a cell's Service beside the one that all its clients take: by each node, and from within.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Kubernetes;
use super::view::View;
use crate::cluster::FaultError;
use crate::cluster::backend::Address;
use crate::cluster::gate::{Callers, Entry, Gate, GateError, Relays};
use crate::transcript::Recorder;

impl Kubernetes {
    /// Where clients connect to reach the Service at each node, in the order of the nodes' names. From then on every wait
    /// looks at the rules of all of them.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the nodes are not ours.
    pub async fn at_nodes(&self) -> Result<Vec<(String, Address)>, FaultError> {
        let entries = self.site.entries(&self.served).await;
        let mut found = Vec::new();
        for entry in entries.map_err(FaultError::refused)? {
            let node = entry.0.node.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
            found.push((node, self.door(entry).await?));
        }
        Ok(found)
    }

    /// Where clients connect to reach the Service by its own address, from a pod.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when no such pod can be had.
    pub async fn within(&self) -> Result<Address, FaultError> {
        let entry = self.site.within(&self.served).await;
        self.door(entry.map_err(FaultError::refused)?).await
    }

    async fn door(&self, entry: (Entry, Relays)) -> Result<Address, FaultError> {
        let gate = open(entry, self.gate.callers(), &self.view, &self.recorder).await;
        let gate = gate.map_err(FaultError::refused)?;
        let address = Address { addr: gate.addr(), authority: gate.to().to_string(), tls: None };
        self.doors.lock().await.push(gate);
        Ok(address)
    }

    /// The node that a pod runs on.
    pub fn node_of(&self, replica: &str) -> Option<String> {
        self.view.borrow().pod(replica)?.node.clone()
    }

    /// Whether every node by which clients enter gives their connections to exactly these pods; nothing when the rules of
    /// one cannot be read.
    pub(super) async fn routes(&self, pods: &[IpAddr]) -> Option<bool> {
        let service = self.objects.service();
        let doors = self.doors.lock().await;
        for gate in std::iter::once(&self.gate).chain(doors.iter().filter(|door| door.node().is_some())) {
            if !self.site.routes(gate.node(), &service, pods).await? {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// Opens a gate whose connections are told by the names of the pods that they reach.
pub(super) async fn open(
    (entry, relays): (Entry, Relays),
    callers: &Callers,
    view: &watch::Receiver<Arc<View>>,
    recorder: &Recorder,
) -> Result<Gate, GateError> {
    let pods = view.clone();
    Gate::open(entry, relays, callers.clone(), recorder.clone(), move |ip: IpAddr| pods.borrow().pod_at(ip))
        .await
}
