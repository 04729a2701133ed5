//! Runs a Deployment, a Service and Secrets, and does to them what happens to pods.
//!
//! Manifests are ordinary Kubernetes YAML ([`manifest`]); [`backend`] is a cluster of whichever kind. [`local`] is an
//! embedded controller that runs every replica as a process on this machine, with probes, restarts, memory limits,
//! endpoints, rolling updates and a balancer with kube-proxy's rules; images, scheduler and nodes are never imitated.
//! [`kubernetes`] is a namespace of a real cluster: one of ours ([`kind`]), or any other. Nothing here knows MCP.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

mod accept;
pub mod backend;
mod balancer;
pub mod companions;
pub(crate) mod environment;
mod gate;
pub(crate) mod image_name;
pub(crate) mod inside;
pub(crate) mod isolation;
pub mod kind;
pub mod kubernetes;
mod lease;
mod links;
pub mod local;
pub mod manifest;
#[cfg(target_os = "linux")]
mod memory;
mod passing;
mod probe;
pub(crate) mod process;
mod reach;
pub mod supervisor;

pub use lease::LeaseError;

use crate::transcript::{Recorder, What};

/// A pod of the Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Where it is reached past the Service.
    pub addr: SocketAddr,
    /// Whether its container ever ran.
    pub phase: Phase,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// How often its container was restarted.
    pub restarts: u32,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether its process was told so by its node: on a real cluster that comes later.
    pub told_to_go: bool,
    /// Whether its memory limit is enforced by looking at it now and then: a short peak may be missed.
    pub memory_is_watched: bool,
}

/// A page of what a person reads about a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its file's name, below the folder of the cell.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The phases of a pod whose containers are always restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its container never ran.
    Pending,
    /// Its container runs, or is restarted.
    Running,
}

/// What can be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There are exactly so many pods, all are ready, none is ending, and the endpoints are these.
    Ready(usize),
    /// Every pod is of the newest revision and ready, and the old ones are gone.
    RolledOut,
    /// The replica's container was restarted more than so often, runs, and is ready.
    Restarted {
        /// The replica.
        replica: String,
        /// How often it had been restarted before.
        more_than: u32,
    },
    /// The replica receives no new connections.
    NotReady(String),
    /// The pod does not exist.
    Gone(String),
    /// The replica's container waits for this reason, or ended for it the last time.
    State {
        /// The replica.
        replica: String,
        /// Such as `CrashLoopBackOff` or `OOMKilled`.
        reason: String,
    },
}

/// A condition that did not come true in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not within {} s: {condition}; last seen: {last_seen}", limit.as_secs_f64())]
pub struct Unmet {
    /// The condition.
    pub condition: String,
    /// How long it was waited for.
    pub limit: Duration,
    /// The pods as they were last seen, with what their probes and they themselves said last.
    pub last_seen: String,
}

/// Waits until the condition is met, or cannot be any more, and records that, or what was seen instead.
async fn awaited(
    recorder: &Recorder,
    condition: &Condition,
    limit: Duration,
    met: impl Future<Output = bool>,
    last_seen: impl FnOnce() -> String,
) -> Result<(), Unmet> {
    let began = Instant::now();
    let is_met = tokio::time::timeout(limit, met).await == Ok(true);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let unmet = (!is_met).then(|| recorder.mask(&last_seen()));
    let condition = condition.to_string();
    recorder.record(What::Awaited { condition: condition.clone(), took_ms, unmet: unmet.clone() });
    unmet.map_or(Ok(()), |last_seen| Err(Unmet { condition, limit, last_seen }))
}

/// A fault that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// There is no such pod.
    #[error("there is no replica `{0}`")]
    NoReplica(String),
    /// Its container waits.
    #[error("the container of `{0}` does not run")]
    NotRunning(String),
    /// The operating system refused.
    #[error("cannot signal `{replica}`: {error}")]
    Signal {
        /// The replica.
        replica: String,
        /// What it said.
        error: std::io::Error,
    },
    /// The manifests cannot be run here.
    #[error(transparent)]
    Manifests(#[from] Unrunnable),
    /// The Kubernetes API refused.
    #[error("{0}")]
    Refused(String),
    /// The cluster is down.
    #[error("the cluster is down")]
    Down,
    /// The backend has nothing of the kind; cells that need it do not apply there.
    #[error("this backend has nothing of the kind")]
    NotHere,
}

impl FaultError {
    /// The cluster refused, for this reason.
    fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused(why.to_string())
    }
}

/// How many processes a replica's container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCount {
    /// Those that run.
    pub running: usize,
    /// Those that have ended, and that their parent has not waited for.
    pub unreaped: usize,
}

impl ProcessCount {
    /// Counts the lines of `/proc/PID/stat` of its processes.
    pub(crate) fn of_stats<'a>(stats: impl IntoIterator<Item = &'a str>) -> Self {
        let mut count = Self::default();
        for stat in stats {
            // The state follows the name, which is in parentheses and may hold any character.
            match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
                Some('Z' | 'X') => count.unreaped += 1,
                Some(_) => count.running += 1,
                None => {}
            }
        }
        count
    }
}

/// Manifests that say what is read here, but cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrunnable {
    /// The template has no container.
    #[error("deployment {0} has no container")]
    NoContainer(String),
    /// Nothing says what to run for the image, and the container has no command of its own.
    #[error("nothing says which command runs as image {image}, and container {container} has no `command`")]
    NoCommand {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
}

/// Reads after "waited for", in words that hold on every backend.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Ready(1) => f.write_str("exactly 1 pod, ready"),
            Condition::Ready(count) => write!(f, "exactly {count} pods, all ready"),
            Condition::RolledOut => f.write_str("the newest revision is rolled out"),
            Condition::Restarted { replica, more_than } => {
                write!(f, "{replica} is ready after restart {}", more_than + 1)
            }
            Condition::NotReady(replica) => write!(f, "{replica} is out of the endpoints"),
            Condition::Gone(replica) => write!(f, "{replica} is gone"),
            Condition::State { replica, reason } => write!(f, "{replica} is in state {reason}"),
        }
    }
}

/// Kubernetes' word.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
        })
    }
}
