//! What a Service says about where connections go.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::probe::real_port;

/// Kubernetes' default of `timeoutSeconds`.
const CLIENT_IP_TIMEOUT: Duration = Duration::from_secs(10_800);

/// How long a client keeps its endpoint; `None` without affinity.
pub(crate) fn affinity(service: &Service) -> Option<Duration> {
    let spec = service.spec.as_ref()?;
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds);
    let timeout = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Some(timeout.unwrap_or(CLIENT_IP_TIMEOUT))
}

/// The port at which the Service reaches a pod with these labels; `None` when it does not select the pod, or names
/// a port that the container does not have.
pub(crate) fn target_port(
    service: &Service,
    labels: &BTreeMap<String, String>,
    container: &Container,
    own: u16,
) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    if !selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
        return None;
    }
    let port = spec.ports.as_ref()?.first()?;
    let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
    real_port(container, &target, own)
}
