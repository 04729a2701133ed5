//! Whether a Service leads to the pods of its Deployment, as the manifests say it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Manifests;
use super::document::shown;

/// Why a Service leads to no pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceFault {
    /// It has no port.
    NoPort {
        /// The Service.
        service: String,
    },
    /// Its selector does not match the pods' labels.
    SelectsNothing {
        /// The Service.
        service: String,
        /// Its selector.
        selector: BTreeMap<String, String>,
        /// The labels of the Deployment's pods.
        labels: BTreeMap<String, String>,
    },
    /// Its `targetPort` is none of the container.
    NoSuchPort {
        /// The Service.
        service: String,
        /// What `targetPort` says.
        target: String,
        /// The ports that the pod's containers have: name and number.
        has: Vec<(Option<String>, i32)>,
    },
}

// === impl Manifests ===

impl Manifests {
    /// Why the Service leads to no pod, when the manifests alone say so.
    pub fn service_fault(&self) -> Option<ServiceFault> {
        let service = self.service.metadata.name.clone().unwrap_or_default();
        let spec = self.service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let labels = self.pod_labels();
        let selects =
            !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if !selects {
            return Some(ServiceFault::SelectsNothing { service, selector, labels });
        }
        let Some(port) = spec.and_then(|spec| spec.ports.as_ref()?.first()) else {
            return Some(ServiceFault::NoPort { service });
        };
        match &port.target_port {
            Some(IntOrString::String(name)) => {
                let has = self.container_ports();
                let is_known = has.iter().any(|(known, _)| known.as_deref() == Some(name));
                (!is_known).then(|| ServiceFault::NoSuchPort { service, target: name.clone(), has })
            }
            Some(IntOrString::Int(_)) | None => None,
        }
    }

    /// A numeric `targetPort` that no container declares. That alone is no fault, since a process may listen there all the same:
    /// it explains connections that nobody takes.
    pub fn undeclared_target_port(&self) -> Option<ServiceFault> {
        let service = self.service.metadata.name.clone().unwrap_or_default();
        let port = self.service.spec.as_ref()?.ports.as_ref()?.first()?;
        let target = match &port.target_port {
            Some(IntOrString::Int(number)) => *number,
            None => port.port,
            Some(IntOrString::String(_)) => return None,
        };
        let has = self.container_ports();
        let is_undeclared = !has.is_empty() && has.iter().all(|(_, number)| *number != target);
        is_undeclared.then(|| ServiceFault::NoSuchPort { service, target: target.to_string(), has })
    }

    /// Where a container's probe asks by HTTP: of its `startup`, `liveness` or `readiness` probe.
    pub fn probe_path(&self, purpose: &str) -> Option<String> {
        let container = self.pod_containers().next()?;
        let probe: &Probe = match purpose {
            "startup" => container.startup_probe.as_ref(),
            "liveness" => container.liveness_probe.as_ref(),
            _ => container.readiness_probe.as_ref(),
        }?;
        Some(probe.http_get.as_ref()?.path.clone().unwrap_or_else(|| "/".to_owned()))
    }

    fn pod_labels(&self) -> BTreeMap<String, String> {
        let template = self.deployment.spec.as_ref().map(|spec| &spec.template);
        template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default()
    }

    fn pod_containers(&self) -> impl Iterator<Item = &Container> {
        let pod = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        pod.into_iter().flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()))
    }

    fn container_ports(&self) -> Vec<(Option<String>, i32)> {
        let ports = self.pod_containers().flat_map(|container| container.ports.iter().flatten());
        ports.map(|port| (port.name.clone(), port.container_port)).collect()
    }
}

// === impl ServiceFault ===

impl ServiceFault {
    /// The line of the manifests that mends it.
    pub fn remedy(&self) -> String {
        match self {
            ServiceFault::NoPort { .. } => "Service: `spec.ports: [{port: 80, targetPort: ..}]`".to_owned(),
            ServiceFault::SelectsNothing { labels, .. } => {
                format!("Service: `spec.selector: {}`, the labels of the Deployment's pods", braced(labels))
            }
            ServiceFault::NoSuchPort { has, .. } => match has.first() {
                Some((Some(name), _)) => format!("Service: `targetPort: {name}`"),
                Some((None, number)) => format!("Service: `targetPort: {number}`"),
                None => {
                    "Deployment: name the port of the container (`ports: [{containerPort: .., name: ..}]`)"
                        .to_owned()
                }
            },
        }
    }
}

/// What is wrong, in one line.
impl fmt::Display for ServiceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceFault::NoPort { service } => write!(f, "the Service `{service}` has no port"),
            ServiceFault::SelectsNothing { service, selector, labels } => write!(
                f,
                "the Service selects no pod: `{service}` has the selector {}, and the pods have the labels {}",
                braced(selector),
                braced(labels)
            ),
            ServiceFault::NoSuchPort { service, target, has } => {
                let has: Vec<String> = has
                    .iter()
                    .map(|(name, number)| match name {
                        Some(name) => format!("{name} ({number})"),
                        None => number.to_string(),
                    })
                    .collect();
                let has = if has.is_empty() { "no port".to_owned() } else { has.join(", ") };
                write!(
                    f,
                    "targetPort `{target}` of the Service `{service}` is no port of the container, which has {has}"
                )
            }
        }
    }
}

// === helpers ===

/// Labels as YAML writes them on one line.
pub(super) fn braced(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{{}}}", shown(&pairs.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(selector: &str, target: &str, ports: &str) -> Manifests {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: hub}}\nspec:\n  selector: {{matchLabels: {{app: hub}}}}\n  \
             template:\n    metadata: {{labels: {{app: hub, tier: web}}}}\n    spec:\n      containers: [{{name: hub, image: 'h:1', \
             ports: {ports}}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: hub}}\nspec:\n  selector: {selector}\n  \
             ports: [{{port: 80{target}}}]\n"
        );
        Manifests::parse(&[("hub.yaml", &text)]).expect("manifests")
    }

    const HTTP: &str = "[{containerPort: 8000, name: http}]";

    #[test]
    fn a_service_that_leads_to_its_pods_has_no_fault() {
        for (selector, target) in
            [("{app: hub}", ", targetPort: http"), ("{app: hub, tier: web}", ", targetPort: 8000")]
        {
            let manifests = manifests(selector, target, HTTP);
            assert_eq!(
                (manifests.service_fault(), manifests.undeclared_target_port()),
                (None, None),
                "{target}"
            );
        }
        assert_eq!(Manifests::embedded().expect("ours").service_fault(), None);
    }

    #[test]
    fn a_selector_that_fits_no_pod_is_told_with_the_right_one() {
        let fault = manifests("{app: other}", ", targetPort: http", HTTP).service_fault().expect("a fault");
        assert!(fault.to_string().starts_with("the Service selects no pod: "), "{fault}");
        assert!(fault.remedy().contains("{app: hub, tier: web}"), "{}", fault.remedy());
        assert!(manifests("{}", "", HTTP).service_fault().is_some(), "without a selector nobody is selected");
    }

    #[test]
    fn a_target_port_that_no_container_has_is_told_with_those_that_it_has() {
        let named = manifests("{app: hub}", ", targetPort: web", HTTP).service_fault().expect("a fault");
        assert!(named.to_string().contains("`web`") && named.to_string().contains("http (8000)"), "{named}");
        assert_eq!(named.remedy(), "Service: `targetPort: http`");
        for target in [", targetPort: 8080", ""] {
            let manifests = manifests("{app: hub}", target, HTTP);
            assert_eq!(manifests.service_fault(), None, "a process may listen where nothing is declared");
            assert!(manifests.undeclared_target_port().is_some(), "{target}");
        }
        assert_eq!(manifests("{app: hub}", "", "[]").undeclared_target_port(), None);
    }
}
