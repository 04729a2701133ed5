//! Pods behind a URL, which are read and never changed: which they are, and which of them had a request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use kube::api::{Api, ListParams, LogParams};
use kube::config::Kubeconfig;

use super::UpError;
use super::context::{reach, unreadable};
use super::seen::{Seen, container};

/// Between two looks at what pods printed.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Lines that pods printed earlier than this are not read, in seconds: what they say is about other requests.
const RECENT: i64 = 60;

/// The longest part of a pod's lines that is read at once, in bytes.
const MOST: i64 = 1 << 20;

/// The pods to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Those of an object with a selector, by kind and name.
    Of(Kind, String),
    /// Those that a label selector picks.
    Labels(String),
}

/// The kinds of objects that pick pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A ReplicaSet.
    ReplicaSet,
    /// A Service.
    Service,
}

/// Where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Somewhere {
    /// The kubeconfig; without one, those of `KUBECONFIG`, else the user's own.
    pub kubeconfig: Option<PathBuf>,
    /// The context; without one, the current one: nothing is changed there.
    pub context: Option<String>,
    /// The namespace; without one, that of the context, else `default`.
    pub namespace: Option<String>,
}

/// Reads pods.
pub struct Observer {
    client: Client,
    namespace: String,
    what: Observed,
    selector: String,
}

/// A pod, as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its name.
    pub name: String,
    /// Whether it receives connections.
    pub is_ready: bool,
    /// How often its container was restarted.
    pub restarts: u32,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) container: Option<String>,
}

// === impl Observed ===

/// `deployment/hub`, `service/hub`, .., a bare name for a Deployment, or a label selector such as `app=hub`.
impl FromStr for Observed {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        if given.contains('=') {
            return Ok(Observed::Labels(given.to_owned()));
        }
        let (kind, name) = given.split_once('/').unwrap_or(("deployment", given));
        let known = [
            (Kind::Deployment, ["deployment", "deployments", "deploy"]),
            (Kind::StatefulSet, ["statefulset", "statefulsets", "sts"]),
            (Kind::DaemonSet, ["daemonset", "daemonsets", "ds"]),
            (Kind::ReplicaSet, ["replicaset", "replicasets", "rs"]),
            (Kind::Service, ["service", "services", "svc"]),
        ];
        let found = known.into_iter().find(|(_, names)| names.contains(&kind)).map(|(kind, _)| kind);
        match found.filter(|_| !name.is_empty()) {
            Some(kind) => Ok(Observed::Of(kind, name.to_owned())),
            None => Err("give `deployment/NAME`, `statefulset/NAME`, `service/NAME` or a label selector such as `app=NAME`"
                .to_owned()),
        }
    }
}

/// As users write it.
impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Observed::Labels(labels) => return f.write_str(labels),
            Observed::Of(kind, name) => (kind, name),
        };
        let kind = match kind {
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
            Kind::DaemonSet => "daemonset",
            Kind::ReplicaSet => "replicaset",
            Kind::Service => "service",
        };
        write!(f, "{kind}/{name}")
    }
}

// === impl Observer ===

impl Observer {
    /// Reads the kubeconfig, and finds what picks the pods.
    ///
    /// # Errors
    ///
    /// [`UpError`] when the cluster, the object or its pods cannot be read.
    pub async fn start(place: &Somewhere, what: Observed) -> Result<Self, UpError> {
        let read = match &place.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = read.map_err(|error| UpError::Config(unreadable(&error)))?;
        let name = place.context.clone().or_else(|| kubeconfig.current_context.clone());
        let found = kubeconfig.contexts.iter().find(|known| Some(&known.name) == name.as_ref());
        let Some(found) = found else {
            let known = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
            return Err(UpError::NoContext { name: name.unwrap_or_default(), known });
        };
        let own = found.context.as_ref().and_then(|context| context.namespace.clone());
        let namespace = place.namespace.clone().or(own).unwrap_or_else(|| "default".to_owned());
        let client = reach(kubeconfig, name.as_deref()).await?.client;
        let selector = selector(&client, &namespace, &what).await?;
        Ok(Self { client, namespace, what, selector })
    }

    /// What is read, as users write it.
    pub fn what(&self) -> String {
        self.what.to_string()
    }

    /// The pods, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`UpError`] when they cannot be read.
    pub async fn pods(&self) -> Result<Vec<ObservedPod>, UpError> {
        let pods = self.api::<Pod>().list(&ListParams::default().labels(&self.selector)).await;
        let pods =
            pods.map_err(api(|| format!("listing the pods of {} in {}", self.what, self.namespace)))?;
        let mut found: Vec<ObservedPod> = pods.iter().map(ObservedPod::of).collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// The ready ones of these pods that print this text within the limit: access logs name what was asked for.
    pub async fn printing(&self, pods: &[ObservedPod], text: &str, limit: Duration) -> Vec<String> {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let ready = || pods.iter().filter(|pod| pod.is_ready);
        let until = tokio::time::Instant::now() + limit;
        loop {
            let now = look.tick().await;
            let prints = join_all(ready().map(|pod| self.prints(pod, text))).await;
            let found: Vec<String> =
                ready().zip(prints).filter(|(_, prints)| *prints).map(|(pod, _)| pod.name.clone()).collect();
            if found.len() == ready().count() || now >= until {
                return found;
            }
        }
    }

    async fn prints(&self, pod: &ObservedPod, text: &str) -> bool {
        let params = LogParams {
            container: pod.container.clone(),
            since_seconds: Some(RECENT),
            limit_bytes: Some(MOST),
            ..LogParams::default()
        };
        match self.api::<Pod>().logs(&pod.name, &params).await {
            Ok(lines) => lines.contains(text),
            Err(error) => {
                tracing::debug!("reading what {} printed: {error}", pod.name);
                false
            }
        }
    }

    /// The Service that gives each connection to this address to one of these pods at random; `None` where there is none, or where
    /// the pod may follow from the client or from the node.
    pub async fn spreads(&self, to: SocketAddr, pods: &[ObservedPod]) -> Option<String> {
        let services = self.api::<Service>().list(&ListParams::default()).await.ok()?;
        let found = services.into_iter().find(|service| is_at_random(service, to) && picks(service, pods));
        found.and_then(|service| service.metadata.name)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Without what authenticates.
impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("what", &self.what).finish_non_exhaustive()
    }
}

impl ObservedPod {
    fn of(pod: &Pod) -> Self {
        let seen = Seen::of(pod);
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            is_ready: seen.is_ready && !seen.is_terminating && !seen.is_failed,
            restarts: seen.restarts,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            container: container(pod).map(str::to_owned),
        }
    }
}

// === helpers ===

fn api(doing: impl FnOnce() -> String) -> impl FnOnce(kube::Error) -> UpError {
    |error| UpError::Api { doing: doing(), error: Box::new(error) }
}

/// The label selector of what is observed.
async fn selector(client: &Client, namespace: &str, what: &Observed) -> Result<String, UpError> {
    let (kind, name) = match what {
        Observed::Labels(labels) => return Ok(labels.clone()),
        Observed::Of(kind, name) => (*kind, name.as_str()),
    };
    let reading = || api(|| format!("reading {what} in namespace {namespace}"));
    macro_rules! object {
        ($kind:ty) => {
            Api::<$kind>::namespaced(client.clone(), namespace).get(name).await.map_err(reading())?.spec
        };
    }
    let selector = match kind {
        Kind::Deployment => object!(Deployment).map(|spec| of_selector(&spec.selector)),
        Kind::StatefulSet => object!(StatefulSet).map(|spec| of_selector(&spec.selector)),
        Kind::DaemonSet => object!(DaemonSet).map(|spec| of_selector(&spec.selector)),
        Kind::ReplicaSet => object!(ReplicaSet).map(|spec| of_selector(&spec.selector)),
        Kind::Service => object!(Service).and_then(|spec| spec.selector).map(|labels| of_labels(&labels)),
    };
    match selector.filter(|selector| !selector.is_empty()) {
        Some(selector) => Ok(selector),
        None => Err(UpError::Config(format!("{what} in namespace {namespace} selects no pods"))),
    }
}

fn of_labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// As the API takes it in a query.
fn of_selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.as_ref().map(of_labels).filter(|labels| !labels.is_empty());
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let (key, values) = (&expression.key, expression.values.clone().unwrap_or_default().join(","));
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    labels.into_iter().chain(expressions).collect::<Vec<_>>().join(",")
}

/// Whether connections to this address are the Service's, and each one gets any of its pods: kube-proxy picks one at random.
fn is_at_random(service: &Service, to: SocketAddr) -> bool {
    let Some(spec) = &service.spec else { return false };
    let is = |given: &Option<String>, wanted: &str| given.as_deref() == Some(wanted);
    if is(&spec.session_affinity, "ClientIP") {
        return false;
    }
    let is_at = |given: &String| given.parse::<IpAddr>().is_ok_and(|ip| ip == to.ip());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let has_port = ports.iter().any(|port| port.port == i32::from(to.port()));
    let has_node_port = ports.iter().any(|port| port.node_port == Some(i32::from(to.port())));
    let balancers = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let mut balancers = balancers.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let is_outside = spec.external_ips.iter().flatten().any(is_at)
        || balancers.any(|ingress| ingress.ip.as_ref().is_some_and(is_at));
    let is_within = has_port && spec.cluster_ip.as_ref().is_some_and(is_at);
    // A proxy on this machine may listen at the same number.
    let is_at_node = has_node_port && !to.ip().is_loopback();
    is_within && !is(&spec.internal_traffic_policy, "Local")
        || (has_port && is_outside || is_at_node) && !is(&spec.external_traffic_policy, "Local")
}

/// Whether all of these pods are the Service's.
fn picks(service: &Service, pods: &[ObservedPod]) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let is_picked = |pod: &ObservedPod, selector: &BTreeMap<String, String>| {
        selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    selector.is_some_and(|selector| !selector.is_empty() && pods.iter().all(|pod| is_picked(pod, selector)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_observed_is_written_as_for_kubectl() {
        let parsed = |given: &str| given.parse::<Observed>().map(|what| what.to_string());
        assert_eq!(parsed("deploy/hub"), Ok("deployment/hub".to_owned()));
        assert_eq!(parsed("hub"), Ok("deployment/hub".to_owned()));
        assert_eq!(parsed("svc/hub"), Ok("service/hub".to_owned()));
        assert_eq!(parsed("app=hub,tier=mcp"), Ok("app=hub,tier=mcp".to_owned()));
        assert!(parsed("job/hub").is_err());
        assert!(parsed("deployment/").is_err());
    }

    #[test]
    fn selectors_are_written_as_queries_take_them() {
        let selector: LabelSelector = serde_json::from_value(json!({
            "matchLabels": { "app": "hub" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "canary", "operator": "DoesNotExist" },
            ],
        }))
        .unwrap();
        assert_eq!(of_selector(&selector), "app=hub,tier in (a,b),!canary");
    }

    #[test]
    fn a_service_spreads_connections_to_its_own_addresses_unless_it_keeps_clients() {
        let service = |spec: serde_json::Value| -> Service {
            serde_json::from_value(json!({ "metadata": { "name": "mcp" }, "spec": spec })).unwrap()
        };
        let ports = json!([{ "port": 80, "nodePort": 30080 }]);
        let any = service(json!({ "clusterIP": "10.96.0.7", "ports": ports }));
        let at = |service: &Service, to: &str| is_at_random(service, to.parse().unwrap());
        assert!(at(&any, "10.96.0.7:80"));
        assert!(at(&any, "172.18.0.3:30080"));
        assert!(!at(&any, "10.96.0.7:81"));
        assert!(!at(&any, "127.0.0.1:30080"), "a forwarded port leads to one pod");
        let sticky = json!({ "clusterIP": "10.96.0.7", "ports": ports, "sessionAffinity": "ClientIP" });
        assert!(!at(&service(sticky), "10.96.0.7:80"));
        let of_node = json!({ "clusterIP": "10.96.0.7", "ports": ports, "externalTrafficPolicy": "Local" });
        assert!(!at(&service(of_node), "172.18.0.3:30080"));
    }
}
