//! A companion as it is applied: without what another cluster wrote into it, and fitted to the cell's namespace.

use serde_json::{Map, Value, json};

use super::pod::{self, COMPANION, Has};
use super::{Companion, CompanionKind};
use crate::cluster::manifest::document::shown;

/// The longest value of a label.
const LABEL: usize = 63;

/// Annotations that a cluster writes, by how they begin.
const WRITTEN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
    "kubernetes.io/",
];

/// The object, and what was changed of what its author wrote: a line each.
pub(super) fn prepared(kind: CompanionKind, companion: &Companion, has: &Has) -> (Value, Vec<String>) {
    let mut object = companion.object.clone();
    let mut changed = Vec::new();
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields.get("metadata").cloned().unwrap_or_default();
        fields.insert("metadata".to_owned(), bare(&metadata));
    }
    match kind {
        CompanionKind::Service => service(&mut object),
        CompanionKind::PersistentVolumeClaim => claim(&mut object["spec"], has, &mut changed),
        CompanionKind::ServiceAccount => {
            // Tokens that a cluster made.
            if let Some(fields) = object.as_object_mut() {
                fields.remove("secrets");
            }
        }
        CompanionKind::Deployment | CompanionKind::StatefulSet => {
            workload(&mut object, &companion.name, has, &mut changed)
        }
        CompanionKind::Role | CompanionKind::RoleBinding => {}
    }
    (object, changed)
}

/// Name, labels and annotations: the rest is what a cluster writes, or of another namespace.
fn bare(metadata: &Value) -> Value {
    let mut kept = Map::new();
    for field in ["name", "labels", "annotations"] {
        if let Some(value) = metadata.get(field).filter(|value| !value.is_null()) {
            kept.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(annotations) = kept.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !WRITTEN.iter().any(|written| name.starts_with(written)));
    }
    Value::Object(kept)
}

/// A Service within the cluster. A headless one, and one that is a name for another host, stay what they are.
fn service(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    let is_headless = spec.get("clusterIP").is_some_and(|ip| ip == "None");
    if !spec.get("type").is_some_and(|kind| kind == "ExternalName") {
        spec.insert("type".to_owned(), json!("ClusterIP"));
    }
    for field in [
        "clusterIPs",
        "loadBalancerIP",
        "loadBalancerClass",
        "loadBalancerSourceRanges",
        "allocateLoadBalancerNodePorts",
        "healthCheckNodePort",
        "externalTrafficPolicy",
        "externalIPs",
    ] {
        spec.remove(field);
    }
    if !is_headless {
        spec.remove("clusterIP");
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
        with_protocol(port);
    }
}

/// What a KIND cluster has of volumes is one class, whose volumes are of one node.
fn claim(spec: &mut Value, has: &Has, changed: &mut Vec<String>) {
    let Some(fields) = spec.as_object_mut() else { return };
    // The volume of another cluster.
    fields.remove("volumeName");
    if !has.is_ours {
        return;
    }
    if let Some(class) = fields.remove("storageClassName").as_ref().and_then(Value::as_str)
        && class != "standard"
    {
        changed.push(format!("`storageClassName: {}` is replaced by KIND's own", shown(class)));
    }
    let modes = fields.get("accessModes").and_then(Value::as_array);
    let is_of_many = modes
        .is_some_and(|modes| modes.iter().any(|mode| mode != "ReadWriteOnce" && mode != "ReadWriteOncePod"));
    if is_of_many {
        fields.insert("accessModes".to_owned(), json!(["ReadWriteOnce"]));
        changed
            .push("its volume is `ReadWriteOnce`: on KIND all pods that mount it run on one node".to_owned());
    }
}

fn workload(object: &mut Value, name: &str, has: &Has, changed: &mut Vec<String>) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    for template in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten() {
        let metadata = template["metadata"].clone();
        template["metadata"] = bare(&metadata);
        if let Some(fields) = template.as_object_mut() {
            fields.remove("status");
        }
        claim(&mut template["spec"], has, changed);
    }
    let Some(template) = spec.get_mut("template") else { return };
    let mut metadata = bare(&template["metadata"]);
    let label: String = name.chars().take(LABEL).collect();
    let label = label.trim_end_matches(['-', '.', '_']);
    if !metadata["labels"].is_object() {
        metadata["labels"] = json!({});
    }
    metadata["labels"][COMPANION] = json!(label);
    template["metadata"] = metadata;
    let pod = &mut template["spec"];
    changed.extend(pod::fit(pod, has));
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            ports.into_iter().flatten().for_each(with_protocol);
        }
    }
}

/// The protocol of a port is a key: before 1.21 server-side apply demands it.
fn with_protocol(port: &mut Value) {
    if let Some(port) = port.as_object_mut() {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
}
