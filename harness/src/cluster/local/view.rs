//! The cluster as it is seen from outside the controller, and whether a condition holds in it.

use std::fmt;
use std::sync::Arc;

use super::output::Output;
use crate::cluster::reach::Reach;
use crate::cluster::{Condition, Phase, Replica};
use crate::transcript::{Symptom, Told};

/// How many lines of output a condition that is not met shows.
const LINES_SHOWN: usize = 5;

/// Kubernetes' reason of a pod that is not ready although it runs.
const UNREADY: &str = "ContainersNotReady";

/// One moment of the cluster. It prints as what was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The pods in the order of their creation.
    pub(crate) pods: Vec<PodView>,
    /// The names of the ready endpoints, sorted.
    pub(crate) endpoints: Vec<String>,
    /// How many pods the Deployment should have.
    pub(crate) desired: usize,
}

/// One pod at that moment.
#[derive(Clone, Debug)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) reach: Reach,
    pub(crate) is_newest: bool,
    pub(crate) is_terminating: bool,
    pub(crate) status: Status,
    pub(crate) output: Arc<Output>,
}

/// What is known of a pod's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) has_run: bool,
    pub(crate) is_running: bool,
    pub(crate) is_ready: bool,
    pub(crate) restarts: u32,
    /// The process id of its main process, while that runs.
    pub(crate) main: Option<u32>,
    /// Whether its memory limit is enforced by watching.
    pub(crate) is_watched: bool,
    /// Why it waits, and the message.
    pub(crate) waiting: Option<(String, String)>,
    /// Why its last container ended, its exit code, and the most memory it used.
    pub(crate) terminated: Option<(String, i32, Option<u64>)>,
    /// What its last probe said.
    pub(crate) probed: Option<String>,
}

// === impl View ===

impl View {
    /// Whether the condition holds.
    pub(crate) fn meets(&self, condition: &Condition) -> bool {
        let settled = |pod: &PodView| pod.status.is_ready && !pod.is_terminating;
        let all_ready = |count: usize| {
            self.pods.len() == count && self.endpoints.len() == count && self.pods.iter().all(settled)
        };
        match condition {
            Condition::Ready(count) => all_ready(*count),
            Condition::RolledOut => all_ready(self.desired) && self.pods.iter().all(|pod| pod.is_newest),
            Condition::Restarted { replica, more_than } => self.pod(replica).is_some_and(|pod| {
                pod.status.is_running && pod.status.is_ready && pod.status.restarts > *more_than
            }),
            Condition::NotReady(replica) => !self.endpoints.contains(replica),
            Condition::Gone(replica) => self.pod(replica).is_none(),
            Condition::State { replica, reason } => self.pod(replica).is_some_and(|pod| {
                let waiting = pod.status.waiting.as_ref().map(|(reason, _)| reason);
                let ended = pod.status.terminated.as_ref().map(|(reason, ..)| reason);
                waiting == Some(reason) || ended == Some(reason)
            }),
        }
    }

    /// What a pod that stays tells of a symptom. What Deployments, schedulers and images tell does not exist here.
    pub(crate) fn told(&self, symptom: Symptom) -> Option<Told> {
        self.pods.iter().filter(|pod| !pod.is_terminating).find_map(|pod| {
            let waits = pod.status.waiting.as_ref().map(|(reason, message)| (&**reason, &**message));
            let ended = pod.status.terminated.as_ref().map(|(reason, code, _)| (&**reason, *code));
            symptom.of_pod(&pod.name, waits, ended).or_else(|| {
                let is_unready = pod.status.is_running && !pod.status.is_ready;
                is_unready
                    .then(|| symptom.of_unready(&pod.name, UNREADY, "its container runs and is not ready"))?
            })
        })
    }

    /// The pods as the rest of the harness knows them.
    pub(crate) fn replicas(&self) -> Vec<Replica> {
        let replica = |pod: &PodView| Replica {
            name: pod.name.clone(),
            addr: pod.reach.address(),
            phase: pod.status.phase(),
            ready: pod.status.is_ready,
            restarts: pod.status.restarts,
            terminating: pod.is_terminating,
            // Here both are one.
            told_to_go: pod.is_terminating,
            memory_is_watched: pod.status.is_watched,
        };
        self.pods.iter().map(replica).collect()
    }

    pub(crate) fn pod(&self, name: &str) -> Option<&PodView> {
        self.pods.iter().find(|pod| pod.name == name)
    }
}

// === impl Status ===

impl Status {
    fn phase(&self) -> Phase {
        if self.has_run { Phase::Running } else { Phase::Pending }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pods.is_empty() {
            return write!(f, "no pods, {} wanted", self.desired);
        }
        for (idx, pod) in self.pods.iter().enumerate() {
            let gap = if idx == 0 { "" } else { "; " };
            write!(f, "{gap}{pod}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        let phase = if self.is_terminating { "Terminating".to_owned() } else { status.phase().to_string() };
        let ready = if status.is_ready { "ready" } else { "not ready" };
        write!(f, "{} {phase}, {ready}, {} restarts", self.name, status.restarts)?;
        if let Some((reason, message)) = &status.waiting {
            write!(f, ", waiting: {reason} ({message})")?;
        }
        if let Some((reason, code, peak)) = &status.terminated {
            write!(f, ", last ended: {reason}, exit code {code}")?;
            if let Some(peak) = peak {
                write!(f, ", at most {} MiB", peak >> 20)?;
            }
        }
        if status.is_ready {
            return Ok(());
        }
        if let Some(probed) = &status.probed {
            write!(f, ", last {}", probed.replace('\n', ": "))?;
        }
        let lines = self.output.last(LINES_SHOWN);
        if !lines.is_empty() {
            write!(f, ", last output: {}", lines.join(" | "))?;
        }
        Ok(())
    }
}
