//! What the cells of one run share on a cluster: the client, the names of namespaces, and their end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Client, Config};
use serde_json::json;

use super::UpError;
use crate::cluster::kind::Kind;

/// Our name in managed fields.
pub const MANAGER: &str = "hubcheck";

/// The label that says that something is ours.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The label that says of which run something is.
pub const LABEL_RUN: &str = "hubcheck/run";

/// The label that says which process made it.
const LABEL_PROCESS: &str = "hubcheck/process";

/// How long the namespaces of a run may take to go, all together.
const GONE: Duration = Duration::from_secs(90);

/// A cluster as one run uses it.
pub struct Site {
    client: Client,
    run: String,
    kind: Arc<Kind>,
    /// Whether `discovery.k8s.io/v1` is served.
    has_slices: bool,
    namespaces: AtomicUsize,
    made: Made,
}

/// Every namespace that this run made, or took over from one that is over, and that may still be there.
type Made = Arc<Mutex<BTreeSet<String>>>;

/// A namespace that is deleted when this goes.
pub(super) struct Leave {
    name: String,
    number: usize,
    namespaces: Api<Namespace>,
    is_told: bool,
}

// === impl Site ===

impl Site {
    /// Connects to a KIND cluster for this run.
    ///
    /// # Errors
    ///
    /// [`UpError`] when the API does not answer.
    pub async fn of_kind(kind: Arc<Kind>, run: String) -> Result<Self, UpError> {
        install_crypto();
        let config = Kubeconfig::from_yaml(kind.kubeconfig());
        let config = config.map_err(|error| UpError::Config(error.to_string()))?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| UpError::Config(error.to_string()))?;
        // Watches and forwarded streams are silent for as long as nothing happens.
        config.read_timeout = None;
        let client =
            Client::try_from(config).map_err(UpError::api("setting up the client of the Kubernetes API"))?;
        let groups = client.list_api_groups().await.map_err(UpError::api("asking what the API serves"))?;
        let discovery = groups.groups.iter().find(|group| group.name == "discovery.k8s.io");
        let has_slices =
            discovery.is_some_and(|group| group.versions.iter().any(|version| version.version == "v1"));
        Ok(Self { client, run, kind, has_slices, namespaces: AtomicUsize::new(0), made: Made::default() })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The KIND cluster.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    pub(super) fn has_slices(&self) -> bool {
        self.has_slices
    }

    /// Deletes the namespaces of runs that are over without having done so.
    pub async fn reap(&self, is_alive: impl Fn(&str) -> bool) {
        let ours = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}={MANAGER}"));
        let found = match self.api().list(&ours).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!("looking for left namespaces: {error}"),
        };
        for namespace in found {
            let run = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_RUN));
            if run.is_none_or(|run| *run == self.run || is_alive(run)) {
                continue;
            }
            let name = namespace.metadata.name.unwrap_or_default();
            delete(&self.api(), &name).await;
            lock(&self.made).insert(name);
        }
    }

    /// A new namespace.
    pub(super) async fn namespace(&self) -> Result<Leave, UpError> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("hubcheck-{}-{number}", self.run);
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    LABEL_MANAGED_BY: MANAGER,
                    LABEL_RUN: self.run,
                    LABEL_PROCESS: std::process::id().to_string(),
                },
            },
        });
        // Noted before it is asked for: whatever comes of that, it goes.
        lock(&self.made).insert(name.clone());
        let leave = Leave { name, number, namespaces: self.api(), is_told: false };
        let params = PatchParams::apply(MANAGER).force();
        let made = self.api().patch(leave.name(), &params, &Patch::Apply(&namespace)).await;
        made.map_err(UpError::api(format!("making namespace {}", leave.name())))?;
        Ok(leave)
    }

    /// Begins to delete every namespace that is still there: the cluster goes on with that by itself.
    pub async fn let_go(&self) {
        let names: Vec<String> = lock(&self.made).iter().cloned().collect();
        let namespaces = self.api();
        join_all(names.iter().map(|name| delete(&namespaces, name))).await;
    }

    /// The same, and waits until they are gone; the names of those that are not.
    pub async fn finish(&self) -> Vec<String> {
        self.let_go().await;
        let names = std::mem::take(&mut *lock(&self.made));
        let gone = names.into_iter().map(|name| async move {
            let there = tokio::time::timeout(GONE, gone(self.api(), &name)).await.is_err();
            there.then_some(name)
        });
        join_all(gone).await.into_iter().flatten().collect()
    }

    fn api(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }
}

// === impl Leave ===

impl Leave {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Which of the run's namespaces it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Begins to delete the namespace.
    pub(super) async fn now(mut self) {
        self.is_told = true;
        delete(&self.namespaces, &self.name).await;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        // What is not told now, [`Site::finish`] tells.
        let (namespaces, name) = (self.namespaces.clone(), std::mem::take(&mut self.name));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { delete(&namespaces, &name).await });
        }
    }
}

// === helpers ===

fn lock(made: &Made) -> MutexGuard<'_, BTreeSet<String>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chooses the cryptography of TLS, once: the crates together enable two, and rustls refuses to guess.
pub fn install_crypto() {
    // It fails only when it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Begins to delete a namespace. Its pods are killed at once: a namespace whose pods take their time is looked at
/// again and again, every kind of object of it, by a controller that may ask only 20 questions a second.
async fn delete(namespaces: &Api<Namespace>, name: &str) {
    match namespaces.delete(name, &DeleteParams::background()).await {
        Ok(_) => {
            let pods: Api<Pod> = Api::namespaced(namespaces.clone().into_client(), name);
            let at_once = DeleteParams::default().grace_period(0);
            if let Err(error) = pods.delete_collection(&at_once, &ListParams::default()).await {
                tracing::debug!("killing the pods of namespace {name}: {error}");
            }
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => tracing::warn!("deleting namespace {name}: {error}"),
    }
}

/// Returns when the namespace does not exist.
async fn gone(namespaces: Api<Namespace>, name: &str) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(namespaces, only).boxed();
    let mut there = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitApply(_) | watcher::Event::Apply(_)) => there = true,
            Ok(watcher::Event::InitDone) if !there => return,
            Ok(watcher::Event::Delete(_)) => return,
            Ok(watcher::Event::Init) => there = false,
            Ok(watcher::Event::InitDone) => {}
            Err(error) => tracing::debug!("watching namespace {name}: {error}"),
        }
    }
}
