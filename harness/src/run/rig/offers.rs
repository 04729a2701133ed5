//! What a place offers before the hub has been looked at.

use std::collections::BTreeSet;

use super::Place;
use crate::cluster::manifest::Manifests;
use crate::plan::Need;

/// What every cluster of ours can do.
const CLUSTER: [Need; 10] = [
    Need::Aim,
    Need::Affinity,
    Need::ClientAddresses,
    Need::Routed,
    Need::KillProcess,
    Need::SignalProcess,
    Need::DeletePod,
    Need::Scale,
    Need::Rollout,
    Need::Edit,
];

/// What only a real Kubernetes has. The embedded cluster imitates none of it.
const KUBERNETES: [Need; 4] = [Need::Images, Need::Scheduler, Need::Nodes, Need::Kubeconfig];

// === impl Place ===

impl Place {
    /// What hub and backend offer, as far as it can be told without starting the hub.
    pub(super) fn offers(&self) -> BTreeSet<Need> {
        let (manifests, asks, is_reference) = match self {
            Place::Local(hub) => (&hub.manifests, hub.asks, hub.is_reference),
            Place::Kind(hub) => (&hub.manifests, hub.asks, hub.is_reference),
            Place::Url(_) => return BTreeSet::new(),
        };
        let mut has = BTreeSet::from(CLUSTER);
        if matches!(self, Place::Kind(_)) {
            has.extend(KUBERNETES);
        }
        has.extend(asks.then_some(Need::ReadinessAsks));
        has.extend(is_reference.then_some(Need::ReferenceHub));
        has.extend(of_manifests(manifests));
        has
    }
}

fn of_manifests(manifests: &Manifests) -> impl Iterator<Item = Need> {
    let secret = manifests.required_secret().map(|_| Need::Secret);
    let limit = manifests.has_memory_limit().then_some(Need::MemoryLimit);
    secret.into_iter().chain(limit)
}
