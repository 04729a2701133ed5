//! A cell's objects: made to fit its namespace, and applied.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::watching::unheard;
use super::{ACCOUNT, MANAGER, UpError, beside, deployment_name, service_name};
use crate::cluster::manifest::{Manifests, Names};

/// The protocol of a port that names none.
const TCP: &str = "TCP";

/// Applies objects in one namespace.
pub(super) struct Objects {
    client: Client,
    namespace: String,
    exposed: Exposed,
    deployment: String,
    service: String,
    names: Names,
}

/// Where a Service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposed {
    /// At every node, at a port of its own.
    AtNodes,
    /// Only within the cluster.
    Within,
}

/// A Service as the cluster made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) name: String,
    /// Its address within the cluster.
    pub(super) within: Option<SocketAddr>,
    /// Its port at every node, where it has one.
    pub(super) node_port: Option<u16>,
}

// === impl Objects ===

impl Objects {
    pub(super) fn new(client: Client, namespace: String, exposed: Exposed, manifests: &Manifests) -> Self {
        let deployment = deployment_name(&manifests.deployment);
        let service = service_name(&manifests.service);
        Self { client, namespace, exposed, deployment, service, names: manifests.names() }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What other objects call those of the cell.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// `namespace/service`, as kube-proxy calls it.
    pub(super) fn service(&self) -> String {
        format!("{}/{}", self.namespace, self.service)
    }

    pub(super) fn service_name(&self) -> &str {
        &self.service
    }

    pub(super) fn deployment_name(&self) -> &str {
        &self.deployment
    }

    /// Waits until pods can be made: without the namespace's service account their creation fails at first.
    pub(super) async fn service_account(&self) -> Result<(), UpError> {
        let only = watcher::Config::default().fields("metadata.name=default");
        let mut events = watcher(self.api::<ServiceAccount>(), only).default_backoff().boxed();
        let mut heard = String::new();
        let there = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(_) | watcher::Event::InitApply(_)) => return,
                    Ok(_) => {}
                    Err(error) => heard = format!(": {}", unheard(&error)),
                }
            }
        };
        let waited = tokio::time::timeout(ACCOUNT, there).await;
        waited.map_err(|_| UpError::NoServiceAccount { namespace: self.namespace.clone(), heard })
    }

    /// Applies everything, and deletes what was there before and is no longer; where the Service is.
    pub(super) async fn apply(
        &self,
        manifests: &Manifests,
        before: Option<&Manifests>,
    ) -> Result<Served, UpError> {
        for secret in &manifests.secrets {
            let placed = |text: &str| self.names.placed(text, &self.namespace);
            self.put(encoded(secret.clone(), placed)).await?;
        }
        for config_map in &manifests.config_maps {
            self.put(config_map.clone()).await?;
        }
        match before {
            Some(before) => {
                self.remove(&before.secrets, &manifests.secrets).await?;
                self.remove(&before.config_maps, &manifests.config_maps).await?;
            }
            None => beside::up(self, manifests.beside()).await?,
        }
        let service = self.put(reachable(manifests.service.clone(), self.exposed)).await?;
        self.put(keyed(manifests.deployment.clone())).await?;
        Ok(served(&service))
    }

    /// The Deployment's generation: what was applied last.
    ///
    /// # Errors
    ///
    /// [`UpError::Api`]: taken for 0, it would let a wait be met by what was before.
    pub(super) async fn generation(&self) -> Result<i64, UpError> {
        let deployment = self.api::<Deployment>().get_metadata(&self.deployment).await;
        let deployment = deployment.map_err(UpError::api("asking for the Deployment's generation"))?;
        Ok(deployment.metadata.generation.unwrap_or_default())
    }

    async fn put<K>(&self, mut object: K) -> Result<K, UpError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let meta: &mut ObjectMeta = object.meta_mut();
        let name = meta.name.clone().unwrap_or_default();
        // The rest is what another cluster wrote, for which this one would refuse or remove the object.
        *meta = ObjectMeta {
            name: meta.name.take(),
            namespace: Some(self.namespace.clone()),
            labels: meta.labels.take(),
            annotations: meta.annotations.take(),
            ..ObjectMeta::default()
        };
        let doing = || format!("applying {} {name}", K::kind(&K::DynamicType::default()).to_lowercase());
        let params = PatchParams::apply(MANAGER).force();
        let text = serde_json::to_string(&object).unwrap_or_default();
        let placed = self.names.placed(&text, &self.namespace);
        if placed != text
            && let Ok(placed) = serde_json::from_str(&placed)
        {
            object = placed;
        }
        let applied = self.api::<K>().patch(&name, &params, &Patch::Apply(&object)).await;
        applied.map_err(UpError::api(doing()))
    }

    async fn remove<K>(&self, before: &[K], now: &[K]) -> Result<(), UpError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let kept: BTreeSet<_> = now.iter().map(|object| object.meta().name.clone()).collect();
        for object in before.iter().filter(|object| !kept.contains(&object.meta().name)) {
            let name = object.meta().name.clone().unwrap_or_default();
            let deleted = self.api::<K>().delete(&name, &DeleteParams::default()).await;
            deleted.map_err(UpError::api(format!("deleting {name}")))?;
        }
        Ok(())
    }
}

// === helpers ===

/// `stringData` as `data`: only then does server-side apply see that a key was removed. Names of Services are placed.
fn encoded(mut secret: Secret, placed: impl Fn(&str) -> String) -> Secret {
    let plain = secret.string_data.take().unwrap_or_default();
    let data = secret.data.get_or_insert_default();
    data.extend(plain.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))));
    for value in data.values_mut() {
        if let Ok(text) = str::from_utf8(&value.0) {
            *value = ByteString(placed(text).into_bytes());
        }
    }
    secret
}

/// The Service with an address or node port of its own, whatever the manifests say: two namespaces cannot have the same.
pub(super) fn reachable(mut service: Service, exposed: Exposed) -> Service {
    let spec = service.spec.get_or_insert_default();
    let kind = match exposed {
        Exposed::AtNodes => "NodePort",
        Exposed::Within => "ClusterIP",
    };
    spec.type_ = Some(kind.to_owned());
    (spec.cluster_ip, spec.cluster_ips, spec.load_balancer_ip) = (None, None, None);
    // The API refuses these with another type than `LoadBalancer`.
    (spec.load_balancer_class, spec.load_balancer_source_ranges) = (None, None);
    (spec.allocate_load_balancer_node_ports, spec.health_check_node_port) = (None, None);
    if matches!(exposed, Exposed::Within) {
        spec.external_traffic_policy = None;
    }
    for port in spec.ports.iter_mut().flatten() {
        port.node_port = None;
        port.protocol.get_or_insert_with(|| TCP.to_owned());
    }
    service
}

fn served(service: &Service) -> Served {
    let spec = service.spec.clone().unwrap_or_default();
    let port = spec.ports.as_deref().and_then(<[_]>::first);
    let within = || {
        let ip: IpAddr = spec.cluster_ip.as_ref()?.parse().ok()?;
        Some(SocketAddr::new(ip, u16::try_from(port?.port).ok()?))
    };
    let node_port = port.and_then(|port| u16::try_from(port.node_port?).ok());
    Served { name: service_name(service), within: within(), node_port }
}

/// The Deployment with the protocols of its ports, which are keys: before 1.21 server-side apply demands them.
pub(super) fn keyed(mut deployment: Deployment) -> Deployment {
    let pod = deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    let containers = pod.into_iter().flat_map(|pod| &mut pod.containers);
    for port in containers.flat_map(|container| container.ports.iter_mut().flatten()) {
        port.protocol.get_or_insert_with(|| TCP.to_owned());
    }
    deployment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_secret_data_is_encoded() {
        let manifests = Manifests::embedded().unwrap();
        let secret = encoded(manifests.secrets[0].clone(), str::to_owned);
        assert_eq!(secret.string_data, None);
        assert!(secret.data.unwrap().contains_key("SESSION_KEY"));
    }

    #[test]
    fn the_node_port_is_left_to_the_cluster() {
        let service = reachable(Manifests::embedded().unwrap().service, Exposed::AtNodes);
        let spec = service.spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some("NodePort"));
        assert!(spec.ports.unwrap().iter().all(|port| port.node_port.is_none()));
    }

    #[test]
    fn what_only_a_load_balancer_may_say_is_left_out() {
        let mut service = Manifests::embedded().unwrap().service;
        let spec = service.spec.as_mut().unwrap();
        spec.type_ = Some("LoadBalancer".to_owned());
        spec.external_traffic_policy = Some("Local".to_owned());
        (spec.health_check_node_port, spec.allocate_load_balancer_node_ports) = (Some(30001), Some(true));
        spec.load_balancer_source_ranges = Some(vec!["10.0.0.0/8".to_owned()]);
        for (exposed, policy) in [(Exposed::Within, None), (Exposed::AtNodes, Some("Local"))] {
            let spec = reachable(service.clone(), exposed).spec.unwrap();
            assert_eq!(spec.external_traffic_policy.as_deref(), policy);
            assert_eq!((spec.health_check_node_port, spec.allocate_load_balancer_node_ports), (None, None));
            assert_eq!(spec.load_balancer_source_ranges, None);
        }
    }

    #[test]
    fn a_service_within_the_cluster_takes_no_port_of_the_nodes() {
        let mut service = reachable(Manifests::embedded().unwrap().service, Exposed::Within);
        let spec = service.spec.as_mut().unwrap();
        assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
        assert!(spec.ports.as_ref().unwrap().iter().all(|port| port.node_port.is_none()));
        spec.cluster_ip = Some("10.96.0.7".to_owned());
        let served = served(&service);
        assert_eq!(served.within, Some("10.96.0.7:8000".parse().unwrap()));
        assert_eq!(served.node_port, None);
    }
}
