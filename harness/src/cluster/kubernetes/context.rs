//! The way to a Kubernetes API: a named context of a kubeconfig, and why there is none, in one line.

use std::error::Error as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::UpError;

/// How long the API may take to answer the first question.
const ANSWERS: Duration = Duration::from_secs(10);

/// A named context of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The kubeconfig; without one, those of `KUBECONFIG`, else the user's own.
    pub kubeconfig: Option<PathBuf>,
    /// The context's name.
    pub name: String,
}

/// An API that answers.
pub(super) struct Reached {
    pub(super) client: Client,
    /// The same without repetition: kube repeats what is answered 429, which is how an eviction is refused.
    pub(super) once: Client,
    /// What it serves, beside the core.
    groups: APIGroupList,
    /// What it serves of the core.
    core: APIResourceList,
}

// === impl Context ===

impl Context {
    /// Reads the context and asks its cluster what it serves.
    pub(super) async fn reach(&self) -> Result<Reached, UpError> {
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = read.map_err(|error| UpError::Config(unreadable(&error)))?;
        let known = || kubeconfig.contexts.iter().map(|context| context.name.clone()).collect::<Vec<_>>();
        if !known().contains(&self.name) {
            return Err(UpError::NoContext { name: self.name.clone(), known: known() });
        }
        reach(kubeconfig, Some(&self.name)).await
    }
}

impl Reached {
    /// Whether this version of a group is served.
    pub(super) fn serves(&self, group: &str, version: &str) -> bool {
        let found = self.groups.groups.iter().find(|served| served.name == group);
        found.is_some_and(|served| served.versions.iter().any(|known| known.version == version))
    }

    /// The `apiVersion` of an eviction, where pods can be evicted. It need not be the one of budgets: 1.21 serves
    /// budgets of `policy/v1`, and takes evictions of `policy/v1beta1` alone.
    pub(super) fn evictions(&self) -> Option<String> {
        let served = self.core.resources.iter().find(|served| served.name == "pods/eviction")?;
        Some(format!("{}/{}", served.group.as_ref()?, served.version.as_ref()?))
    }
}

/// Connects by a kubeconfig, and asks what is served: the first answer shows that the cluster takes us.
pub(super) async fn reach(kubeconfig: Kubeconfig, context: Option<&str>) -> Result<Reached, UpError> {
    install_crypto();
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| UpError::Config(unreadable(&error)))?;
    let cluster = match context {
        Some(name) => format!("the cluster of context `{name}` ({})", config.cluster_url),
        None => format!("the cluster ({})", config.cluster_url),
    };
    // Watches and forwarded streams are silent for as long as nothing happens.
    config.read_timeout = None;
    config.connect_timeout = Some(ANSWERS);
    if is_here(&config.cluster_url) {
        // `kubectl` asks no proxy of the environment for what is on this machine, as a KIND cluster is; kube would.
        config.proxy_url = None;
    }
    let unreachable = |why: String| UpError::Unreachable { cluster: cluster.clone(), why };
    let mut once = config.clone();
    once.default_retry = false;
    let once = Client::try_from(once).map_err(|error| unreachable(why(&error)))?;
    let client = Client::try_from(config).map_err(|error| unreachable(why(&error)))?;
    let asked = async { tokio::try_join!(client.list_api_groups(), client.list_core_api_resources("v1")) };
    match tokio::time::timeout(ANSWERS, asked).await {
        Ok(Ok((groups, core))) => Ok(Reached { client, once, groups, core }),
        Ok(Err(error)) => Err(unreachable(why(&error))),
        Err(_) => Err(unreachable(format!("it does not answer within {} s", ANSWERS.as_secs()))),
    }
}

// === helpers ===

/// Whether a server is on this machine.
fn is_here(server: &http::Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What the API says, in one line: kube's own words for it are followed by the whole object.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("{} ({})", status.reason, status.code)
        }
        kube::Error::Api(status) => format!("{} ({})", one_line(&status.message), status.code),
        kube::Error::Auth(error) => {
            format!("the credentials cannot be had: {}", one_line(&error.to_string()))
        }
        other => deepest(other),
    }
}

/// Chooses the cryptography of TLS, once: the crates together enable two, and rustls refuses to guess.
fn install_crypto() {
    // It fails only when it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a cluster does not take us: what it said, or what stands behind what our client says.
fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            "it does not accept the credentials (401 Unauthorized): they are wrong or have expired".to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!("it does not let these credentials ask what it serves (403): {}", status.message)
        }
        kube::Error::Api(status) => format!("it answers {}: {}", status.code, status.message),
        kube::Error::Auth(error) => {
            format!("its credentials cannot be had: {}", one_line(&error.to_string()))
        }
        other => deepest(other),
    }
}

/// What stands at the end of an error's sources, on one line: what is above it only says where it happened.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    one_line(&error.to_string())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn unreadable(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) => format!("{}: {error}", path.display()),
        KubeconfigError::FindPath => "there is none; give `--kubeconfig FILE`".to_owned(),
        KubeconfigError::Parse(error) => {
            let text = error.to_string();
            format!("not a kubeconfig: {}", text.lines().next().unwrap_or_default())
        }
        other => other.source().map_or_else(|| other.to_string(), |source| format!("{other}: {source}")),
    }
}
