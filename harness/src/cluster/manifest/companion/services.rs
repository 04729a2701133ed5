//! The Services by which a hub finds a companion, and the texts in which it may stand.

use k8s_openapi::api::core::v1::ServicePort;
use serde_json::Value;

use super::{Companion, CompanionKind};
use crate::cluster::environment::secret_values;
use crate::cluster::manifest::Manifests;

/// A Service that leads to a companion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePorts {
    /// Its name.
    pub(crate) name: String,
    /// Its ports.
    pub(crate) ports: Vec<ServicePort>,
    /// Whether it has an address of its own: a headless one has none.
    pub(crate) has_address: bool,
}

// === impl ServicePorts ===

impl ServicePorts {
    fn of(companion: &Companion) -> Self {
        let spec = &companion.object["spec"];
        let ports = serde_json::from_value(spec["ports"].clone()).unwrap_or_default();
        let has_address = spec["clusterIP"] != "None" && spec["type"] != "ExternalName";
        Self { name: companion.name.clone(), ports, has_address }
    }

    /// The numbers of its ports.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().filter_map(|port| u16::try_from(port.port).ok())
    }
}

// === impl Manifests ===

impl Manifests {
    /// The Services of a companion that is called so: the one of that name, or those that lead to the workload of that name.
    pub(crate) fn services_of(&self, name: &str) -> Vec<ServicePorts> {
        let services =
            || self.companions.iter().filter(|found| found.companion_kind() == Some(CompanionKind::Service));
        if let Some(service) = services().find(|service| service.name == name) {
            return vec![ServicePorts::of(service)];
        }
        let workload = self.workloads_beside().find(|workload| workload.name == name);
        let Some(labels) = workload.and_then(Companion::pod_labels) else { return Vec::new() };
        let selects = |service: &&Companion| selects(service, labels);
        services().filter(selects).map(ServicePorts::of).collect()
    }

    /// The companions that `local` does not start, each with the flag that would. `given` are the names that were given.
    pub(crate) fn not_started(&self, given: &[&str]) -> Option<String> {
        let not_started: Vec<String> = self
            .workloads_beside()
            .filter_map(|workload| {
                let labels = workload.pod_labels()?;
                let services = self.companions.iter().filter(|service| {
                    service.companion_kind() == Some(CompanionKind::Service) && selects(service, labels)
                });
                let names: Vec<&str> =
                    services.map(|service| service.name.as_str()).chain([workload.name.as_str()]).collect();
                let is_given = names.iter().any(|name| given.contains(name));
                (!is_given).then(|| {
                    let name = crate::cluster::manifest::document::shown(names[0]);
                    format!(
                        "{} (`--companion {name}=COMMAND` or `--companion {name}=HOST:PORT`)",
                        workload.label()
                    )
                })
            })
            .collect();
        (!not_started.is_empty()).then(|| not_started.join(", "))
    }

    /// Every value that a hub's environment may have from the files.
    pub(crate) fn values(&self) -> impl Iterator<Item = String> {
        let variables =
            self.first_container().into_iter().flat_map(|container| container.env.iter().flatten());
        let variables = variables.filter_map(|variable| variable.value.clone());
        let settings = self.config_maps.iter().flat_map(|map| map.data.iter().flatten());
        let secrets = self.secrets.iter().flat_map(secret_values).map(|(_, value)| value);
        variables.chain(settings.map(|(_, value)| value.clone())).chain(secrets)
    }

    /// The workloads of the files that are not the hub.
    pub(in crate::cluster::manifest) fn workloads_beside(&self) -> impl Iterator<Item = &Companion> {
        let is_workload = |found: &&Companion| found.companion_kind().is_some_and(CompanionKind::is_workload);
        self.companions.iter().filter(is_workload)
    }
}

/// Whether a Service leads to pods with these labels.
fn selects(service: &Companion, labels: &serde_json::Map<String, Value>) -> bool {
    let selector = service.object["spec"]["selector"].as_object().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}
