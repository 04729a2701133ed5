//! Replicas that are up before the cells that run on them: each cell that ends replicas has its own, all others of the same replicas
//! and affinity share theirs. A cell has its own clients, sessions and recorder, and a seat at the cluster.
//!
//! Only the quick profile does this. A whole run gives every cell a cluster of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Scenario;
use crate::cluster::backend::Cluster;
use crate::plan::{Cell, Need, Tool};
use crate::transcript::{Recorder, Tap, What};

/// So many cells use the same replicas at once: more would wait for each other.
const AT_ONCE: usize = 4;

/// A cluster whose replicas are ready, and the cells that it is for.
pub struct Shared {
    cells: Vec<Cell>,
    cluster: Arc<Cluster>,
    recorder: Recorder,
    /// What was recorded until its replicas were ready: each cell begins with that.
    start: Vec<What>,
    /// How many clients had an address.
    clients: AtomicUsize,
    places: Arc<Semaphore>,
}

/// A cell's place at a cluster; it is free again when this is dropped.
pub(super) struct Seat {
    shared: Arc<Shared>,
    recorder: Recorder,
    tap: Tap,
    _place: OwnedSemaphorePermit,
}

// === impl Shared ===

impl Shared {
    /// A cluster for these cells. So many clients had an address already.
    pub(super) fn new(cells: Vec<Cell>, cluster: Cluster, recorder: Recorder, clients: usize) -> Self {
        let is_of_start = |what: &What| !matches!(what, What::Routed { .. } | What::Awaited { .. });
        let start = recorder.entries().into_iter().map(|entry| entry.what).filter(is_of_start).collect();
        let (cluster, places) = (Arc::new(cluster), Arc::new(Semaphore::new(AT_ONCE)));
        Self { cells, cluster, recorder, start, clients: AtomicUsize::new(clients), places }
    }

    /// The cluster.
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The one of these that is for this cell.
    pub(super) fn of(all: &[Arc<Self>], cell: Cell) -> Option<Arc<Self>> {
        all.iter().find(|shared| shared.cells.contains(&cell)).cloned()
    }

    /// A place for a cell with this recorder, once one is free; `None` when the pods are not what they were when they became ready:
    /// then a verdict would be about what another cell did.
    pub(super) async fn seat(self: Arc<Self>, recorder: &Recorder) -> Option<Seat> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        if self.has_changed() {
            return None;
        }
        let tap = Tap::new(recorder.clone());
        for what in &self.start {
            recorder.record(what.clone());
        }
        self.recorder.tap(tap.clone());
        Some(Seat { shared: self, recorder: recorder.clone(), tap, _place: place })
    }

    /// Ends the replicas, once no cell uses them.
    pub(super) async fn down(self: Arc<Self>) {
        if let Some(shared) = Arc::into_inner(self)
            && let Some(cluster) = Arc::into_inner(shared.cluster)
        {
            cluster.down().await;
        }
    }

    fn has_changed(&self) -> bool {
        let is_change = |what: &What| {
            matches!(what, What::Pod { .. } | What::Endpoints { .. } | What::Fault(_) | What::Broken { .. })
        };
        let changes = |whats: &mut dyn Iterator<Item = &What>| whats.filter(|what| is_change(what)).count();
        let entries = self.recorder.entries();
        changes(&mut entries.iter().map(|entry| &entry.what)) != changes(&mut self.start.iter())
    }
}

// === impl Seat ===

impl Seat {
    /// The cluster.
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.shared.cluster
    }

    /// The number of the next client: its address is one that no client of another cell has.
    pub(super) fn number(&self) -> usize {
        self.shared.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections from this address are the cell's own.
    pub(super) fn own(&self, address: IpAddr) {
        self.tap.own(address);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.recorder.untap(&self.recorder);
    }
}

/// Whether a scenario leaves the replicas as they are, so that others may use them. One that changes them needs something that says so.
pub(super) fn leaves_replicas_alone(scenario: &Scenario) -> bool {
    let changes = |need: &Need| match need {
        Need::KillProcess
        | Need::SignalProcess
        | Need::DeletePod
        | Need::Scale
        | Need::Rollout
        | Need::Edit
        | Need::Secret
        | Need::SessionKey
        | Need::MemoryLimit
        | Need::LivenessProbe
        | Need::Images
        | Need::Scheduler
        | Need::Nodes
        | Need::Evictions
        | Need::Kubeconfig
        | Need::Affinity
        | Need::Outside
        | Need::TakenPort
        | Need::Tool(Tool::Allocate) => true,
        Need::Replicas(_)
        | Need::ReplicasSeen
        | Need::Speaks(_)
        | Need::SessionIds(_)
        | Need::EventIds
        | Need::GetAnswered
        | Need::DeleteAnswered
        | Need::Way(..)
        | Need::Unlimited
        | Need::Tool(_)
        | Need::Permission(_)
        | Need::HeldCall
        | Need::SlowCall
        | Need::Progress
        | Need::Repeats
        | Need::ReadinessAsks
        | Need::Aim
        | Need::ClientAddresses
        | Need::Routed
        | Need::Processes
        | Need::Token
        | Need::Origin
        | Need::ReferenceHub => false,
    };
    !scenario.outline.needs.iter().any(changes)
}
