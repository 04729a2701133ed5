//! What manifests say of the Service and of a pod's life, with what Kubernetes fills in.

use std::time::Duration;

use super::Manifests;
use crate::cluster::local;

impl Manifests {
    /// How long the Service sends a client to the replica that it reached before; `None` without `sessionAffinity: ClientIP`.
    pub fn affinity(&self) -> Option<Duration> {
        local::affinity(&self.service)
    }

    /// Period and timeout of the readiness probe in seconds, and its failures in a row, with the defaults of
    /// <https://kubernetes.io/docs/concepts/workloads/pods/probes/>.
    pub fn readiness_numbers(&self) -> Option<(u32, u32, u32)> {
        let probe = self.first_container()?.readiness_probe.as_ref()?;
        let or = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Some((or(probe.period_seconds, 10), or(probe.timeout_seconds, 1), or(probe.failure_threshold, 3)))
    }

    /// Whether the Service keeps the addresses of clients from outside: `externalTrafficPolicy: Local`.
    pub fn keeps_client_addresses(&self) -> bool {
        let policy = self.service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref());
        policy == Some("Local")
    }
}
