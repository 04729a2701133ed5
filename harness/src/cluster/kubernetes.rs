//! The backend that drives a real Kubernetes: typed objects by server-side apply, watches, and the cluster's own words.
//!
//! Every cell has a namespace of its own, which is deleted in the background: see [`Site`]. The only place that names
//! `kube`. What needs more than the Kubernetes API (the nodes' processes and rules) is asked of [`super::kind`], where
//! the cluster is one of those. Works from Kubernetes 1.20.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use self::logs::Logs;
use self::objects::{Objects, Served};
use self::view::View;
use super::gate::{Callers, Gate, GateError};
use super::kind::{Image, KindError};
use super::lease::LeaseError;
use super::manifest::Manifests;
use super::{Condition, FaultError, Page, Replica, Unmet, awaited};
use crate::source::Source;
use crate::timeouts::RULES_FOLLOW;
use crate::transcript::{Fault, Recorder, Symptom, Told, What};

mod beside;
mod context;
mod described;
mod doors;
mod drain;
mod endpoints;
mod forward;
#[cfg(test)]
mod honoured;
mod images;
mod logs;
mod objects;
mod observer;
mod process;
mod relays;
mod seen;
mod site;
mod view;
mod watching;

pub use context::Context;
pub use observer::{Kind as ObservedKind, Observed, ObservedPod, Observer, Somewhere};
pub(super) use relays::RelayPods;
pub use site::{LABEL_MANAGED_BY, LABEL_RUN, MANAGER, Site};

/// How long what was just changed may take to be seen by our own watch.
const SEEN: Duration = Duration::from_secs(10);

/// A namespace has its service account within this: a busy control plane took longer than 10 s.
const ACCOUNT: Duration = Duration::from_secs(60);

/// How long the API may take to tell everything that it has of a cell.
const DESCRIBED: Duration = Duration::from_secs(20);

/// Between two looks at what the nodes route, which nothing tells by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A running cell.
pub struct Kubernetes {
    site: Arc<Site>,
    objects: Objects,
    manifests: Mutex<Manifests>,
    view: watch::Receiver<Arc<View>>,
    logs: Arc<Logs>,
    recorder: Recorder,
    served: Served,
    gate: Gate,
    /// Beside the one that every client takes, as scenarios ask for them.
    doors: Mutex<Vec<Gate>>,
    watching: AbortOnDropHandle<()>,
    /// An image that was given a name of the cell's own.
    late: OnceLock<Image>,
    /// Deletes the namespace when this is dropped without [`Kubernetes::down`].
    leave: site::Leave,
}

/// Why there is no cluster, or no cell on it.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The Kubernetes API refused or did not answer.
    #[error("{doing}: {}", context::said(error))]
    Api {
        /// What was asked.
        doing: String,
        /// The answer.
        error: Box<kube::Error>,
    },
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig: {0}")]
    Config(String),
    /// The kubeconfig has no such context.
    #[error("the kubeconfig has no context `{name}`; it has {}", known_contexts(known))]
    NoContext {
        /// What was asked for.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The cluster does not answer, or does not take us.
    #[error("{cluster} cannot be used: {why}")]
    Unreachable {
        /// The cluster, and its address.
        cluster: String,
        /// What stands behind it.
        why: String,
    },
    /// The image of the relays does not run.
    #[error("image {image} does not run as a relay: {why}")]
    Relay {
        /// The image.
        image: String,
        /// What the cluster says.
        why: String,
    },
    /// The namespace never got its service account, or we are not told so.
    #[error("namespace {namespace} has no service account after {s} s{heard}", s = ACCOUNT.as_secs())]
    NoServiceAccount {
        /// The namespace.
        namespace: String,
        /// What the API said instead, if anything.
        heard: String,
    },
    /// What the hub needs beside it does not come up.
    #[error("{name}, which the manifests have beside the hub, is not ready{why}")]
    Companion {
        /// Its kind and name.
        name: String,
        /// What its pods say, and after how long.
        why: String,
        /// Whether it does not help to wait longer.
        is_hopeless: bool,
    },
    /// The Service got no node port.
    #[error("service {0} has no node port")]
    NoNodePort(String),
    /// The Service got no address.
    #[error("service {0} has no address of its own")]
    NoAddress(String),
    /// The clients' way into the cluster.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// What KIND or Docker said.
    #[error(transparent)]
    Kind(#[from] KindError),
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Makes a namespace and applies the manifests in it. Pods may not be ready yet: [`Kubernetes::wait`] for them.
    ///
    /// # Errors
    ///
    /// [`UpError`] when the cluster does not take them.
    pub async fn up(site: Arc<Site>, manifests: Manifests, recorder: Recorder) -> Result<Self, UpError> {
        let leave = site.namespace().await?;
        let objects =
            Objects::new(site.client().clone(), leave.name().to_owned(), site.exposed(), &manifests);
        let logs = Arc::new(Logs::new(site.client().clone(), leave.name().to_owned(), recorder.clone()));
        let (view, watching) = watching::start(&site, &objects, Arc::clone(&logs), recorder.clone());
        let watching = AbortOnDropHandle::new(watching);
        objects.service_account().await?;
        let served = objects.apply(&manifests, None).await?;
        let gate =
            doors::open(site.entry(leave.number(), &served).await?, &Callers::default(), &view, &recorder)
                .await?;
        Ok(Self {
            site,
            objects,
            manifests: Mutex::new(manifests),
            view,
            logs,
            recorder,
            served,
            gate,
            doors: Mutex::default(),
            watching,
            late: OnceLock::new(),
            leave,
        })
    }

    /// Where clients connect to reach the Service: their address decides through which relay they enter.
    pub fn service(&self) -> SocketAddr {
        self.gate.addr()
    }

    /// What a client calls the Service: `NODE:NODEPORT` where it enters at a node, `CLUSTERIP:PORT` where it is a pod.
    pub fn authority(&self) -> String {
        self.gate.to().to_string()
    }

    /// Whether it records which replica each connection through the Service was given to.
    pub async fn tells_routes(&self) -> bool {
        match self.site.kind() {
            Some(kind) => kind.tells_routes().await,
            None => false,
        }
    }

    /// A source address for the client of this number, once it can be used.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Clients`] when there are no more addresses.
    pub async fn client_address(&self, number: usize) -> Result<Source, LeaseError> {
        self.gate.client_address(number).await
    }

    /// Returns once it is recorded which replica each connection so far was given to, or will not be: of the client with this
    /// address, or of all.
    pub async fn routes_told(&self, of: Option<IpAddr>) {
        self.gate.callers().routes_told(of).await;
    }

    /// The pods, in the order of their creation.
    pub fn replicas(&self) -> Vec<Replica> {
        self.view.borrow().replicas()
    }

    /// Waits until the condition holds in the API and the nodes route by it, and records that.
    ///
    /// # Errors
    ///
    /// [`Unmet`] when it does not within the limit.
    pub async fn wait(&self, condition: &Condition, limit: Duration) -> Result<(), Unmet> {
        let met = async {
            self.met(|view| view.meets(condition)).await;
            true
        };
        awaited(&self.recorder, condition, limit, met, || self.last_seen()).await
    }

    /// Scales the Deployment.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the API refuses.
    pub async fn scale(&self, replicas: usize) -> Result<(), FaultError> {
        let mut manifests = self.manifests().await?;
        let fault = Fault::Scale { from: manifests.replicas(), to: replicas };
        manifests.set_replicas(replicas);
        self.change(manifests, Some(fault)).await
    }

    /// Replaces every pod, as `kubectl rollout restart` does.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the API refuses.
    pub async fn roll(&self) -> Result<(), FaultError> {
        let mut manifests = self.manifests().await?;
        manifests.restart();
        self.change(manifests, Some(Fault::Roll)).await
    }

    /// Makes these the manifests; what changed in the pod template rolls the Deployment. The words say what changed.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the API refuses.
    pub async fn apply(&self, manifests: Manifests, change: Option<&str>) -> Result<(), FaultError> {
        self.change(manifests, change.map(|change| Fault::Apply { change: change.to_owned() })).await
    }

    /// Waits until the cluster tells of this, in words that hold these names, and then until the nodes' rules agree with the
    /// endpoints. A kubelet's first words may be that it could not look (`failed to sync secret cache`): they count when no
    /// better ones come.
    ///
    /// # Errors
    ///
    /// What was last seen, when it does not within the limit.
    pub async fn told(&self, symptom: Symptom, naming: &[&str], limit: Duration) -> Result<Told, String> {
        let mut view = self.view.clone();
        // Kept when it is told: a container that backs off is tried again, and then waits for nothing.
        let mut kept = None;
        let told = view.wait_for(|view| {
            let Some(told) = view.told(symptom) else { return false };
            let is_named = symptom.is_an_end() || naming.iter().all(|name| told.message.contains(name));
            if is_named || kept.is_none() {
                kept = Some(told);
            }
            is_named
        });
        let _ = tokio::time::timeout(limit, told).await;
        let kept = kept.ok_or_else(|| self.recorder.mask(&self.last_seen()))?;
        // What comes next is not of this symptom: it has its own time.
        let _ = tokio::time::timeout(limit, self.met(|_| true)).await;
        Ok(kept)
    }

    /// The manifests as they are now, to be edited and applied.
    ///
    /// # Errors
    ///
    /// None; the other backend has one.
    pub async fn manifests(&self) -> Result<Manifests, FaultError> {
        Ok(self.manifests.lock().await.clone())
    }

    /// The last lines that the replica printed, those of its earlier containers first; of a deleted one too.
    pub fn logs(&self, replica: &str) -> Vec<String> {
        self.logs.kept(replica)
    }

    /// The cell's objects as the API has them now, and what containers printed that were restarted.
    pub async fn described(&self) -> Vec<Page> {
        let described = described::described(&self.site, &self.objects);
        let Ok(mut pages) = tokio::time::timeout(DESCRIBED, described).await else {
            let text = format!("the API did not tell within {} s\n", DESCRIBED.as_secs());
            return vec![Page { name: "objects.txt".to_owned(), text }];
        };
        for page in &mut pages {
            page.text = self.recorder.mask(&page.text);
        }
        pages
    }

    /// Records the events that came last, and lets the namespace go in the background.
    pub async fn down(self) {
        let Self { site, objects, gate, doors, watching, late, leave, .. } = self;
        watching::last_events(&objects, &self.recorder).await;
        drop(watching);
        drop((gate, doors));
        leave.now().await;
        if let (Some(kind), Some(image)) = (site.kind(), late.get()) {
            kind.forget(image).await;
        }
    }

    /// It holds in what the API tells, and the nodes' rules agree with the endpoints.
    async fn met(&self, holds: impl Fn(&View) -> bool) {
        let mut view = self.view.clone();
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if view.wait_for(|view| holds(view)).await.is_err() {
                return std::future::pending().await;
            }
            let ready = view.borrow().ready_ips();
            match self.routes(&ready).await {
                Some(true) if holds(&view.borrow()) => return,
                Some(_) => {
                    look.tick().await;
                }
                None => {
                    // Where their rules cannot be read, nodes are held to route by what has not changed for so long.
                    let changed = view.wait_for(|view| !holds(view));
                    if tokio::time::timeout(RULES_FOLLOW, changed).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn last_seen(&self) -> String {
        let view = self.view.borrow().clone();
        let mut text = view.to_string();
        for pod in view.pods.iter().filter(|pod| !pod.seen.is_ready) {
            let lines = self.logs.last(&pod.name, 5);
            if !lines.is_empty() {
                text += &format!("; last output of {}: {}", pod.name, lines.join(" | "));
            }
        }
        text
    }

    async fn change(&self, manifests: Manifests, fault: Option<Fault>) -> Result<(), FaultError> {
        let mut current = self.manifests.lock().await;
        if let Some(fault) = fault {
            self.recorder.record(What::Fault(fault));
        }
        let applied = self.objects.apply(&manifests, Some(&current)).await;
        applied.map_err(FaultError::refused)?;
        let generation = self.objects.generation().await.map_err(FaultError::refused)?;
        *current = manifests;
        self.seen(|view| view.rollout.generation >= generation).await;
        Ok(())
    }

    /// Returns when our own watch has seen it, so that a wait that follows is not met by what was before.
    async fn seen(&self, it: impl FnMut(&View) -> bool) {
        let mut it = it;
        let mut view = self.view.clone();
        let seen = view.wait_for(|view| it(view));
        if tokio::time::timeout(SEEN, seen).await.is_err() {
            tracing::warn!("a change was not seen within {} s", SEEN.as_secs());
        }
    }
}

impl UpError {
    fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        |error| Self::Api { doing, error: Box::new(error) }
    }
}

fn known_contexts(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn refused(doing: &str, error: kube::Error) -> FaultError {
    FaultError::Refused(format!("{doing}: {}", context::said(&error)))
}

/// The names under which objects of a cell are found.
fn deployment_name(deployment: &Deployment) -> String {
    deployment.metadata.name.clone().unwrap_or_default()
}

fn service_name(service: &Service) -> String {
    service.metadata.name.clone().unwrap_or_default()
}
