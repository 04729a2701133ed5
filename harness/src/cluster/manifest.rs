//! Ordinary Kubernetes YAML: a Deployment, its Service, and the Secrets and ConfigMaps they refer to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::environment::secret_values;

mod adapt;
mod choose;
mod difference;
mod document;
mod edit;
mod facts;
mod fit;
mod pace;
mod quantity;
mod read;
mod service;
mod stateful;
mod unused;

pub(crate) use quantity::memory_limit;

use adapt::probe;
use choose::{Serving, Workload};
use document::{Document, documents, shown};
use fit::Reference;

pub use choose::Choice;
pub use edit::KEEPS_OFF;
pub use pace::{Asked, PROBE_PATIENCE, Pace, ProbeKind};
pub use service::ServiceFault;

/// What a user would apply.
///
/// Prints without the values of Secrets.
#[derive(Clone)]
pub struct Manifests {
    /// The one Deployment.
    pub deployment: Deployment,
    /// The one Service.
    pub service: Service,
    /// Every Secret.
    pub secrets: Vec<Secret>,
    /// Every ConfigMap.
    pub config_maps: Vec<ConfigMap>,
    /// `kind/name` of everything else.
    pub others: Vec<String>,
    /// What the container's `command` was in the files: it belongs to the image.
    pub(crate) command_in_files: Option<Vec<String>>,
    /// Whether they are ours and serve a command line, with which no manifests were given.
    is_for_a_plain_command: bool,
    /// Fields of the files that no Kubernetes type has, as paths.
    unknown: Vec<String>,
    /// What was read otherwise than it stands there, or left out: a line each.
    remarks: Vec<String>,
    /// Secrets and ConfigMaps that pods mount and no file has: `kind`, name, `file:line`.
    not_mounted: Vec<Reference>,
}

/// Manifests that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A pipe or a device.
    #[error("{} is no file", path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// The source of a Helm chart.
    #[error("{} is a Helm chart: its templates are no manifests before they are rendered", folder.display())]
    Chart {
        /// The folder.
        folder: PathBuf,
    },
    /// A template of a chart.
    #[error("{file}:{line}: this is a template of a Helm chart, which is no manifest before it is rendered")]
    Template {
        /// The file.
        file: String,
        /// The first line that is no YAML, from 1.
        line: u64,
    },
    /// A folder whose files `kustomize` puts together.
    #[error("{} is a kustomization: its files are no manifests before they are put together", folder.display())]
    Kustomization {
        /// The folder.
        folder: PathBuf,
    },
    /// A program is not installed.
    #[error("{what} is built by {programs}, which is not installed")]
    Program {
        /// What is to be built.
        what: &'static str,
        /// Which programs would do.
        programs: &'static str,
    },
    /// A program says no.
    #[error("`{program}` failed: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// Its last line.
        said: String,
    },
    /// A document is not what it should be.
    #[error("{file}:{line}: {what}")]
    Document {
        /// The file.
        file: String,
        /// The line in it, from 1.
        line: u64,
        /// What is wrong; never a value of a Secret.
        what: String,
    },
    /// A kind is missing.
    #[error("there is no {kind} in {sources}{instead}")]
    Missing {
        /// `Deployment` or `Service`.
        kind: &'static str,
        /// What was read.
        sources: String,
        /// What is there in its place, after `; there is `; empty when nothing is.
        instead: String,
    },
    /// One object stands in two places.
    #[error("{object} stands twice, at {first} and at {second}; leave one")]
    Twice {
        /// Kind and name.
        object: String,
        /// Where the first is.
        first: String,
        /// Where the second is.
        second: String,
    },
    /// Several objects could be meant.
    #[error("{what} could be {found}")]
    Many {
        /// The flag that chooses.
        flag: &'static str,
        /// What is looked for.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// A flag names what is not there.
    #[error("`{flag} {name}` is not in the manifests; they have {known}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// What it names.
        name: String,
        /// What is there.
        known: String,
    },
    /// None of several Services selects the hub's pods.
    #[error(
        "no Service selects the pods of {workload}, whose labels are {labels}; the Services select {services}"
    )]
    NoServiceSelects {
        /// The hub's Deployment.
        workload: String,
        /// The labels of its pods.
        labels: String,
        /// Each Service with its selector.
        services: String,
    },
    /// A Service selects only pods of its own namespace.
    #[error(
        "the Service {service} is in the namespace {of_service} and the Deployment {deployment} in {of_deployment}: it selects none \
         of its pods"
    )]
    NamespacesDiffer {
        /// The Service.
        service: String,
        /// Its namespace.
        of_service: String,
        /// The Deployment.
        deployment: String,
        /// Its namespace.
        of_deployment: String,
    },
    /// Something that the container needs is in no file.
    #[error("{place}: {kind} `{name}` is named here and is in no file")]
    NotThere {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it is named.
        place: String,
    },
}

/// What has been read so far.
#[derive(Default)]
struct Found {
    workloads: Vec<Workload>,
    services: Vec<Serving>,
    /// What each workload names, by its `file:line`.
    references: Vec<(String, Vec<Reference>)>,
    /// The least replicas that an autoscaler leaves of a workload: its name, and how many.
    scaled: Vec<(String, i32)>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
    others: Vec<String>,
    unknown: Vec<String>,
    /// Kind, name and namespace of every object, and where it stands.
    places: Vec<(String, String)>,
}

// === impl ManifestError ===

impl ManifestError {
    /// What mends it, where the message does not say so.
    pub fn hint(&self) -> Option<String> {
        let rendered = "`helm template CHART | hubcheck run --manifests -`";
        match self {
            ManifestError::Chart { folder } => {
                Some(format!("give `--chart {}` (needs `helm`), or use {rendered}", folder.display()))
            }
            ManifestError::Template { .. } => {
                Some(format!("give the chart's folder by `--chart` (needs `helm`), or use {rendered}"))
            }
            ManifestError::Kustomization { folder } => Some(format!(
                "give `-k {0}` (needs `kubectl` or `kustomize`), or use `kubectl kustomize {0} | hubcheck run --manifests -`",
                folder.display()
            )),
            ManifestError::Program { .. } => Some(
                "install it, or render the manifests elsewhere and give them by `--manifests FILE`".to_owned(),
            ),
            ManifestError::Missing { instead, .. } if !instead.is_empty() => Some(
                "give what its operator or controller makes of it: `kubectl get deployment,service -o yaml | hubcheck run --manifests -`"
                    .to_owned(),
            ),
            ManifestError::Many { flag, .. } => Some(format!("choose by `{flag} NAME`")),
            ManifestError::NotThere { kind, name, .. } => {
                let (object, value) = if *kind == "Secret" {
                    ("secret generic", "KEY=VALUE")
                } else {
                    ("configmap", "KEY=VALUE")
                };
                Some(format!(
                    "add it, or a stub: `kubectl create {object} {name} --from-literal={value} --dry-run=client -o yaml`"
                ))
            }
            ManifestError::NoFile { .. } => Some("give a file, a folder, or `-` for standard input".to_owned()),
            ManifestError::Read { .. }
            | ManifestError::Refused { .. }
            | ManifestError::Document { .. }
            | ManifestError::Missing { .. }
            | ManifestError::Twice { .. }
            | ManifestError::Unknown { .. }
            | ManifestError::NoServiceSelects { .. }
            | ManifestError::NamespacesDiffer { .. } => None,
        }
    }
}

// === impl Manifests ===

impl Manifests {
    /// The manifests of `kind/`, as they were when this was built.
    ///
    /// # Errors
    ///
    /// None, as a test shows.
    pub fn embedded() -> Result<Self, ManifestError> {
        Self::parse(&[
            ("kind/deployment.yaml", include_str!("../../../kind/deployment.yaml")),
            ("kind/service.yaml", include_str!("../../../kind/service.yaml")),
            ("kind/secret.yaml", include_str!("../../../kind/secret.yaml")),
        ])
    }

    /// The definition of the KIND cluster in `kind/`.
    pub const CLUSTER: &str = include_str!("../../../kind/cluster.yaml");

    /// Reads these files, folders (as `kubectl apply -f` takes them) and, for `-`, standard input.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn read(paths: &[PathBuf]) -> Result<Self, ManifestError> {
        Self::read_for(paths, &Choice::default())
    }

    /// The same, where the user said which objects are the hub.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn read_for(paths: &[PathBuf], choice: &Choice) -> Result<Self, ManifestError> {
        let (files, left_out) = read::sources(paths)?;
        let mut manifests = Self::of_sources(&files, choice)?;
        if !left_out.is_empty() {
            manifests.remarks.push(format!("subfolders are left out: {}", left_out.join(", ")));
        }
        Ok(manifests)
    }

    /// What `kubectl` or `kustomize` builds of a folder.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]; also when neither is installed.
    pub fn kustomized(folder: &Path, choice: &Choice) -> Result<Self, ManifestError> {
        Self::of_sources(&[read::kustomized(folder)?], choice)
    }

    /// What `helm` renders of a chart with these files of values.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]; also when it is not installed.
    pub fn templated(chart: &Path, values: &[PathBuf], choice: &Choice) -> Result<Self, ManifestError> {
        Self::of_sources(&[read::templated(chart, values)?], choice)
    }

    fn of_sources(files: &[read::Source], choice: &Choice) -> Result<Self, ManifestError> {
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Self::parse_for(&files, choice)
    }

    /// Reads files that were read already, as pairs of name and text.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, ManifestError> {
        Self::parse_for(files, &Choice::default())
    }

    /// The same, where the user said which objects are the hub.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn parse_for(files: &[(&str, &str)], choice: &Choice) -> Result<Self, ManifestError> {
        let mut found = Found::default();
        for (file, text) in files {
            for document in documents(file, text)? {
                found.add(&document)?;
            }
        }
        found.chosen(files, choice)
    }

    /// What is to be masked in a transcript: every value of every Secret, and what is a secret though it stands in clear, in
    /// a container's `env` or in a ConfigMap.
    pub fn secret_values(&self) -> Vec<crate::transcript::Secret> {
        use crate::transcript::Secret;
        let values = self.secrets.iter().flat_map(secret_values);
        let declared = values.map(|(name, value)| Secret { name, value });
        let pod = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let containers =
            pod.into_iter().flat_map(|pod| pod.init_containers.iter().flatten().chain(&pod.containers));
        let variables = containers.flat_map(|container| container.env.iter().flatten());
        let variables = variables.filter_map(|variable| Some((&variable.name, variable.value.as_ref()?)));
        let settings = self.config_maps.iter().flat_map(|map| map.data.iter().flatten());
        declared
            .chain(variables.chain(settings).flat_map(|(name, value)| Secret::of_variable(name, value)))
            .collect()
    }

    /// The namespace of the Deployment.
    pub fn namespace(&self) -> String {
        self.deployment.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }

    /// Every field of the manifests that the local backend does not honour, once each, as
    /// `deployment mcp-hub: spec.template.spec.securityContext`.
    pub fn not_simulated(&self) -> Vec<String> {
        let mut fields = unused::of_deployment(&serde_json::to_value(&self.deployment).unwrap_or_default());
        fields.extend(unused::of_service(&serde_json::to_value(&self.service).unwrap_or_default()));
        fields.extend(self.unknown.iter().cloned());
        fields.extend(self.others.iter().cloned());
        fields
    }

    /// What was read otherwise than it stands there, or left out: a line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether pods of a real cluster can mount what they name.
    ///
    /// # Errors
    ///
    /// [`ManifestError::NotThere`]: such a pod never starts.
    pub fn mounts_are_there(&self) -> Result<(), ManifestError> {
        match self.not_mounted.first() {
            Some(Reference { kind, name, place, .. }) => {
                Err(ManifestError::NotThere { kind, name: name.clone(), place: place.clone() })
            }
            None => Ok(()),
        }
    }
}

/// Names only.
impl fmt::Debug for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<_> = self.secrets.iter().map(|secret| &secret.metadata.name).collect();
        let config_maps: Vec<_> = self.config_maps.iter().map(|map| &map.metadata.name).collect();
        f.debug_struct("Manifests")
            .field("deployment", &self.deployment.metadata.name)
            .field("service", &self.service.metadata.name)
            .field("secrets", &secrets)
            .field("config_maps", &config_maps)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

// === impl Found ===

impl Found {
    fn add(&mut self, document: &Document<'_>) -> Result<(), ManifestError> {
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
                self.services.push(Serving { service, place: document.place() });
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
                self.others.push(shown(&document.label()));
            }
            _ => self.others.push(shown(&document.label())),
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
        self.workloads.push(Workload { kind, deployment, place });
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
    fn chosen(mut self, files: &[(&str, &str)], choice: &Choice) -> Result<Manifests, ManifestError> {
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
        let companions =
            self.workloads.iter().map(|other| format!("{}/{}", other.kind.to_lowercase(), other.name()));
        let services = self.services.iter().filter_map(|other| other.service.metadata.name.as_deref());
        let mut others: Vec<String> = companions.map(|label| shown(&label)).collect();
        others.extend(services.map(|name| shown(&format!("service/{name}"))));
        others.append(&mut self.others);
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
            others => format!("; there is {}", others.join(", ")),
        };
        ManifestError::Missing { kind, sources, instead }
    }
}

// === helpers ===

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
