//! What the cells of one run share on a cluster: the client, the names of namespaces, and their end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::sync::OnceCell;

use super::UpError;
use super::context::{Context, Reached, reach};
use super::objects::{Exposed, Served};
use super::relays::RelayPods;
use crate::cluster::gate::{Entry, GateError, Relays};
use crate::cluster::kind::{Exit, Kind, home};

/// Our name in managed fields.
pub const MANAGER: &str = "hubcheck";

/// The label that says that something is ours.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The label that says of which run something is.
pub const LABEL_RUN: &str = "hubcheck/run";

/// The label that says on which machine, and for which user, it was made: only there is it known which runs go on.
const LABEL_HOME: &str = "hubcheck/home";

/// The label that says which process made it.
const LABEL_PROCESS: &str = "hubcheck/process";

/// How long the namespaces of a run may take to go, all together.
const GONE: Duration = Duration::from_secs(90);

/// A cluster as one run uses it.
pub struct Site {
    client: Client,
    /// One that repeats nothing.
    once: Client,
    run: String,
    ground: Ground,
    /// Clients that are pods, once there are any.
    pods: OnceCell<Arc<RelayPods>>,
    home: String,
    /// Whether `discovery.k8s.io/v1` is served.
    has_slices: bool,
    /// The version of `policy` that has PodDisruptionBudgets here.
    budgets: Option<&'static str>,
    /// The `apiVersion` of an eviction here.
    evictions: Option<String>,
    namespaces: AtomicUsize,
    made: Made,
}

/// What there is beside the Kubernetes API.
enum Ground {
    /// The nodes are containers of this machine: we see into them, and have containers of our own beside them.
    Kind(Arc<Kind>),
    /// Nothing: what clients need are pods.
    Pods,
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
        let kubeconfig = Kubeconfig::from_yaml(kind.kubeconfig());
        let kubeconfig = kubeconfig.map_err(|error| UpError::Config(error.to_string()))?;
        let reached = reach(kubeconfig, None).await?;
        Self::new(reached, run, Ground::Kind(kind))
    }

    /// Connects to the cluster of a context for this run.
    ///
    /// # Errors
    ///
    /// [`UpError`] when there is no such context, or its cluster does not take us.
    pub async fn of_context(context: &Context, run: String) -> Result<Self, UpError> {
        Self::new(context.reach().await?, run, Ground::Pods)
    }

    fn new(reached: Reached, run: String, ground: Ground) -> Result<Self, UpError> {
        let has_slices = reached.serves("discovery.k8s.io", "v1");
        // From 1.21; before, and until 1.24 beside it, there is v1beta1.
        let budgets = ["v1", "v1beta1"].into_iter().find(|version| reached.serves("policy", version));
        let evictions = reached.evictions();
        let (namespaces, made, home) = (AtomicUsize::new(0), Made::default(), home()?);
        let pods = OnceCell::new();
        Ok(Self {
            client: reached.client,
            once: reached.once,
            run,
            ground,
            pods,
            home,
            has_slices,
            budgets,
            evictions,
            namespaces,
            made,
        })
    }

    /// Lets wire clients into a cluster that is not ours: relays are pods that run this image. Returns when the first
    /// of them listens.
    ///
    /// # Errors
    ///
    /// [`UpError::Relay`] when the image does not run, or has no relay.
    pub async fn open_relays(&self, image: &str) -> Result<(), UpError> {
        match self.ground {
            Ground::Kind(_) => Ok(()),
            Ground::Pods => self.relay_pods(image).await.map(drop),
        }
    }

    async fn relay_pods(&self, image: &str) -> Result<&Arc<RelayPods>, UpError> {
        let open = async || {
            let namespace = format!("hubcheck-{}-clients", self.run);
            self.make(&namespace).await?;
            RelayPods::open(self.client.clone(), namespace, image.to_owned()).await
        };
        self.pods.get_or_try_init(open).await
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A client that repeats nothing, whatever the answer is.
    pub(super) fn once(&self) -> &Client {
        &self.once
    }

    /// The KIND cluster, where it is one.
    pub fn kind(&self) -> Option<&Arc<Kind>> {
        match &self.ground {
            Ground::Kind(kind) => Some(kind),
            Ground::Pods => None,
        }
    }

    /// How clients reach a Service of a cell.
    pub(super) fn exposed(&self) -> Exposed {
        match &self.ground {
            Ground::Kind(_) => Exposed::AtNodes,
            Ground::Pods => Exposed::Within,
        }
    }

    /// Where the clients of the cell of this number enter, and through what.
    pub(super) async fn entry(&self, cell: usize, served: &Served) -> Result<(Entry, Relays), UpError> {
        match &self.ground {
            Ground::Kind(kind) => {
                let port = served.node_port.ok_or_else(|| UpError::NoNodePort(served.name.clone()))?;
                Ok(kind.entry(cell, port).await?)
            }
            Ground::Pods => self.within(served).await,
        }
    }

    /// The Service at every node, in the order of their names, where the nodes are ours.
    pub(super) async fn entries(&self, served: &Served) -> Result<Vec<(Entry, Relays)>, UpError> {
        let kind = self.kind().ok_or(GateError::NoNode)?;
        let port = served.node_port.ok_or_else(|| UpError::NoNodePort(served.name.clone()))?;
        Ok(kind.entries(port).await?)
    }

    /// The Service's own address, and clients that are pods.
    pub(super) async fn within(&self, served: &Served) -> Result<(Entry, Relays), UpError> {
        let to = served.within.ok_or_else(|| UpError::NoAddress(served.name.clone()))?;
        let relays = match &self.ground {
            // Clients have addresses of their own at the nodes; from within they only look whether there is a way.
            Ground::Kind(kind) => {
                let pods = self.relay_pods(&kind.relay_image().await?.reference).await?;
                Relays::OnePod(Arc::clone(pods))
            }
            Ground::Pods => Relays::Pods(Arc::clone(self.pods.get().ok_or(GateError::NoRelays)?)),
        };
        Ok((Entry { to, node: None }, relays))
    }

    /// Whether the node gives a Service's connections (`namespace/name`) to exactly these pods; nothing when its rules
    /// cannot be read.
    pub(super) async fn routes(&self, node: Option<&str>, service: &str, pods: &[IpAddr]) -> Option<bool> {
        let (kind, node) = self.kind().zip(node)?;
        kind.routes(node, service, pods).await
    }

    /// How and when a container of a node ended, in its runtime's words, where they are heard.
    pub(super) fn exit(&self, node: &str, container: &str) -> Option<Exit> {
        self.kind()?.exit(node, container)
    }

    pub(super) fn budgets(&self) -> Option<&'static str> {
        self.budgets
    }

    pub(super) fn evictions(&self) -> Option<&str> {
        self.evictions.as_deref()
    }

    pub(super) fn has_slices(&self) -> bool {
        self.has_slices
    }

    /// Deletes the namespaces of runs of this machine and user that are over without having done so.
    pub async fn reap(&self, is_alive: impl Fn(&str) -> bool) {
        let ours = format!("{LABEL_MANAGED_BY}={MANAGER},{LABEL_HOME}={}", self.home);
        let ours = ListParams::default().labels(&ours);
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
        let leave = Leave { name, number, namespaces: self.api(), is_told: false };
        self.make(leave.name()).await?;
        Ok(leave)
    }

    async fn make(&self, name: &str) -> Result<(), UpError> {
        // Noted before it is asked for: whatever comes of that, it goes.
        lock(&self.made).insert(name.to_owned());
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    LABEL_MANAGED_BY: MANAGER,
                    LABEL_RUN: self.run,
                    LABEL_HOME: self.home,
                    LABEL_PROCESS: std::process::id().to_string(),
                },
            },
        });
        let params = PatchParams::apply(MANAGER).force();
        let made = self.api().patch(name, &params, &Patch::Apply(&namespace)).await;
        made.map_err(UpError::api(format!("making namespace {name}")))?;
        Ok(())
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
    let mut events = watcher(namespaces, only).default_backoff().boxed();
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
