//! Why a hub cannot be run, and what mends that.

use crate::cluster::Unmet;
use crate::cluster::kind::KindError;
use crate::cluster::kubernetes;
use crate::cluster::local::UpError;
use crate::cluster::manifest::ManifestError;

/// What the values of the variables begin with that Kubernetes makes of a Service (`enableServiceLinks`, on by default).
const SERVICE_LINK: &str = "tcp://";

/// What a probe says that was not answered in time.
const TOO_SLOW: [&str; 2] = ["deadline exceeded", "Timeout"];

/// A hub that cannot be run, or that is none.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// An image of the manifests has no command.
    #[error("nothing says how to run image `{image}` as a process")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// Clients on a cluster that is not ours need an image with a relay.
    #[error("clients on this cluster are pods, and nothing says of which image")]
    NoRelayImage,
    /// A URL that cannot be used.
    #[error("`--url {url}`: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A URL whose host has no address.
    #[error("`--url {url}`: the name `{host}` is not found: {why}")]
    UnknownHost {
        /// What was given.
        url: String,
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// Manifests that cannot be read.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The cluster could not be started.
    #[error("starting the cluster: {0}")]
    Up(#[from] UpError),
    /// The cell could not be started on Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::UpError),
    /// The pods behind a URL cannot be read.
    #[error("`--observe`: {0}")]
    Observed(kubernetes::UpError),
    /// The hub did not become ready.
    #[error("the hub did not become ready: {0}")]
    NotReady(#[from] Unmet),
    /// The hub listens where only its own machine reaches it.
    #[error("the hub listens at {at} only: in a pod nothing reaches it, neither its probes nor the Service")]
    LoopbackOnly {
        /// Where it listens.
        at: String,
    },
    /// The hub listens, but not where it was asked to.
    #[error("the hub did not become ready: it listens at {at}, and not at {own} (HOST and PORT)")]
    ListensElsewhere {
        /// Where it listens.
        at: String,
        /// Where it was asked to listen.
        own: String,
        /// The one port at which it listens, when there is one.
        fixed_port: Option<u16>,
    },
    /// The command line is a server for one client, over its standard input and output.
    #[error(
        "`{command}` speaks MCP over its standard input and output, and does not listen at HOST and PORT"
    )]
    SpeaksStdio {
        /// The command line.
        command: String,
        /// Flags with which it did not listen either.
        tried: Option<String>,
    },
    /// The hub ends by itself, again and again.
    #[error("the hub ends as soon as it is started: {0}")]
    KeepsEnding(String),
    /// Clients had no way to the hub, so that nothing is known of it.
    #[error("{0}")]
    NoWay(String),
    /// The user names a tool that the hub does not have.
    #[error("`--call {name}`: the hub lists no such tool{}", nearest.as_ref().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default())]
    NoSuchTool {
        /// The name.
        name: String,
        /// The tool whose name is nearest to it.
        nearest: Option<String>,
    },
    /// Nothing listens at the hub's address.
    #[error("{0}")]
    Unreachable(String),
    /// The survey found no way to speak with the hub.
    #[error("{seen}")]
    SpeaksNothing {
        /// What stands in the way.
        seen: String,
        /// What mends it.
        remedy: String,
    },
}

/// Whose turn it is when a hub cannot be run: an exit code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What the user gave is wrong.
    Input,
    /// The hub, or a proxy in front of it, cannot be used as it is.
    Hub,
    /// It is not known: the machine or the cluster did not let us see.
    Unknown,
}

// === impl RigError ===

impl RigError {
    /// Who has to mend it.
    pub fn blame(&self) -> Blame {
        match self {
            RigError::NoCommand { .. }
            | RigError::NoRelayImage
            | RigError::Url { .. }
            | RigError::UnknownHost { .. }
            | RigError::Manifests(_)
            | RigError::ListensElsewhere { .. }
            | RigError::SpeaksStdio { .. }
            | RigError::Observed(_)
            | RigError::NoSuchTool { .. }
            | RigError::Unreachable(_) => Blame::Input,
            RigError::KeepsEnding(said) if said.contains(SERVICE_LINK) => Blame::Hub,
            RigError::KeepsEnding(_) => Blame::Input,
            RigError::LoopbackOnly { .. } => Blame::Hub,
            // It listens and did not answer in time, or nothing tells more.
            RigError::NotReady(unmet) if TOO_SLOW.iter().any(|words| unmet.last_seen.contains(words)) => {
                Blame::Unknown
            }
            RigError::NotReady(_) => Blame::Input,
            RigError::SpeaksNothing { .. } => Blame::Hub,
            RigError::Kubernetes(
                kubernetes::UpError::Relay { .. } | kubernetes::UpError::Companion { is_hopeless: true, .. },
            ) => Blame::Input,
            RigError::Kubernetes(_) | RigError::NoWay(_) => Blame::Unknown,
            RigError::Up(UpError::NotLinux | UpError::Manifests(_) | UpError::Companion(_)) => Blame::Input,
            RigError::Up(_) => Blame::Unknown,
        }
    }

    /// Whether a cluster's control plane was too slow, so that nothing of the hub was seen.
    pub fn is_slow_cluster(&self) -> bool {
        matches!(self, RigError::Kubernetes(kubernetes::UpError::NoServiceAccount { .. }))
    }

    /// How to mend it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RigError::NoCommand { image } => {
                Some(format!("give `--image-command '{image}=COMMAND'`, or `--command COMMAND` for the hub's own"))
            }
            RigError::Observed(_) => Some(
                "`kubectl get pods` must work with the same `--context`, `--kubeconfig` and `--namespace`; without the flag, replicas are \
                 told apart by what they answer"
                    .to_owned(),
            ),
            RigError::LoopbackOnly { .. } => {
                Some("let the hub listen at 0.0.0.0 (often a flag or a variable such as HOST)".to_owned())
            }
            RigError::ListensElsewhere { .. } => Some(
                "on `local` every replica has an address and a port of its own: let the hub read HOST and PORT, or write `{host}` \
                 and `{port}` in its command line; a hub with a fixed port runs with `--backend kind`"
                    .to_owned(),
            ),
            RigError::SpeaksStdio { command, tried } => {
                let tried = match tried {
                    Some(flags) => format!("`{flags}` were tried, too"),
                    None => "its `--help` lists no flag for that".to_owned(),
                };
                Some(format!(
                    "start it with the flag that makes it an HTTP server ({tried}), or put a bridge in front: `--command \
                     'mcp-proxy --host {{host}} --port {{port}} -- {command}'` (PyPI: mcp-proxy)"
                ))
            }
            RigError::NotReady(unmet) if unmet.last_seen.contains(SERVICE_LINK) => Some(service_link_hint()),
            RigError::NotReady(_) => Some(
                "the hub must listen on HOST and PORT (or `{host}` and `{port}` of its command line); `--ready-path` and \
                 `--ready-timeout` say when it counts as ready"
                    .to_owned(),
            ),
            RigError::KeepsEnding(said) if said.contains(SERVICE_LINK) => Some(service_link_hint()),
            RigError::KeepsEnding(_) => Some(
                "try it by itself: the command line with HOST and PORT set, or the image with `docker run`".to_owned(),
            ),
            RigError::SpeaksNothing { remedy, .. } => Some(remedy.clone()),
            RigError::Unreachable(_) => Some(
                "check the address and the port, and that the hub runs; `curl -v` on this machine must reach it".to_owned(),
            ),
            RigError::NoRelayImage | RigError::Kubernetes(kubernetes::UpError::Relay { .. }) => Some(
                "give `--relay-image IMAGE`, one that the cluster can pull: the reference hub's has what it takes, see \
                 hub/README.md"
                    .to_owned(),
            ),
            RigError::NoSuchTool { .. } => {
                Some("a tool is called by the name that the hub's `tools/list` gives it".to_owned())
            }
            RigError::Url { .. } => Some("write it as http://HOST:PORT".to_owned()),
            RigError::UnknownHost { .. } => Some(
                "check the name; one that only the cluster knows needs `kubectl port-forward`, or a run from a pod".to_owned(),
            ),
            RigError::Kubernetes(kubernetes::UpError::Companion { is_hopeless: true, .. }) => Some(
                "on `kind` an image that this machine's Docker has is loaded into the nodes (`docker pull`, `docker build`); others must be \
                 for everybody to pull"
                    .to_owned(),
            ),
            RigError::Kubernetes(kubernetes::UpError::Kind(error)) => kind_hint(error),
            RigError::Up(UpError::Companion(_)) => Some(
                "try it by itself: a command must listen at HOST and PORT (or `{host}` and `{port}` of its command line), an address must \
                 accept connections"
                    .to_owned(),
            ),
            RigError::Up(_) | RigError::Kubernetes(_) | RigError::Manifests(_) | RigError::NoWay(_) => None,
        }
    }
}

/// How to mend a hub that takes a variable of Kubernetes' for a setting of its own.
fn service_link_hint() -> String {
    "Kubernetes tells a container of the Services beside it in variables (of Service `fastmcp`: FASTMCP_PORT), which a hub \
     may take for its settings: Deployment: `spec.template.spec.enableServiceLinks: false`, or another name for the Service"
        .to_owned()
}

/// How to mend what KIND or Docker said.
pub(crate) fn kind_hint(error: &KindError) -> Option<String> {
    match error {
        KindError::Docker { .. } => Some(
            "`docker info` says whether there is a Docker that you may use; DOCKER_HOST names another one"
                .to_owned(),
        ),
        KindError::InUse { .. } => Some("interrupt that run first; it cleans up by itself".to_owned()),
        KindError::NotOurs(_) => {
            Some("give `--cluster NAME`, one that hubcheck made or a new one".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As FastMCP 2 says it when its Service is called `fastmcp`.
    #[test]
    fn a_setting_that_kubernetes_made_is_told_from_other_ends() {
        let said =
            "port: Input should be a valid integer [input_value='tcp://10.96.228.218:8000', input_type=str]";
        let hint = |said: &str| RigError::KeepsEnding(said.to_owned()).hint().unwrap_or_default();
        assert!(hint(said).contains("`spec.template.spec.enableServiceLinks: false`"), "{}", hint(said));
        assert!(hint("no module named hub").contains("docker run"));
    }
}
