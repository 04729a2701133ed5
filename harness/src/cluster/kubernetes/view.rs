//! The cell as our watches last saw it, and whether a condition holds in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::seen::Seen;
use crate::cluster::{Condition, Phase, Replica};
use crate::transcript::{Symptom, Told};

/// One moment of the cell. It prints as what was last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The pods in the order of their creation.
    pub(super) pods: Vec<PodView>,
    /// The names of the ready endpoints, sorted.
    pub(super) endpoints: Vec<String>,
    pub(super) rollout: Rollout,
    /// What the API says in place of the objects of a kind, where it does not let us hear of them.
    pub(super) unheard: BTreeMap<Cow<'static, str>, String>,
}

/// How far the Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rollout {
    /// What was applied last.
    pub(super) generation: i64,
    /// How many pods there should be.
    pub(super) desired: usize,
    /// Whether the controller has seen the generation and all pods are of the newest revision.
    pub(super) is_complete: bool,
    /// Why it does not go on, and the message.
    pub(super) halted: Option<(String, String)>,
    /// Why a pod cannot even be made, and the message: a quota, or what the cluster lets no pod do.
    pub(super) refused: Option<(String, String)>,
}

/// One pod at that moment.
#[derive(Clone, Debug)]
pub(super) struct PodView {
    pub(super) name: String,
    /// Where it is reached past the Service.
    pub(super) forward: SocketAddr,
    pub(super) node: Option<String>,
    pub(super) grace_s: u64,
    /// Whether its kubelet has said that it ends the container.
    pub(super) is_told: bool,
    pub(super) seen: Seen,
}

// === impl View ===

impl View {
    /// Whether the condition holds.
    pub(super) fn meets(&self, condition: &Condition) -> bool {
        let settled =
            |pod: &PodView| pod.seen.is_ready && !pod.is_terminating() && self.endpoints.contains(&pod.name);
        let all_ready = |count: usize| {
            let there = || self.pods.iter().filter(|pod| !pod.seen.is_over());
            self.endpoints.len() == count && there().count() == count && there().all(settled)
        };
        match condition {
            Condition::Ready(count) => all_ready(*count),
            Condition::RolledOut => all_ready(self.rollout.desired) && self.rollout.is_complete,
            Condition::Restarted { replica, more_than } => self.pod(replica).is_some_and(|pod| {
                // Ready means that it gets connections again, which the endpoints say.
                pod.seen.running.is_some()
                    && pod.seen.is_ready
                    && pod.seen.restarts > *more_than
                    && self.endpoints.contains(replica)
            }),
            Condition::NotReady(replica) => !self.endpoints.contains(replica),
            Condition::Gone(replica) => {
                self.pod(replica).is_none_or(|pod| pod.seen.is_over()) && !self.endpoints.contains(replica)
            }
            Condition::State { replica, reason } => self.pod(replica).is_some_and(|pod| {
                let waiting = pod.seen.waiting.as_ref().map(|(reason, _)| reason);
                let ended = pod.seen.ended.as_ref().map(|ended| &ended.reason);
                waiting == Some(reason) || ended == Some(reason)
            }),
        }
    }

    /// What a pod that stays, or the Deployment, tells of a symptom.
    pub(super) fn told(&self, symptom: Symptom) -> Option<Told> {
        let of_pod = |pod: &PodView| {
            let waits = pod.seen.waiting.as_ref().map(|(reason, message)| (&**reason, &**message));
            let ended = pod.seen.ended.as_ref().map(|ended| (&*ended.reason, ended.exit_code));
            symptom.of_pod(&pod.name, waits, ended).or_else(|| {
                let (reason, message) = pod.seen.unready.as_ref()?;
                symptom.of_unready(&pod.name, reason, message)
            })
        };
        let by_pod = self.pods.iter().filter(|pod| !pod.is_terminating()).find_map(of_pod);
        by_pod.or_else(|| {
            let (reason, message) = self.rollout.halted.clone()?;
            symptom.reasons().contains(&&*reason).then_some(Told { pod: None, reason, message })
        })
    }

    /// The pods as the rest of the harness knows them.
    pub(super) fn replicas(&self) -> Vec<Replica> {
        let replica = |pod: &PodView| Replica {
            name: pod.name.clone(),
            addr: pod.forward,
            phase: pod.seen.phase(),
            ready: pod.seen.is_ready,
            restarts: pod.seen.restarts,
            terminating: pod.seen.is_terminating,
            told_to_go: pod.seen.is_terminating && pod.is_told,
            memory_is_watched: false,
        };
        self.pods.iter().map(replica).collect()
    }

    pub(super) fn pod(&self, name: &str) -> Option<&PodView> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// The name of the pod with this address; the newest one, should it have been given twice.
    pub(super) fn pod_at(&self, ip: IpAddr) -> Option<String> {
        self.pods.iter().rev().find(|pod| pod.seen.ip == Some(ip)).map(|pod| pod.name.clone())
    }

    /// The addresses of the ready endpoints.
    pub(super) fn ready_ips(&self) -> Vec<IpAddr> {
        self.endpoints.iter().filter_map(|name| self.pod(name)?.seen.ip).collect()
    }
}

// === impl PodView ===

impl PodView {
    pub(super) fn is_terminating(&self) -> bool {
        self.seen.is_terminating
    }
}

// === impl Seen ===

impl Seen {
    fn phase(&self) -> Phase {
        if self.has_run { Phase::Running } else { Phase::Pending }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refused in self.unheard.values() {
            write!(f, "the API does not tell: {refused}; ")?;
        }
        if let Some((reason, message)) = &self.rollout.refused {
            write!(f, "no more pods: {reason} ({message}); ")?;
        }
        if self.pods.is_empty() {
            return write!(f, "no pods, {} wanted", self.rollout.desired);
        }
        for (idx, pod) in self.pods.iter().enumerate() {
            let gap = if idx == 0 { "" } else { "; " };
            write!(f, "{gap}{pod}")?;
        }
        write!(f, "; endpoints: {}", self.endpoints.join(", "))
    }
}

impl fmt::Display for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        let phase = if seen.is_terminating { "Terminating".to_owned() } else { seen.phase().to_string() };
        let ready = if seen.is_ready { "ready" } else { "not ready" };
        write!(f, "{} {phase}, {ready}, {} restarts", self.name, seen.restarts)?;
        if let Some((reason, message)) = &seen.waiting {
            write!(f, ", waiting: {reason} ({message})")?;
        }
        if let Some(ended) = &seen.ended {
            write!(f, ", last ended: {}, exit code {}", ended.reason, ended.exit_code)?;
        }
        Ok(())
    }
}
