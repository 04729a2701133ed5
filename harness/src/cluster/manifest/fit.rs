//! Whether manifests fit together and say what Kubernetes takes, told with file and line before anything starts. Pure.

use std::collections::BTreeSet;

use super::document::{Document, shown};
use super::quantity::bytes;
use super::{ManifestError, Manifests};

/// The pods of a workload, in its document.
const POD: [&str; 3] = ["spec", "template", "spec"];

/// What the API server would refuse in this workload.
///
/// # Errors
///
/// The first fault, with its line.
pub(super) fn workload(document: &Document<'_>) -> Result<(), ManifestError> {
    let value = &document.value;
    if document.name().is_empty() {
        return Err(document.error(&["metadata"], "has no `metadata.name`"));
    }
    let containers = value.pointer("/spec/template/spec/containers").and_then(|list| list.as_array());
    let Some(containers) = containers.filter(|containers| !containers.is_empty()) else {
        return Err(document.error(&POD, "has no container in `spec.template.spec.containers`"));
    };
    for (idx, container) in containers.iter().enumerate() {
        let at = idx.to_string();
        let path = [&POD[..], &["containers", &at]].concat();
        if container["image"].as_str().is_none_or(str::is_empty) {
            let what = format!("`spec.template.spec.containers[{idx}]` has no `image`");
            return Err(document.error(&path, &what));
        }
        for (port, declared) in container["ports"].as_array().into_iter().flatten().enumerate() {
            let port = port.to_string();
            let path = [&path[..], &["ports", &port, "containerPort"]].concat();
            number_of_port(document, &path, declared["containerPort"].as_i64())?;
        }
        for list in ["limits", "requests"] {
            for (name, quantity) in container["resources"][list].as_object().into_iter().flatten() {
                let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
                if bytes(&text).is_none() {
                    let what = format!(
                        "`resources.{list}.{name}` is `{}`, which is no quantity such as 512Mi",
                        shown(&text)
                    );
                    return Err(document.error(&[&path[..], &["resources", list, name]].concat(), &what));
                }
            }
        }
    }
    selector(document)
}

/// A selector of a workload that its own pods do not match is refused by the API server.
fn selector(document: &Document<'_>) -> Result<(), ManifestError> {
    let wanted = document.value.pointer("/spec/selector/matchLabels").and_then(|labels| labels.as_object());
    let labels = document.value.pointer("/spec/template/metadata/labels");
    for (key, value) in wanted.into_iter().flatten() {
        if labels.and_then(|labels| labels.get(key)) != Some(value) {
            let what = format!(
                "the selector wants `{}: {}`, which the labels of its own pods (`spec.template.metadata.labels`) have not",
                shown(key),
                shown(value.as_str().unwrap_or_default()),
            );
            return Err(document.error(&["spec", "selector"], &what));
        }
    }
    Ok(())
}

/// What the API server would refuse in this Service.
///
/// # Errors
///
/// The first fault, with its line.
pub(super) fn service(document: &Document<'_>) -> Result<(), ManifestError> {
    if document.name().is_empty() {
        return Err(document.error(&["metadata"], "has no `metadata.name`"));
    }
    for (idx, port) in document.value["spec"]["ports"].as_array().into_iter().flatten().enumerate() {
        let idx = idx.to_string();
        number_of_port(document, &["spec", "ports", &idx, "port"], port["port"].as_i64())?;
        if let Some(target) = port["targetPort"].as_i64() {
            number_of_port(document, &["spec", "ports", &idx, "targetPort"], Some(target))?;
        }
    }
    Ok(())
}

fn number_of_port(document: &Document<'_>, path: &[&str], number: Option<i64>) -> Result<(), ManifestError> {
    match number {
        Some(1..=65535) => Ok(()),
        Some(number) => {
            let last = path.last().copied().unwrap_or_default();
            Err(document.error(path, &format!("`{last}` is {number}; ports are 1 to 65535")))
        }
        None => Ok(()),
    }
}

/// Where a Secret or a ConfigMap is named that a container cannot be made without.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// `file:line`.
    pub(super) place: String,
    /// Whether it is mounted, which `local` does not do, and not read into variables.
    pub(super) is_mounted: bool,
}

/// Every Secret and ConfigMap that the pods of this workload cannot be made without.
pub(super) fn references(document: &Document<'_>) -> Vec<Reference> {
    let mut found = Vec::new();
    let pod = document.value.pointer("/spec/template/spec").cloned().unwrap_or_default();
    let mut note = |kind, source: &serde_json::Value, field: &str, path: &[&str], is_mounted| {
        let Some(name) = source[field].as_str() else { return };
        if source["optional"].as_bool() != Some(true) {
            let place = format!("{}:{}", document.file, document.line(&[&POD[..], path].concat()));
            found.push(Reference { kind, name: name.to_owned(), place, is_mounted });
        }
    };
    for list in ["initContainers", "containers"] {
        for (container, value) in pod[list].as_array().into_iter().flatten().enumerate() {
            let container = container.to_string();
            for (idx, variable) in value["env"].as_array().into_iter().flatten().enumerate() {
                let (idx, from) = (idx.to_string(), &variable["valueFrom"]);
                for (kind, key) in [("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")] {
                    let path = [list, &container, "env", &idx, "valueFrom", key];
                    note(kind, &from[key], "name", &path, false);
                }
            }
            for (idx, source) in value["envFrom"].as_array().into_iter().flatten().enumerate() {
                let idx = idx.to_string();
                for (kind, key) in [("Secret", "secretRef"), ("ConfigMap", "configMapRef")] {
                    note(kind, &source[key], "name", &[list, &container, "envFrom", &idx, key], false);
                }
            }
        }
    }
    for (idx, volume) in pod["volumes"].as_array().into_iter().flatten().enumerate() {
        let idx = idx.to_string();
        note("Secret", &volume["secret"], "secretName", &["volumes", &idx, "secret"], true);
        note("ConfigMap", &volume["configMap"], "name", &["volumes", &idx, "configMap"], true);
    }
    found
}

/// Whether the objects of a hub fit together, as a cluster takes them.
///
/// # Errors
///
/// What does not fit: namespaces that differ, or a Secret or ConfigMap that is in no file.
pub(super) fn together(manifests: &Manifests, references: &[Reference]) -> Result<(), ManifestError> {
    let (deployment, service) = (&manifests.deployment.metadata, &manifests.service.metadata);
    if let (Some(of_deployment), Some(of_service)) = (&deployment.namespace, &service.namespace)
        && of_deployment != of_service
    {
        return Err(ManifestError::NamespacesDiffer {
            service: shown(service.name.as_deref().unwrap_or_default()),
            of_service: shown(of_service),
            deployment: shown(deployment.name.as_deref().unwrap_or_default()),
            of_deployment: shown(of_deployment),
        });
    }
    let missing = manifests.missing(references);
    match missing.into_iter().find(|reference| !reference.is_mounted) {
        Some(reference) => Err(ManifestError::NotThere {
            kind: reference.kind,
            name: shown(&reference.name),
            place: reference.place.clone(),
        }),
        None => Ok(()),
    }
}

impl Manifests {
    /// What is named and is in no file.
    pub(super) fn missing<'r>(&self, references: &'r [Reference]) -> Vec<&'r Reference> {
        let secrets =
            self.secrets.iter().filter_map(|secret| Some(("Secret", secret.metadata.name.clone()?)));
        let maps = self.config_maps.iter().filter_map(|map| Some(("ConfigMap", map.metadata.name.clone()?)));
        let has: BTreeSet<(&str, String)> = secrets.chain(maps).collect();
        references
            .iter()
            .filter(|reference| !has.contains(&(reference.kind, reference.name.clone())))
            .collect()
    }
}
