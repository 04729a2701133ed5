//! The backend that needs nothing but Linux: every replica is a process of this machine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::controller::Controller;
use self::launch::runnable;
use self::output::Outputs;
use self::request::Request;
use self::view::View;
use super::balancer::Balancer;
use super::companions::{CompanionError, Companions, GivenCompanion};
use super::inside::{self, Listening};
use super::isolation;
use super::lease::{Clients, Lease, LeaseError};
use super::manifest::Manifests;
use super::process::Signal;
use super::supervisor::Place;
use super::{Condition, FaultError, ProcessCount, Replica, Unmet, Unrunnable, awaited};
use crate::transcript::{Fault, Recorder, Symptom, Told};

mod backoff;
mod controller;
mod deployment;
mod launch;
mod output;
mod pod;
mod request;
mod routing;
mod view;

pub use backoff::Backoff;
pub(crate) use launch::{PORT_TAKEN, START_DELAY};
pub(super) use routing::affinity;

/// How long the end of every pod may take when the cluster goes down.
const DOWN: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone)]
pub struct Spec {
    /// The Deployment, its Service, and what they refer to.
    pub manifests: Manifests,
    /// What runs as an image.
    pub launches: Vec<(String, Launch)>,
    /// Variables for every container, over those of the manifests.
    pub env: Vec<(String, String)>,
    /// The executable whose subcommand `supervise` runs [`super::supervisor::main`].
    pub supervisor: PathBuf,
    /// The pauses between restarts.
    pub backoff: Backoff,
    /// How memory limits are enforced.
    pub enforcement: Enforcement,
    /// Whether each container has namespaces of its own.
    pub namespaces: Namespaces,
    /// The port at which the server listens whatever it is asked to: then each container has a network of its own, where that can
    /// be had. In it the container reaches nothing else.
    pub fixed_port: Option<u16>,
    /// Where the Service is reached, in place of an address of the cluster's own.
    pub listen: Option<SocketAddr>,
    /// What comes up before the replicas.
    pub companions: Vec<GivenCompanion>,
}

/// A command that stands for an image: its entrypoint, and the `command` that the manifests' files have.
///
/// The manifests' `args` follow it. A `command` that is set with [`Manifests::set_command`] runs in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The words of the command; `{host}` and `{port}` are replaced in each.
    pub argv: Vec<String>,
    /// Where it runs; the harness's own directory by default.
    pub cwd: Option<PathBuf>,
}

/// How memory limits are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// By a cgroup where one can be made, else by watching.
    #[default]
    Best,
    /// By watching.
    Watched,
}

/// Which namespaces of process ids and of mounts a container runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Ones of its own where they can be had, so that signals act as in a pod; else those of the harness.
    #[default]
    Best,
    /// Those of the harness.
    Shared,
}

/// A running cluster. Dropping it ends every process of it.
#[derive(Debug)]
pub struct Local {
    requests: UnboundedSender<Request>,
    view: watch::Receiver<Arc<View>>,
    balancer: Arc<Balancer>,
    clients: Clients,
    recorder: Recorder,
    controller: JoinHandle<()>,
    outputs: Arc<Outputs>,
    fixed_port: Option<u16>,
    companions: Companions,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Not Linux.
    #[error("the local backend needs Linux; use `--backend kind`")]
    NotLinux,
    /// The executable that supervises is not there.
    #[error("no executable to supervise replicas with at {0}")]
    NoSupervisor(PathBuf),
    /// The manifests cannot be run here.
    #[error(transparent)]
    Manifests(#[from] Unrunnable),
    /// No addresses or ports.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// What the hub needs beside it is not there.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// The balancer cannot listen.
    #[error("the balancer cannot listen at {addr}: {error}")]
    Balancer {
        /// Where.
        addr: SocketAddr,
        /// What the operating system said.
        error: std::io::Error,
    },
}

// === impl Spec ===

impl Spec {
    /// Runs these manifests with what this executable supervises; nothing stands for an image yet.
    pub fn new(manifests: Manifests, supervisor: impl Into<PathBuf>) -> Self {
        Self {
            manifests,
            launches: Vec::new(),
            env: Vec::new(),
            supervisor: supervisor.into(),
            backoff: Backoff::default(),
            enforcement: Enforcement::default(),
            namespaces: Namespaces::default(),
            fixed_port: None,
            listen: None,
            companions: Vec::new(),
        }
    }
}

/// Shows the names of variables only.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Spec")
            .field("manifests", &self.manifests)
            .field("launches", &self.launches)
            .field("env", &names)
            .field("supervisor", &self.supervisor)
            .finish_non_exhaustive()
    }
}

// === impl Local ===

impl Local {
    /// Leases addresses and starts the controller. Pods may not be ready yet: [`Local::wait`] for them.
    ///
    /// # Errors
    ///
    /// [`UpError`] when this machine or these manifests do not allow it.
    pub async fn up(spec: Spec, recorder: Recorder) -> Result<Self, UpError> {
        if !cfg!(target_os = "linux") {
            return Err(UpError::NotLinux);
        }
        if !spec.supervisor.is_file() {
            return Err(UpError::NoSupervisor(spec.supervisor));
        }
        runnable(&spec.launches, &spec.manifests)?;
        #[cfg(target_os = "linux")]
        super::memory::remove_stale_cgroups();
        let place = match spec.namespaces {
            Namespaces::Shared => Place::Shared,
            Namespaces::Best => place(spec.supervisor.clone(), spec.fixed_port.is_some()).await,
        };
        let fixed_port = spec.fixed_port.filter(|_| place == Place::Apart);
        let mut lease = Lease::take()?;
        let clients = Clients::new(lease.range());
        let addr = match spec.listen {
            Some(addr) => addr,
            None => lease.balancer()?,
        };
        let balancer =
            Balancer::start(addr, recorder.clone()).map_err(|error| UpError::Balancer { addr, error })?;
        let balancer = Arc::new(balancer);
        let companions = Companions::up(
            &spec.companions,
            &spec.manifests,
            &spec.env,
            &spec.supervisor,
            &mut lease,
            &recorder,
        )
        .await?;
        let (requests, asked) = unbounded_channel();
        let (publish, view) = watch::channel(Arc::default());
        let outputs = Arc::<Outputs>::default();
        let controller = Controller::new(
            spec,
            recorder.clone(),
            lease,
            Arc::clone(&balancer),
            Arc::clone(&outputs),
            publish,
            (place, companions.resolver()),
        );
        let controller = tokio::spawn(controller.run(asked));
        Ok(Self { requests, view, balancer, clients, recorder, controller, outputs, fixed_port, companions })
    }

    /// Where the Service is reached.
    pub fn service(&self) -> SocketAddr {
        self.balancer.addr()
    }

    /// The source address of the wire client with this number, from 0.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Clients`] when there are no more addresses.
    pub fn client_address(&self, number: usize) -> Result<IpAddr, LeaseError> {
        self.clients.address(number)
    }

    /// The pods, in the order of their creation.
    pub fn replicas(&self) -> Vec<Replica> {
        self.view.borrow().replicas()
    }

    /// The replica that the latest connection from this address got through the Service.
    pub fn routed(&self, from: SocketAddr) -> Option<String> {
        self.balancer.routed(from)
    }

    /// Waits until the condition holds, and records that.
    ///
    /// # Errors
    ///
    /// [`Unmet`] when it does not within the limit.
    pub async fn wait(&self, condition: &Condition, limit: Duration) -> Result<(), Unmet> {
        let mut view = self.view.clone();
        let met = async { view.wait_for(|view| view.meets(condition)).await.is_ok() };
        awaited(&self.recorder, condition, limit, met, || self.view.borrow().to_string()).await
    }

    /// Sends SIGKILL to the replica's main process: the same pod is restarted.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica or its container does not run; so for the other signals.
    pub async fn kill(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Kill, Fault::Kill { replica: replica.to_owned() }).await
    }

    /// Sends SIGSTOP to the replica's main process.
    ///
    /// # Errors
    ///
    /// As [`Local::kill`].
    pub async fn stop(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Stop, Fault::Stop { replica: replica.to_owned() }).await
    }

    /// Sends SIGCONT to the replica's main process.
    ///
    /// # Errors
    ///
    /// As [`Local::kill`].
    pub async fn cont(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Continue, Fault::Continue { replica: replica.to_owned() }).await
    }

    /// Deletes the pod; its Deployment makes another. Without a grace period the pod's own holds.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica.
    pub async fn delete(&self, replica: &str, grace: Option<Duration>) -> Result<(), FaultError> {
        let replica = replica.to_owned();
        self.ask(|done| Request::Delete { replica, grace, done }).await?
    }

    /// Scales the Deployment.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the cluster is down.
    pub async fn scale(&self, replicas: usize) -> Result<(), FaultError> {
        let mut manifests = Box::new(self.manifests().await?);
        let fault = Some(Fault::Scale { from: manifests.replicas(), to: replicas });
        manifests.set_replicas(replicas);
        self.ask(|done| Request::Apply { manifests, fault, done }).await?
    }

    /// Replaces every pod, as `kubectl rollout restart` does.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the cluster is down.
    pub async fn roll(&self) -> Result<(), FaultError> {
        let mut manifests = Box::new(self.manifests().await?);
        manifests.restart();
        self.ask(|done| Request::Apply { manifests, fault: Some(Fault::Roll), done }).await?
    }

    /// Makes these the manifests; what changed in the pod template rolls the Deployment. The words say what changed.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when they cannot be run here.
    pub async fn apply(&self, manifests: Manifests, change: Option<&str>) -> Result<(), FaultError> {
        let manifests = Box::new(manifests);
        let fault = change.map(|change| Fault::Apply { change: change.to_owned() });
        self.ask(|done| Request::Apply { manifests, fault, done }).await?
    }

    /// Waits until the cluster tells of this; what was last seen, when it does not within the limit.
    ///
    /// # Errors
    ///
    /// What was last seen.
    pub async fn told(&self, symptom: Symptom, limit: Duration) -> Result<Told, String> {
        let mut view = self.view.clone();
        let told = async {
            let found = view.wait_for(|view| view.told(symptom).is_some()).await.ok()?;
            found.told(symptom)
        };
        let told = tokio::time::timeout(limit, told).await.ok().flatten();
        told.ok_or_else(|| self.recorder.mask(&self.view.borrow().to_string()))
    }

    /// The manifests as they are now, to be edited and applied.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when the cluster is down.
    pub async fn manifests(&self) -> Result<Manifests, FaultError> {
        self.ask(|reply| Request::Manifests { reply }).await
    }

    /// Where the oldest replica that runs listens.
    pub(crate) fn listening(&self) -> Option<Listening> {
        let view = self.view.borrow().clone();
        let fixed = self.fixed_port;
        view.pods.iter().find_map(|pod| Some(Listening::of(pod.status.main?, pod.reach.own(), fixed)))
    }

    /// How many processes the replica's container has.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica or its container does not run.
    pub fn processes(&self, replica: &str) -> Result<ProcessCount, FaultError> {
        let view = self.view.borrow().clone();
        let pod = view.pod(replica).ok_or_else(|| FaultError::NoReplica(replica.to_owned()))?;
        let count = pod.status.main.and_then(inside::count);
        count.ok_or_else(|| FaultError::NotRunning(replica.to_owned()))
    }

    /// The last lines that the replica printed, those of its earlier containers first; of a deleted one too.
    pub fn logs(&self, replica: &str) -> Vec<String> {
        self.outputs.kept(replica)
    }

    /// Ends every process, and returns when they are gone.
    pub async fn down(mut self) {
        let ended = self.ask(|done| Request::Down { done });
        let _ = tokio::time::timeout(DOWN, ended).await;
        let companions = std::mem::take(&mut self.companions);
        let _ = tokio::time::timeout(DOWN, companions.down()).await;
    }

    async fn signal(&self, replica: &str, signal: Signal, fault: Fault) -> Result<(), FaultError> {
        let replica = replica.to_owned();
        self.ask(|done| Request::Signal { replica, signal, fault, done }).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, FaultError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).map_err(|_| FaultError::Down)?;
        answer.await.map_err(|_| FaultError::Down)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

// === helpers ===

/// The best namespaces that this machine lets containers have.
async fn place(supervisor: PathBuf, with_network: bool) -> Place {
    let tried = tokio::task::spawn_blocking(move || {
        let network = if with_network { isolation::network_tried(&supervisor) } else { Err("") };
        network.map(|()| Place::Apart).or_else(|_| isolation::tried(&supervisor).map(|()| Place::Own))
    });
    tried.await.ok().and_then(Result::ok).unwrap_or(Place::Shared)
}
