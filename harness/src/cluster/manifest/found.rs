//! The objects of all files, and the hub among them.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::choose::{self, Choice, Serving, Workload};
use super::companion::Companion;
use super::document::{Document, shown};
use super::fit::{self, Reference};
use super::{ManifestError, Manifests, stateful};

/// What has been read so far.
#[derive(Default)]
pub(super) struct Found {
    workloads: Vec<Workload>,
    services: Vec<Serving>,
    /// What each workload names, by its `file:line`.
    references: Vec<(String, Vec<Reference>)>,
    /// The least replicas that an autoscaler leaves of a workload: its name, and how many.
    scaled: Vec<(String, i32)>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
    /// What can be no part of the hub.
    others: Vec<Companion>,
    unknown: Vec<String>,
    /// Kind, name and namespace of every object, and where it stands.
    places: Vec<(String, String)>,
}

// === impl Found ===

impl Found {
    /// Takes one object.
    pub(super) fn add(&mut self, document: &Document<'_>) -> Result<(), ManifestError> {
        let (version, kind) = (document.version(), document.kind());
        if version.is_empty() || kind.is_empty() {
            return Err(document.no_object("no apiVersion and kind: not a Kubernetes object"));
        }
        match (version, kind) {
            ("apps/v1", "Deployment") => {
                let deployment: Deployment = self.typed(document)?;
                self.add_workload(document, "Deployment", deployment)?;
            }
            ("apps/v1", "StatefulSet") => {
                let set: StatefulSet = self.typed(document)?;
                self.add_workload(document, "StatefulSet", stateful::as_deployment(set))?;
            }
            ("v1", "Service") => {
                let service: Service = self.typed(document)?;
                fit::service(document)?;
                self.services.push(Serving { service, place: document.place(), whole: companion(document) });
            }
            ("v1", "Secret") => self.secrets.push(document.read()?),
            ("v1", "ConfigMap") => self.config_maps.push(document.read()?),
            (_, "Deployment" | "StatefulSet" | "Service" | "Secret" | "ConfigMap") => {
                let what = format!("{kind} of {} is not supported", shown(version));
                return Err(document.no_object_at(&["apiVersion"], &what));
            }
            // The definition of a KIND cluster lies beside what is applied to it.
            (version, _) if version.starts_with("kind.x-k8s.io/") => return Ok(()),
            (_, "HorizontalPodAutoscaler") => {
                let spec = &document.value["spec"];
                let target = spec["scaleTargetRef"]["name"].as_str().unwrap_or_default().to_owned();
                let least = spec["minReplicas"].as_i64().and_then(|least| i32::try_from(least).ok());
                self.scaled.push((target, least.unwrap_or(1)));
                self.others.push(companion(document));
            }
            _ => self.others.push(companion(document)),
        }
        self.once(document)
    }

    /// Reads a typed object, and notes fields that its type does not have.
    fn typed<T: DeserializeOwned + Serialize>(
        &mut self,
        document: &Document<'_>,
    ) -> Result<T, ManifestError> {
        let object: T = document.read()?;
        let typed = serde_json::to_value(&object).unwrap_or_default();
        self.unknown.extend(unknown_fields(document.kind(), document.name(), &document.value, &typed));
        Ok(object)
    }

    fn add_workload(
        &mut self,
        document: &Document<'_>,
        kind: &'static str,
        deployment: Deployment,
    ) -> Result<(), ManifestError> {
        fit::workload(document)?;
        let place = document.place();
        self.references.push((place.clone(), fit::references(document)));
        self.workloads.push(Workload { kind, deployment, place, whole: companion(document) });
        Ok(())
    }

    /// An object may stand once.
    fn once(&mut self, document: &Document<'_>) -> Result<(), ManifestError> {
        let namespace = document.value["metadata"]["namespace"].as_str().unwrap_or_default();
        let object = format!("{} {}", shown(document.kind()), shown(document.name()));
        let key = format!("{}|{object}|{namespace}", document.version());
        let place = document.place();
        if let Some((_, first)) = self.places.iter().find(|(known, _)| *known == key) {
            return Err(ManifestError::Twice { object, first: first.clone(), second: place });
        }
        self.places.push((key, place));
        Ok(())
    }

    /// The hub among what was found.
    pub(super) fn chosen(
        mut self,
        files: &[(&str, &str)],
        choice: &Choice,
    ) -> Result<Manifests, ManifestError> {
        if self.workloads.is_empty() {
            return Err(self.missing("Deployment", files));
        }
        if self.services.is_empty() {
            return Err(self.missing("Service", files));
        }
        let mut hub = choose::workload(&mut self.workloads, choice)?;
        let serving = choose::service(&mut self.services, &mut hub, choice)?;
        let mut remarks = Vec::new();
        if hub.kind == "StatefulSet" {
            remarks.push(format!(
                "the StatefulSet {} is run as a Deployment that replaces its pods one by one: they have other names, start at the \
                 same time, and their volumes begin empty",
                shown(hub.name())
            ));
        }
        if let Some((_, least)) = self.scaled.iter().find(|(target, _)| target == hub.name()) {
            hub.deployment.spec.get_or_insert_default().replicas = Some(*least);
            remarks.push(format!(
                "the HorizontalPodAutoscaler leaves at least {least}: that is the number of replicas"
            ));
        }
        let mut companions: Vec<Companion> = self.workloads.into_iter().map(|other| other.whole).collect();
        companions.extend(self.services.into_iter().map(|other| other.whole));
        companions.append(&mut self.others);
        let others = companions.iter().map(Companion::label).collect();
        let named = self.references.into_iter().find(|(place, _)| *place == hub.place);
        let references = named.map(|(_, references)| references).unwrap_or_default();
        let container =
            hub.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first());
        let command_in_files = container.and_then(|container| container.command.clone());
        let mut manifests = Manifests {
            deployment: hub.deployment,
            service: serving.service,
            secrets: self.secrets,
            config_maps: self.config_maps,
            others,
            companions,
            beside: Vec::new(),
            missing_beside: None,
            command_in_files,
            is_for_a_plain_command: false,
            unknown: self.unknown,
            remarks,
            not_mounted: Vec::new(),
        };
        fit::together(&manifests, &references)?;
        manifests.not_mounted = manifests.missing(&references).into_iter().cloned().collect();
        for Reference { kind, name, place, .. } in &manifests.not_mounted {
            let line = format!(
                "{kind} `{}`, which {place} mounts, is in no file: on a cluster no pod starts without it",
                shown(name)
            );
            manifests.remarks.push(line);
        }
        Ok(manifests)
    }

    fn missing(&self, kind: &'static str, files: &[(&str, &str)]) -> ManifestError {
        let sources = match files {
            [] => "no file".to_owned(),
            files => files.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        };
        let instead = match self.others.as_slice() {
            [] => String::new(),
            others => {
                let labels: Vec<String> = others.iter().map(Companion::label).collect();
                format!("; there is {}", labels.join(", "))
            }
        };
        ManifestError::Missing { kind, sources, instead }
    }
}

// === helpers ===

/// The object as it stands in its file.
fn companion(document: &Document<'_>) -> Companion {
    Companion {
        version: document.version().to_owned(),
        kind: document.kind().to_owned(),
        name: document.name().to_owned(),
        object: document.value.clone(),
    }
}

/// Fields that were written and that the type does not have: mostly spelling mistakes.
fn unknown_fields(kind: &str, name: &str, written: &Value, typed: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(written, typed, String::new(), &mut paths);
    let kind = kind.to_lowercase();
    let told = |path: String| shown(&format!("{kind} {name}: {path} (no such field in Kubernetes)"));
    paths.into_iter().map(told).collect()
}

fn compare(written: &Value, typed: &Value, path: String, unknown: &mut Vec<String>) {
    match (written, typed) {
        (Value::Object(written), Value::Object(typed)) => {
            for (key, value) in written {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match typed.get(key) {
                    Some(typed) => compare(value, typed, path, unknown),
                    None if value.is_null() => {}
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(typed)) => {
            for (written, typed) in written.iter().zip(typed) {
                compare(written, typed, format!("{path}[]"), unknown);
            }
        }
        _ => {}
    }
}
