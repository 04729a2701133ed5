//! The `kind` command, which knows how to make a cluster.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::node::MARK;
use super::{KindError, state};
use crate::cluster::manifest::Manifests;

/// Names the node image; without it `kind` has its own.
const NODE_IMAGE: &str = "KIND_NODE_IMAGE";

/// Where a cluster's kubeconfig is, in its folder.
const KUBECONFIG: &str = "kubeconfig";

/// What is mounted into nodes that we made, in the cluster's folder.
const MARK_FOLDER: &str = "made-by-hubcheck";

/// There when the cluster goes with the last run that uses it, in the cluster's folder.
const GOES: &str = "goes-with-its-last-run";

/// How much of what a failed command said is told.
const SAID: usize = 2000;

pub(super) struct Cli {
    cluster: String,
    folder: PathBuf,
    node_image: Option<String>,
    definition: Value,
}

// === impl Cli ===

impl Cli {
    pub(super) fn new(cluster: &str) -> Result<Self, KindError> {
        let node_image = std::env::var(NODE_IMAGE).ok().filter(|image| !image.is_empty());
        let folder = state::cluster_folder(cluster)?;
        // It is ours, and a test reads it.
        let mut definition: Value = serde_saphyr::from_str(Manifests::CLUSTER).unwrap_or_default();
        let mark = folder.join(MARK_FOLDER);
        std::fs::create_dir_all(&mark).map_err(|error| KindError::File { path: mark.clone(), error })?;
        for node in definition["nodes"].as_array_mut().into_iter().flatten() {
            node["extraMounts"] = json!([{ "hostPath": mark, "containerPath": MARK, "readOnly": true }]);
        }
        Ok(Self { cluster: cluster.to_owned(), folder, node_image, definition })
    }

    /// The cluster's name.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The image that nodes must have, when the user wants a certain one.
    pub(super) fn node_image(&self) -> Option<&str> {
        self.node_image.as_deref()
    }

    /// How many nodes the definition has.
    pub(super) fn node_count(&self) -> usize {
        self.definition["nodes"].as_array().map_or(1, Vec::len)
    }

    /// Makes the cluster; the user's own kubeconfig is left alone.
    pub(super) async fn create(&self) -> Result<(), KindError> {
        let kubeconfig = self.kubeconfig_path();
        let mut args = vec!["create", "cluster", "--name", &self.cluster, "--config", "-", "--kubeconfig"];
        let path = kubeconfig.display().to_string();
        args.push(&path);
        if let Some(image) = &self.node_image {
            args.extend(["--image", image]);
        }
        self.run(&args, self.definition.to_string()).await.map(drop)
    }

    pub(super) async fn delete(&self) -> Result<(), KindError> {
        let path = self.kubeconfig_path().display().to_string();
        let args = ["delete", "cluster", "--name", &self.cluster, "--kubeconfig", &path];
        self.run(&args, String::new()).await.map(drop)
    }

    /// The kubeconfig as it is now; written down too, for whoever wants to use `kubectl`.
    pub(super) async fn kubeconfig(&self) -> Result<String, KindError> {
        let kubeconfig = self.run(&["get", "kubeconfig", "--name", &self.cluster], String::new()).await?;
        let path = self.kubeconfig_path();
        state::write_private(&path, &kubeconfig).map_err(|error| KindError::File { path, error })?;
        Ok(kubeconfig)
    }

    /// Where the kubeconfig is written.
    pub(super) fn kubeconfig_path(&self) -> PathBuf {
        self.folder.join(KUBECONFIG)
    }

    /// Whether the cluster goes with the last run that uses it.
    pub(super) fn goes(&self) -> bool {
        self.folder.join(GOES).exists()
    }

    /// Says whether the cluster goes with the last run that uses it.
    pub(super) fn set_goes(&self, goes: bool) -> Result<(), KindError> {
        let path = self.folder.join(GOES);
        let done = match goes {
            true => std::fs::write(&path, ""),
            false if path.exists() => std::fs::remove_file(&path),
            false => Ok(()),
        };
        done.map_err(|error| KindError::File { path, error })
    }

    /// Removes what was written.
    pub(super) fn forget(&self) {
        for name in [KUBECONFIG, "kubeconfig.lock", GOES] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        let _ = std::fs::remove_dir(self.folder.join(MARK_FOLDER));
        let _ = std::fs::remove_dir(&self.folder);
        state::tidy();
    }

    async fn run(&self, args: &[&str], input: String) -> Result<String, KindError> {
        let mut command = Command::new("kind");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Docker is the provider that everything here speaks to.
        command.env("KIND_EXPERIMENTAL_PROVIDER", "docker").kill_on_drop(true);
        let mut child = command.spawn().map_err(KindError::NoCli)?;
        if let Some(mut stdin) = child.stdin.take() {
            // When it does not read, its exit code says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(KindError::NoCli)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let from = said.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
        Err(KindError::Cli { command: args[..2].join(" "), said: said[from..].to_owned() })
    }
}
