//! Service links: the variables that tell a container of the Services in its namespace, as the kubelet makes them.
//!
//! The rules are those of `pkg/kubelet/envvars` and of `getServiceEnvVarMap` in Kubernetes:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/envvars/envvars.go>.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::companions::Resolver;
use super::manifest::Manifests;

/// The Service of the Kubernetes API, which every pod is told of.
const API: &str = "kubernetes";

/// The port of the Kubernetes API's Service.
const API_PORT: u16 = 443;

/// The variables for a container of these manifests whose Service is reached at `service`, and of companions' Services.
///
/// Names have the ports of the manifests; values have the address at which the Service is really reached, so that a hub
/// that uses them finds its Service. The address of the Kubernetes API is one that refuses: there is no API.
///
/// A plain command gets none: the Service is ours then, and its name says nothing about the cluster that the hub is for.
pub(crate) fn service_links(
    manifests: &Manifests,
    service: SocketAddr,
    companions: &Resolver,
) -> Vec<(String, String)> {
    if manifests.is_for_a_plain_command() {
        return Vec::new();
    }
    let mut links = Vec::new();
    let api = SocketAddr::new(service.ip(), API_PORT);
    let api_port =
        ServicePort { name: Some("https".to_owned()), port: API_PORT.into(), ..ServicePort::default() };
    add(&mut links, API, std::slice::from_ref(&api_port), api);
    let name = manifests.service.metadata.name.as_deref().unwrap_or_default();
    if has_links(manifests) {
        links.extend(companions.links());
    }
    if has_links(manifests) && has_address(&manifests.service) {
        let ports = manifests.service.spec.as_ref().and_then(|spec| spec.ports.as_deref());
        add(&mut links, name, ports.unwrap_or_default(), service);
    }
    links
}

fn has_links(manifests: &Manifests) -> bool {
    let spec = manifests.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    spec.and_then(|spec| spec.enable_service_links) != Some(false)
}

/// Whether the Service has an address: a headless one is not linked.
fn has_address(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) != Some("None")
        && spec.and_then(|spec| spec.type_.as_deref()) != Some("ExternalName")
}

/// The variables of one Service.
pub(super) fn add(links: &mut Vec<(String, String)>, name: &str, ports: &[ServicePort], at: SocketAddr) {
    let Some(first) = ports.first() else { return };
    let name = variable(name);
    let host = at.ip().to_string();
    // Only the first port of a Service is served here.
    let port =
        |of: &ServicePort| if of.port == first.port { at.port().to_string() } else { of.port.to_string() };
    links.push((format!("{name}_SERVICE_HOST"), host.clone()));
    links.push((format!("{name}_SERVICE_PORT"), port(first)));
    for named in ports {
        if let Some(port_name) = named.name.as_deref().filter(|name| !name.is_empty()) {
            links.push((format!("{name}_SERVICE_PORT_{}", variable(port_name)), port(named)));
        }
    }
    links.push((format!("{name}_PORT"), url(first, &host, &port(first))));
    for each in ports {
        let protocol = protocol(each);
        let prefix = format!("{name}_PORT_{}_{}", each.port, protocol.to_uppercase());
        links.push((prefix.clone(), url(each, &host, &port(each))));
        links.push((format!("{prefix}_PROTO"), protocol));
        links.push((format!("{prefix}_PORT"), port(each)));
        links.push((format!("{prefix}_ADDR"), host.clone()));
    }
}

fn url(port: &ServicePort, host: &str, number: &str) -> String {
    format!("{}://{host}:{number}", protocol(port))
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_lowercase()
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(manifests: &Manifests) -> Vec<String> {
        let made = service_links(manifests, "127.9.0.1:4000".parse().unwrap(), &Resolver::default());
        made.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn of_service(manifests: &Manifests) -> Vec<String> {
        links(manifests).into_iter().filter(|line| !line.starts_with("KUBERNETES_")).collect()
    }

    #[test]
    fn a_container_is_told_of_its_service_as_by_a_kubelet() {
        let mut manifests = Manifests::embedded().unwrap();
        manifests.service.metadata.name = Some("my-mcp".to_owned());
        let named =
            |name: &str, port| ServicePort { name: Some(name.to_owned()), port, ..ServicePort::default() };
        let spec = manifests.service.spec.get_or_insert_default();
        spec.ports = Some(vec![named("http", 80), named("met-rics", 9090)]);
        let expected = [
            "MY_MCP_SERVICE_HOST=127.9.0.1",
            "MY_MCP_SERVICE_PORT=4000",
            "MY_MCP_SERVICE_PORT_HTTP=4000",
            "MY_MCP_SERVICE_PORT_MET_RICS=9090",
            "MY_MCP_PORT=tcp://127.9.0.1:4000",
            "MY_MCP_PORT_80_TCP=tcp://127.9.0.1:4000",
            "MY_MCP_PORT_80_TCP_PROTO=tcp",
            "MY_MCP_PORT_80_TCP_PORT=4000",
            "MY_MCP_PORT_80_TCP_ADDR=127.9.0.1",
            "MY_MCP_PORT_9090_TCP=tcp://127.9.0.1:9090",
            "MY_MCP_PORT_9090_TCP_PROTO=tcp",
            "MY_MCP_PORT_9090_TCP_PORT=9090",
            "MY_MCP_PORT_9090_TCP_ADDR=127.9.0.1",
        ];
        assert_eq!(of_service(&manifests), expected);
        let api = links(&manifests).into_iter().filter(|line| line.starts_with("KUBERNETES_")).count();
        assert_eq!(api, 8, "{:?}", links(&manifests));
    }

    #[test]
    fn a_service_may_have_no_links() {
        let manifests = Manifests::embedded().unwrap();
        let mut without = manifests.clone();
        let spec = without.deployment.spec.get_or_insert_default();
        spec.template.spec.get_or_insert_default().enable_service_links = Some(false);
        assert_eq!(of_service(&without), [""; 0]);
        assert_eq!(links(&without).len(), 8, "the API's stay");
        let mut headless = manifests.clone();
        headless.service.spec.get_or_insert_default().cluster_ip = Some("None".to_owned());
        assert_eq!(of_service(&headless), [""; 0]);
        let mut plain = manifests;
        plain.for_a_plain_command();
        assert_eq!(links(&plain), [""; 0]);
    }
}
