//! What can go wrong with a KIND cluster.

use super::{ImageError, NODES_READY};

/// What Docker, `kind` or a node said.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// There is no Docker, or it refused.
    #[error("{doing}: {error}")]
    Docker {
        /// What was asked.
        doing: String,
        /// The answer.
        error: Box<bollard::errors::Error>,
    },
    /// The `kind` command cannot be started.
    #[error("starting `kind`: {0}; see https://kind.sigs.k8s.io for how to install it")]
    NoCli(std::io::Error),
    /// The `kind` command failed.
    #[error("`kind {command}` failed: {said}")]
    Cli {
        /// What was run.
        command: String,
        /// The end of what it said.
        said: String,
    },
    /// A cluster of our name that somebody else made.
    #[error("there is a KIND cluster `{0}` that hubcheck did not make, which is not touched")]
    NotOurs(String),
    /// A cluster of ours that another run uses.
    #[error("cluster `{cluster}` is used by run {run}, which is going on{}", .unfit.as_ref().map(|why| format!(", and cannot be made anew: {why}")).unwrap_or_default())]
    InUse {
        /// The cluster.
        cluster: String,
        /// The run.
        run: String,
        /// Why it should be made anew.
        unfit: Option<String>,
    },
    /// The nodes of a new cluster did not become ready.
    #[error("the nodes of the new cluster are not ready after {} s", NODES_READY.as_secs())]
    NodesNotReady,
    /// A command on a node failed.
    #[error("`{command}` on {node} failed with {code}: {said}")]
    OnNode {
        /// The node.
        node: String,
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
        /// What it said.
        said: String,
    },
    /// A process that is not there.
    #[error("no process of container {0} on its node")]
    NoProcess(String),
    /// A relay that does not listen.
    #[error("{0} does not listen")]
    NoRelay(String),
    /// The image is not in Docker.
    #[error("Docker has no image `{0}`: build or pull it, or name another one with `--image`")]
    NoImage(String),
    /// The image that wire clients were to run as is not in Docker.
    #[error(
        "Docker has no image `{0}` for wire clients: build or pull it, or name another one with `--relay-image`"
    )]
    NoRelayImage(String),
    /// A node that is not there.
    #[error("no node is called `{0}`")]
    NoNode(String),
    /// A file of ours.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

// === impl KindError ===

impl KindError {
    pub(super) fn docker(doing: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Self {
        let doing = doing.into();
        |error| Self::Docker { doing, error: Box::new(error) }
    }
}
