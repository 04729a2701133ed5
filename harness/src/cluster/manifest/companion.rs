//! What the files have beside the hub: what of it comes up with the hub on a cluster, and what is left out and why. Pure.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde_json::Value;

use super::Manifests;
use super::document::shown;

mod names;
mod pod;
mod prepared;
mod services;

pub(crate) use names::Names;
pub use pod::COMPANION;
pub(crate) use services::ServicePorts;

use pod::Has;

/// A kind of object that can come up beside the hub, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "lower")]
pub enum CompanionKind {
    /// An account that pods act as.
    #[value(alias = "sa")]
    ServiceAccount,
    /// What an account may do.
    Role,
    /// Which account has a Role.
    RoleBinding,
    /// A volume that outlives its pods.
    #[value(alias = "pvc")]
    PersistentVolumeClaim,
    /// A name by which pods are reached.
    Service,
    /// Pods with names of their own.
    StatefulSet,
    /// Pods that are all the same.
    Deployment,
}

/// What may come up beside the hub.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'k> {
    /// Everything that belongs to a namespace: the cluster is ours.
    Everything,
    /// Only these kinds: the cluster is the user's.
    Only(&'k [CompanionKind]),
}

/// An object of the files that is not of the hub.
#[derive(Clone, PartialEq)]
pub struct Companion {
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// As it stands in its file; as it is applied once that is decided.
    pub(super) object: Value,
}

/// Why an object does not come up.
enum Out {
    /// It never does.
    Never(&'static str),
    /// It needs a flag.
    NotNamed(CompanionKind),
}

/// Kinds that belong to no namespace.
const OF_NO_NAMESPACE: [&str; 14] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Node",
    "PersistentVolume",
    "PodSecurityPolicy",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

// === impl CompanionKind ===

impl CompanionKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::StatefulSet,
        Self::Deployment,
    ];

    /// Its `apiVersion`, its `kind`, and the last part of its path in the API.
    pub(crate) fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("v1", "ServiceAccount", "serviceaccounts"),
            Self::Role => ("rbac.authorization.k8s.io/v1", "Role", "roles"),
            Self::RoleBinding => ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
            Self::PersistentVolumeClaim => ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::Service => ("v1", "Service", "services"),
            Self::StatefulSet => ("apps/v1", "StatefulSet", "statefulsets"),
            Self::Deployment => ("apps/v1", "Deployment", "deployments"),
        }
    }

    /// Whether it makes pods.
    pub(crate) fn is_workload(self) -> bool {
        matches!(self, Self::StatefulSet | Self::Deployment)
    }

    fn of(companion: &Companion) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let (version, name, _) = kind.api();
            (version, name) == (companion.version.as_str(), companion.kind.as_str())
        })
    }

    /// As `--apply` takes it.
    fn word(self) -> String {
        self.api().1.to_lowercase()
    }
}

// === impl Companion ===

impl Companion {
    /// `kind/name`, in lower case.
    pub fn label(&self) -> String {
        shown(&format!("{}/{}", self.kind.to_lowercase(), self.name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it stands in its file, or as it is applied.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Its kind, if it is one that can come up.
    pub(crate) fn companion_kind(&self) -> Option<CompanionKind> {
        CompanionKind::of(self)
    }

    /// Why it never comes up, whatever the cluster is.
    fn never(&self) -> Option<&'static str> {
        if CompanionKind::of(self).is_some() {
            return None;
        }
        let group = self.version.split_once('/').map_or("", |(group, _)| group);
        Some(match self.kind.as_str() {
            "Job" | "CronJob" => "jobs are not run",
            "Ingress" | "IngressRoute" | "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "Gateway" | "HTTPProxy"
            | "VirtualService" => "hubcheck's clients enter by the Service",
            "HorizontalPodAutoscaler" | "VerticalPodAutoscaler" | "ScaledObject" => {
                "scenarios set the number of replicas"
            }
            "NetworkPolicy" => "it could shut out hubcheck's clients",
            "PodDisruptionBudget" => "scenarios have their own",
            "Namespace" => "each cell has a namespace of its own",
            "Pod" | "ReplicaSet" | "DaemonSet" => "only Deployments and StatefulSets are started",
            kind if OF_NO_NAMESPACE.contains(&kind) => "it belongs to no namespace",
            _ if group.contains('.') && !group.ends_with(".k8s.io") => {
                "a custom resource, whose operator is not here"
            }
            _ => "this kind is not supported",
        })
    }

    /// The variables of its pods that stand in clear: name and value.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.object.pointer("/spec/template/spec").into_iter().flat_map(pod::variables)
    }

    /// The labels of its pods.
    fn pod_labels(&self) -> Option<&serde_json::Map<String, Value>> {
        self.object.pointer("/spec/template/metadata/labels").and_then(Value::as_object)
    }
}

/// Its label only: the object may hold a secret.
impl std::fmt::Debug for Companion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label())
    }
}

// === impl Manifests ===

impl Manifests {
    /// Decides what comes up beside the hub, fits it and the hub's pods to a namespace of hubcheck's, and remarks on both.
    pub fn bring_up_beside(&mut self, rule: Beside<'_>) {
        let mut applied = Vec::new();
        let mut left_out: Vec<(&'static str, Vec<String>)> = Vec::new();
        let (mut named, mut flags) = (Vec::new(), BTreeSet::new());
        for companion in &self.companions {
            match self.decided(companion, rule) {
                Ok(kind) => applied.push((kind, companion)),
                Err(Out::Never(why)) => match left_out.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, labels)) => labels.push(companion.label()),
                    None => left_out.push((why, vec![companion.label()])),
                },
                Err(Out::NotNamed(kind)) => {
                    named.push(companion.label());
                    flags.insert(kind);
                }
            }
        }
        applied.sort_by_key(|(kind, _)| *kind);
        let has = Has::of(&applied, &self.companions, rule);
        let mut remarks = Vec::new();
        if !applied.is_empty() {
            let secrets = self.secrets.iter().map(|secret| ("secret", &secret.metadata.name));
            let maps = self.config_maps.iter().map(|map| ("configmap", &map.metadata.name));
            let configs = secrets.chain(maps).filter_map(|(kind, name)| Some((kind, name.as_deref()?)));
            let mut labels: Vec<String> =
                configs.map(|(kind, name)| shown(&format!("{kind}/{name}"))).collect();
            labels.extend(applied.iter().map(|(_, companion)| companion.label()));
            remarks
                .push(format!("applied before the hub, in each cell's own namespace: {}", labels.join(", ")));
        }
        if !left_out.is_empty() {
            let left_out = left_out.iter().map(|(why, labels)| format!("{} ({why})", labels.join(", ")));
            remarks.push(format!("not applied: {}", left_out.collect::<Vec<_>>().join("; ")));
        }
        if !named.is_empty() {
            let flags: Vec<String> = flags.into_iter().map(CompanionKind::word).collect();
            remarks.push(format!(
                "not applied, since the cluster is not hubcheck's own: {}; `--apply {}` applies them",
                named.join(", "),
                flags.join(",")
            ));
        }
        let prepared: Vec<(Companion, Vec<String>)> = applied
            .into_iter()
            .map(|(kind, companion)| {
                let (object, changed) = prepared::prepared(kind, companion, &has);
                (Companion { object, ..companion.clone() }, changed)
            })
            .collect();
        let of_hub = self.fit_hub(&has);
        remarks.extend(of_hub.into_iter().map(|changed| format!("the hub: {changed}")));
        for (companion, changed) in &prepared {
            remarks.extend(changed.iter().map(|changed| format!("{}: {changed}", companion.label())));
        }
        self.beside = prepared.into_iter().map(|(companion, _)| companion).collect();
        if matches!(rule, Beside::Only(_)) {
            remarks.extend(self.pull_secrets_missing());
        }
        self.remarks.extend(remarks);
    }

    /// The Secrets for registries that are named and in no file, a line each. Pods start without them, if their images are there for
    /// everybody.
    fn pull_secrets_missing(&self) -> Vec<String> {
        let pod = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let of_pod = pod.into_iter().flat_map(|pod| pod.image_pull_secrets.iter().flatten());
        let hub = of_pod.map(|named| ("the hub".to_owned(), named.name.clone()));
        let of_companion = |companion: &Companion| {
            let of_account = companion.object.get("imagePullSecrets");
            let of_pod = companion.object.pointer("/spec/template/spec/imagePullSecrets");
            let named = of_account.or(of_pod).and_then(Value::as_array).into_iter().flatten();
            let names =
                named.filter_map(|named| Some((companion.label(), named["name"].as_str()?.to_owned())));
            names.collect::<Vec<_>>()
        };
        let has =
            |name: &str| self.secrets.iter().any(|secret| secret.metadata.name.as_deref() == Some(name));
        hub.chain(self.beside.iter().flat_map(of_companion))
            .filter(|(_, name)| !has(name))
            .map(|(who, name)| {
                format!(
                    "{who}: the Secret {} of `imagePullSecrets` is in no file: images are pulled without it",
                    shown(&name)
                )
            })
            .collect()
    }

    /// What comes up before the hub, in this order.
    pub fn beside(&self) -> &[Companion] {
        &self.beside
    }

    /// What other objects call these.
    pub(crate) fn names(&self) -> Names {
        let named = |wanted: fn(CompanionKind) -> bool| {
            let found =
                self.beside.iter().filter(move |companion| companion.companion_kind().is_some_and(wanted));
            found.map(|companion| companion.name.clone())
        };
        let own = self.service.metadata.name.clone();
        Names {
            services: named(|kind| kind == CompanionKind::Service).chain(own).collect(),
            namespace: self.namespace(),
            hub: self.deployment.metadata.name.clone().unwrap_or_default(),
            workloads: named(CompanionKind::is_workload).collect(),
        }
    }

    fn decided(&self, companion: &Companion, rule: Beside<'_>) -> Result<CompanionKind, Out> {
        if let Some(why) = companion.never() {
            return Err(Out::Never(why));
        }
        let Some(kind) = CompanionKind::of(companion) else {
            return Err(Out::Never("this kind is not supported"));
        };
        if kind.is_workload() && self.service_selects(companion) {
            return Err(Out::Never("the hub's Service selects its pods, too"));
        }
        let Beside::Only(kinds) = rule else { return Ok(kind) };
        // A name of pods that are not there is of no use, and pods without their name are not either.
        let goes_along = kind == CompanionKind::Service && kinds.iter().any(|kind| kind.is_workload());
        if goes_along || kinds.contains(&kind) { Ok(kind) } else { Err(Out::NotNamed(kind)) }
    }

    /// Whether the hub's Service would lead to the pods of this workload.
    fn service_selects(&self, companion: &Companion) -> bool {
        let spec = self.service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
        let Some((selector, labels)) = selector.zip(companion.pod_labels()) else { return false };
        selector.iter().all(|(key, value)| labels.get(key).and_then(Value::as_str) == Some(value))
    }

    /// Fits the hub's own pods; what was changed, a line each.
    fn fit_hub(&mut self, has: &Has) -> Vec<String> {
        let Some(spec) = self.deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) else {
            return Vec::new();
        };
        let mut value = serde_json::to_value(&*spec).unwrap_or_default();
        let changed = pod::fit(&mut value, has);
        if !changed.is_empty()
            && let Ok(fitted) = serde_json::from_value(value)
        {
            *spec = fitted;
        }
        changed
    }

    /// The images of everything that comes up, but for that of the hub's own container: each once.
    pub fn images_beside(&self) -> Vec<String> {
        let hub = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let hub = serde_json::to_value(hub).unwrap_or_default();
        let own = self.image().unwrap_or_default();
        let mut images: Vec<String> = pod::images(&hub).filter(|image| *image != own).collect();
        for companion in &self.beside {
            images.extend(companion.object.pointer("/spec/template/spec").into_iter().flat_map(pod::images));
        }
        let mut seen = BTreeSet::new();
        images.retain(|image| seen.insert(image.clone()));
        images
    }

    /// Says of containers with these images that nodes need not ask a registry for them: they were loaded, each under the name that is
    /// its second.
    pub fn are_loaded(&mut self, images: &[(String, String)]) {
        let spec = self.deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
        if let Some(pod) = spec {
            let containers = pod.init_containers.iter_mut().flatten().chain(&mut pod.containers);
            for container in containers {
                let image = container.image.as_ref();
                let Some((_, name)) = images.iter().find(|(given, _)| Some(given) == image) else { continue };
                container.image = Some(name.clone());
                if container.image_pull_policy.as_deref() != Some("Never") {
                    container.image_pull_policy = Some("IfNotPresent".to_owned());
                }
            }
        }
        for companion in &mut self.beside {
            if let Some(pod) = companion.object.pointer_mut("/spec/template/spec") {
                pod::are_loaded(pod, images);
            }
        }
    }
}
