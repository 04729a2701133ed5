//! Which Deployment is the hub, which of its containers, and which Service and port lead to it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ManifestError;
use super::companion::Companion;
use super::document::shown;
use super::service::braced;
use crate::cluster::image_name;

/// What the user says of the hub among many objects.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The name of its Deployment or StatefulSet.
    pub deployment: Option<String>,
    /// The name of its Service.
    pub service: Option<String>,
    /// The name of its container.
    pub container: Option<String>,
    /// The images that a command line or `--image` is given for.
    pub images: Vec<String>,
}

/// A Deployment, or a StatefulSet as one.
pub(super) struct Workload {
    /// `Deployment` or `StatefulSet`.
    pub(super) kind: &'static str,
    pub(super) deployment: Deployment,
    /// `file:line`.
    pub(super) place: String,
    /// As it stands there.
    pub(super) whole: Companion,
}

/// A Service.
pub(super) struct Serving {
    pub(super) service: Service,
    /// `file:line`.
    pub(super) place: String,
    /// As it stands there.
    pub(super) whole: Companion,
}

/// Words in the names of ports that lead to something else than MCP.
const BESIDE: [&str; 6] = ["metric", "prom", "admin", "health", "debug", "probe"];

/// The hub's workload among these, its container first in its pod.
pub(super) fn workload(found: &mut Vec<Workload>, choice: &Choice) -> Result<Workload, ManifestError> {
    let mut fit: Vec<usize> = (0..found.len()).collect();
    if let Some(name) = &choice.deployment {
        fit.retain(|idx| found[*idx].name() == name);
        if fit.is_empty() {
            return Err(unknown("--deployment", name, found.iter().map(Workload::told)));
        }
    }
    let runs = |workload: &Workload| workload.containers().any(|container| choice.runs(container));
    if fit.len() > 1 && fit.iter().any(|idx| runs(&found[*idx])) {
        fit.retain(|idx| runs(&found[*idx]));
    }
    let [chosen] = fit[..] else {
        return Err(many("--deployment", "the hub", fit.iter().map(|idx| found[*idx].told())));
    };
    let mut workload = found.remove(chosen);
    workload.first_is_the_hub(choice)?;
    Ok(workload)
}

/// The Service that leads to this workload, its port for MCP first.
pub(super) fn service(
    found: &mut Vec<Serving>,
    workload: &mut Workload,
    choice: &Choice,
) -> Result<Serving, ManifestError> {
    let mut fit: Vec<usize> = (0..found.len()).collect();
    if let Some(name) = &choice.service {
        fit.retain(|idx| found[*idx].name() == name);
        if fit.is_empty() {
            return Err(unknown("--service", name, found.iter().map(Serving::told)));
        }
    }
    // With one Service there is no choice: why it selects nothing is told when it is looked at.
    if fit.len() > 1 {
        let selects = |idx: &usize| found[*idx].selects(&workload.labels());
        if !fit.iter().any(selects) {
            return Err(ManifestError::NoServiceSelects {
                workload: workload.told(),
                labels: braced(&workload.labels()),
                services: fit
                    .iter()
                    .map(|idx| found[*idx].told_with_selector())
                    .collect::<Vec<_>>()
                    .join("; "),
            });
        }
        fit.retain(selects);
        let ports = workload.ports();
        narrow(&mut fit, |idx| !found[*idx].is_headless());
        narrow(&mut fit, |idx| found[*idx].ports().any(|port| reached(port, &ports).is_some()));
        narrow(&mut fit, |idx| found[*idx].ports().any(|port| !is_beside(port)));
    }
    let [chosen] = fit[..] else {
        return Err(many("--service", "the hub's Service", fit.iter().map(|idx| found[*idx].told())));
    };
    let mut serving = found.remove(chosen);
    serving.first_is_mcp(workload);
    Ok(serving)
}

// === impl Choice ===

impl Choice {
    fn runs(&self, container: &Container) -> bool {
        container
            .image
            .as_ref()
            .is_some_and(|image| self.images.iter().any(|given| image_name::is_same(given, image)))
    }
}

// === impl Workload ===

impl Workload {
    pub(super) fn name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }

    fn told(&self) -> String {
        let images = self.containers().filter_map(|container| container.image.as_deref());
        let images: Vec<String> = images.map(shown).collect();
        format!("{} {} ({}, {})", self.kind, shown(self.name()), images.join(" and "), self.place)
    }

    fn pod(&self) -> Option<&PodSpec> {
        self.deployment.spec.as_ref()?.template.spec.as_ref()
    }

    fn pod_mut(&mut self) -> Option<&mut PodSpec> {
        self.deployment.spec.as_mut()?.template.spec.as_mut()
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.pod().into_iter().flat_map(|pod| &pod.containers)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let template = self.deployment.spec.as_ref().map(|spec| &spec.template);
        template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default()
    }

    /// The ports of the hub's container: name and number.
    fn ports(&self) -> Vec<(Option<String>, i32)> {
        let ports = self.containers().take(1).flat_map(|container| container.ports.iter().flatten());
        ports.map(|port| (port.name.clone(), port.container_port)).collect()
    }

    /// Puts the hub's container before its sidecars, which only the order of their names would tell apart later.
    fn first_is_the_hub(&mut self, choice: &Choice) -> Result<(), ManifestError> {
        let names: Vec<String> = self.containers().map(|container| container.name.clone()).collect();
        let position = match &choice.container {
            Some(name) => match names.iter().position(|known| known == name) {
                Some(position) => position,
                None => return Err(unknown("--container", name, names.iter().map(|name| shown(name)))),
            },
            None => self.containers().position(|container| choice.runs(container)).unwrap_or(0),
        };
        if let Some(pod) = self.pod_mut().filter(|pod| position < pod.containers.len()) {
            pod.containers[..=position].rotate_right(1);
        }
        Ok(())
    }
}

// === impl Serving ===

impl Serving {
    fn name(&self) -> &str {
        self.service.metadata.name.as_deref().unwrap_or_default()
    }

    fn told(&self) -> String {
        format!("{} ({})", shown(self.name()), self.place)
    }

    fn told_with_selector(&self) -> String {
        format!("{} {}", shown(self.name()), braced(&self.selector()))
    }

    fn selector(&self) -> BTreeMap<String, String> {
        self.service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
    }

    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let selector = self.selector();
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn is_headless(&self) -> bool {
        self.service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
    }

    fn ports(&self) -> impl Iterator<Item = &ServicePort> {
        self.service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
    }

    /// Puts the port that leads to MCP first, in the Service and in the container: everything else goes by the first.
    fn first_is_mcp(&mut self, workload: &mut Workload) {
        let has = workload.ports();
        let mut fit: Vec<usize> = (0..self.ports().count()).collect();
        let ports: Vec<ServicePort> = self.ports().cloned().collect();
        narrow(&mut fit, |idx| reached(&ports[*idx], &has).is_some());
        narrow(&mut fit, |idx| !is_beside(&ports[*idx]));
        narrow(&mut fit, |idx| names(&ports[*idx]).any(|name| name.contains("mcp") || name.contains("sse")));
        narrow(&mut fit, |idx| names(&ports[*idx]).any(|name| name.contains("http") || name.contains("web")));
        let Some(chosen) = fit.first().copied() else { return };
        if let Some(ports) = self.service.spec.as_mut().and_then(|spec| spec.ports.as_mut()) {
            ports[..=chosen].rotate_right(1);
        }
        let container = workload.pod_mut().and_then(|pod| pod.containers.first_mut());
        let declared = container.and_then(|container| container.ports.as_mut());
        if let (Some(at), Some(declared)) = (reached(&ports[chosen], &has), declared) {
            declared[..=at].rotate_right(1);
        }
    }
}

// === helpers ===

/// Leaves only what fits, unless nothing does.
fn narrow(fit: &mut Vec<usize>, is_better: impl Fn(&usize) -> bool) {
    if fit.iter().any(&is_better) {
        fit.retain(is_better);
    }
}

/// Which of these ports of the container the Service's port leads to.
fn reached(port: &ServicePort, has: &[(Option<String>, i32)]) -> Option<usize> {
    has.iter().position(|(name, number)| match &port.target_port {
        Some(IntOrString::String(target)) => name.as_deref() == Some(target),
        Some(IntOrString::Int(target)) => number == target,
        None => *number == port.port,
    })
}

/// The names by which a Service's port goes.
fn names(port: &ServicePort) -> impl Iterator<Item = String> {
    let target = match &port.target_port {
        Some(IntOrString::String(name)) => Some(name.to_lowercase()),
        Some(IntOrString::Int(_)) | None => None,
    };
    port.name.as_deref().map(str::to_lowercase).into_iter().chain(target)
}

/// Whether it leads to something else than MCP.
fn is_beside(port: &ServicePort) -> bool {
    names(port).any(|name| BESIDE.iter().any(|word| name.contains(word)))
}

fn many(flag: &'static str, what: &'static str, told: impl Iterator<Item = String>) -> ManifestError {
    ManifestError::Many { flag, what, found: told.collect::<Vec<_>>().join(", ") }
}

fn unknown(flag: &'static str, name: &str, known: impl Iterator<Item = String>) -> ManifestError {
    ManifestError::Unknown { flag, name: shown(name), known: known.collect::<Vec<_>>().join(", ") }
}
