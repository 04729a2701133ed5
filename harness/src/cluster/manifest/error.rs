//! What is wrong with manifests, and what mends it.

use std::io;
use std::path::PathBuf;

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
                let object = if *kind == "Secret" { "secret generic" } else { "configmap" };
                Some(format!(
                    "add it, or a stub: `kubectl create {object} {name} --from-literal=KEY=VALUE --dry-run=client -o yaml`"
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
