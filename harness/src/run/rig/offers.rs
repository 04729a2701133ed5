//! What a place offers before the hub has been looked at.

use std::collections::BTreeSet;

use super::Place;
use crate::cluster::manifest::Manifests;
use crate::plan::Need;

/// What every cluster can do.
const CLUSTER: [Need; 8] = [
    Need::ReplicasSeen,
    Need::Aim,
    Need::Affinity,
    Need::ClientAddresses,
    Need::DeletePod,
    Need::Scale,
    Need::Rollout,
    Need::Edit,
];

/// What only those have whose nodes are ours: there we see processes. Whether it is told which replica got a connection
/// is asked of the cluster once it is up.
const NODES: [Need; 3] = [Need::KillProcess, Need::SignalProcess, Need::Processes];

/// What only a real Kubernetes has. The embedded cluster imitates none of it.
const KUBERNETES: [Need; 2] = [Need::Scheduler, Need::Kubeconfig];

// === impl Place ===

impl Place {
    /// The backend's name, as a user writes it.
    pub(super) fn backend_name(&self) -> &'static str {
        match self {
            Place::Local(_) => "local",
            Place::Kind(_) => "kind",
            Place::Kube(_) => "kube",
            Place::Url { .. } => "url",
        }
    }

    /// Whether its hub is the reference hub.
    pub(super) fn is_reference(&self) -> bool {
        match self {
            Place::Local(hub) => hub.is_reference,
            Place::Kind(hub) => hub.is_reference,
            Place::Kube(hub) => hub.is_reference,
            Place::Url { .. } => false,
        }
    }

    /// What hub and backend offer, as far as it can be told without starting the hub.
    pub(super) fn offers(&self) -> BTreeSet<Need> {
        let is_reference = self.is_reference();
        let (manifests, asks) = match self {
            Place::Local(hub) => (&hub.manifests, hub.asks),
            Place::Kind(hub) => (&hub.manifests, hub.asks),
            Place::Kube(hub) => (&hub.manifests, hub.asks),
            Place::Url { .. } => return BTreeSet::new(),
        };
        let mut has = BTreeSet::from(CLUSTER);
        match self {
            Place::Local(_) => has.extend(NODES.into_iter().chain([Need::Outside, Need::TakenPort])),
            Place::Kind(_) => {
                has.extend(NODES.into_iter().chain(KUBERNETES).chain([Need::Nodes, Need::Images]))
            }
            Place::Kube(_) => has.extend(KUBERNETES),
            Place::Url { .. } => {}
        }
        has.extend(asks.then_some(Need::ReadinessAsks));
        // It is told a token and an origin where a scenario needs them.
        has.extend(
            [Need::ReferenceHub, Need::Outside, Need::TakenPort, Need::Token, Need::Origin]
                .into_iter()
                .filter(|_| is_reference),
        );
        has.extend(
            (is_reference && manifests.secret_of_env("SESSION_KEY").is_some()).then_some(Need::SessionKey),
        );
        has.extend(of_manifests(manifests));
        has
    }
}

fn of_manifests(manifests: &Manifests) -> impl Iterator<Item = Need> {
    let secret = manifests.required_secret().map(|_| Need::Secret);
    let limit = manifests.has_memory_limit().then_some(Need::MemoryLimit);
    let liveness = manifests.has_liveness_probe().then_some(Need::LivenessProbe);
    secret.into_iter().chain(limit).chain(liveness)
}
