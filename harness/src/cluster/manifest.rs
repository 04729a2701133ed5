//! Ordinary Kubernetes YAML: a Deployment, its Service, and the Secrets and ConfigMaps they refer to.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::environment::secret_values;

mod adapt;
mod difference;
mod edit;
mod facts;
mod pace;
mod quantity;
mod service;
mod unused;

pub(crate) use quantity::memory_limit;

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
    #[error("there is no {kind} in {sources}")]
    Missing {
        /// `Deployment` or `Service`.
        kind: &'static str,
        /// What was read.
        sources: String,
    },
    /// A kind appears twice.
    #[error("there are two {kind}s, {first} and {second}; leave one")]
    Twice {
        /// `Deployment` or `Service`.
        kind: &'static str,
        /// Where the first is.
        first: String,
        /// Where the second is.
        second: String,
    },
}

/// What every Kubernetes object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<Name>,
}

#[derive(Deserialize)]
struct Name {
    name: Option<String>,
}

/// One YAML document and where it begins.
struct Document<'a> {
    file: &'a str,
    first_line: u64,
    text: &'a str,
}

/// What has been read so far; the strings say where.
#[derive(Default)]
struct Found {
    deployment: Option<(Deployment, String)>,
    service: Option<(Service, String)>,
    secrets: Vec<Secret>,
    config_maps: Vec<ConfigMap>,
    others: Vec<String>,
    unknown: Vec<String>,
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

    /// Reads every `.yaml` and `.yml` file of a directory, or these files.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn read(paths: &[PathBuf]) -> Result<Self, ManifestError> {
        let mut files = Vec::new();
        for path in paths {
            let found = if path.is_dir() { yaml_files(path)? } else { vec![path.clone()] };
            for path in found {
                let text = fs::read_to_string(&path)
                    .map_err(|error| ManifestError::Read { path: path.clone(), error })?;
                files.push((path.display().to_string(), text));
            }
        }
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Self::parse(&files)
    }

    /// Reads files that were read already, as pairs of name and text.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which names the file and the line.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, ManifestError> {
        let mut found = Found::default();
        for (file, text) in files {
            for document in documents(file, text) {
                found.add(&document)?;
            }
        }
        let sources = || match files {
            [] => "no file".to_owned(),
            files => files.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        };
        let missing = |kind| ManifestError::Missing { kind, sources: sources() };
        let (deployment, _) = found.deployment.ok_or_else(|| missing("Deployment"))?;
        let (service, _) = found.service.ok_or_else(|| missing("Service"))?;
        let container =
            deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first());
        let command_in_files = container.and_then(|container| container.command.clone());
        Ok(Self {
            deployment,
            service,
            secrets: found.secrets,
            config_maps: found.config_maps,
            others: found.others,
            command_in_files,
            is_for_a_plain_command: false,
            unknown: found.unknown,
        })
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
        let meta: TypeMeta = document.read("a Kubernetes object")?;
        let (Some(version), Some(kind)) = (meta.api_version, meta.kind) else {
            return Err(
                document.error(document.first_line(), "no apiVersion and kind: not a Kubernetes object")
            );
        };
        let name = meta.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        let place = format!("{}:{}", document.file, document.first_line());
        match (version.as_str(), kind.as_str()) {
            ("apps/v1", "Deployment") => {
                let deployment: Deployment = document.read("a Deployment")?;
                let typed = serde_json::to_value(&deployment).unwrap_or_default();
                self.unknown.extend(unknown_fields(&kind, &name, &document.read("a Deployment")?, &typed));
                if let Some((_, first)) = self.deployment.replace((deployment, place.clone())) {
                    return Err(ManifestError::Twice { kind: "Deployment", first, second: place });
                }
            }
            ("v1", "Service") => {
                let service: Service = document.read("a Service")?;
                let typed = serde_json::to_value(&service).unwrap_or_default();
                self.unknown.extend(unknown_fields(&kind, &name, &document.read("a Service")?, &typed));
                if let Some((_, first)) = self.service.replace((service, place.clone())) {
                    return Err(ManifestError::Twice { kind: "Service", first, second: place });
                }
            }
            ("v1", "Secret") => self.secrets.push(document.read("a Secret")?),
            ("v1", "ConfigMap") => self.config_maps.push(document.read("a ConfigMap")?),
            (_, "Deployment" | "Service" | "Secret" | "ConfigMap") => {
                let what = format!("{kind} of {version} is not supported");
                return Err(document.error(document.line_of("apiVersion:"), &what));
            }
            // The definition of a KIND cluster lies beside what is applied to it.
            (version, _) if version.starts_with("kind.x-k8s.io/") => {}
            _ => self.others.push(format!("{}/{name}", kind.to_lowercase())),
        }
        Ok(())
    }
}

// === impl Document ===

impl Document<'_> {
    fn read<T: DeserializeOwned>(&self, as_what: &str) -> Result<T, ManifestError> {
        serde_saphyr::from_str(self.text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line().max(1));
            // Only the message's first line: the others quote the file, and a Secret may stand there.
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or_default().trim_end().to_owned();
            let what = if as_what == "a Secret" { String::new() } else { format!(": {message}") };
            self.error(self.first_line + line - 1, &format!("not {as_what}{what}"))
        })
    }

    fn error(&self, line: u64, what: &str) -> ManifestError {
        ManifestError::Document { file: self.file.to_owned(), line, what: what.to_owned() }
    }

    /// The first line that says something.
    fn first_line(&self) -> u64 {
        let is_said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let skipped = self.text.lines().position(is_said).unwrap_or(0);
        self.first_line + skipped as u64
    }

    fn line_of(&self, beginning: &str) -> u64 {
        let skipped = self.text.lines().position(|line| line.starts_with(beginning)).unwrap_or(0);
        self.first_line + skipped as u64
    }
}

// === helpers ===

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let failed = |error| ManifestError::Read { path: dir.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Splits at `---`; documents that say nothing are left out.
fn documents<'a>(file: &'a str, text: &'a str) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    for (number, line) in (1_u64..).zip(text.split_inclusive('\n')) {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker {
            documents.push(Document { file, first_line, text: &text[start..offset] });
            (start, first_line) = (offset + line.len(), number + 1);
        }
        offset += line.len();
    }
    documents.push(Document { file, first_line, text: &text[start..] });
    let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    documents.retain(|document| !document.text.lines().all(is_empty));
    documents
}

/// Fields that were written and that the type does not have: mostly spelling mistakes.
fn unknown_fields(kind: &str, name: &str, written: &Value, typed: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(written, typed, String::new(), &mut paths);
    let kind = kind.to_lowercase();
    paths.into_iter().map(|path| format!("{kind} {name}: {path} (no such field in Kubernetes)")).collect()
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
