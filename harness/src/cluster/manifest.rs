//! Ordinary Kubernetes YAML: a Deployment, its Service, and the Secrets and ConfigMaps they refer to.

use std::fmt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};

use super::environment::secret_values;

mod adapt;
mod choose;
mod companion;
mod difference;
mod document;
mod edit;
mod error;
mod facts;
mod fit;
mod found;
mod pace;
mod quantity;
mod read;
mod service;
mod stateful;
mod unused;

pub(crate) use quantity::memory_limit;

use adapt::probe;
use document::documents;
use fit::Reference;
use found::Found;

pub use choose::Choice;
pub use companion::{Beside, COMPANION, Companion, CompanionKind};
pub(crate) use companion::{Names, ServicePorts};
pub use edit::KEEPS_OFF;
pub use error::ManifestError;
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
    /// The same as objects.
    companions: Vec<Companion>,
    /// Those that come up before the hub, as they are applied.
    beside: Vec<Companion>,
    /// The companions that `local` does not start, each with the flag that would.
    missing_beside: Option<String>,
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
    /// a container's `env` or in a ConfigMap; of companions, too.
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
        let beside = self.companions.iter().flat_map(Companion::variables);
        let clear = variables.chain(settings).map(|(name, value)| (name.as_str(), value.as_str()));
        declared
            .chain(clear.chain(beside).flat_map(|(name, value)| Secret::of_variable(name, value)))
            .collect()
    }

    /// The namespace of the Deployment.
    pub fn namespace(&self) -> String {
        self.deployment.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }

    /// Every field of the manifests that the local backend does not honour, and every object but workloads, once each, as
    /// `deployment mcp-hub: spec.template.spec.securityContext`.
    pub fn not_simulated(&self) -> Vec<String> {
        let mut fields = unused::of_deployment(&serde_json::to_value(&self.deployment).unwrap_or_default());
        fields.extend(unused::of_service(&serde_json::to_value(&self.service).unwrap_or_default()));
        fields.extend(self.unknown.iter().cloned());
        let workloads = self.workloads_beside().map(Companion::label).collect::<Vec<_>>();
        fields.extend(self.others.iter().filter(|other| !workloads.contains(other)).cloned());
        fields
    }

    /// Remarks that companions are not started on `local` of which none of these names is one, and how they would be.
    pub fn remark_on_companions(&mut self, given: &[&str]) {
        self.missing_beside = self.not_started(given);
        self.remarks
            .extend(self.missing_beside.iter().map(|beside| format!("not started on local: {beside}")));
        // A companion that is started stands for its Services.
        let services = given.iter().flat_map(|name| self.services_of(name));
        let stand_for: Vec<String> = services.map(|service| format!("service/{}", service.name)).collect();
        self.others.retain(|other| !stand_for.contains(other));
    }

    /// The companions that `local` does not start, each with the flag that would; nothing when there are none.
    pub(crate) fn missing_beside(&self) -> Option<&str> {
        self.missing_beside.as_deref()
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
