//! What is wrong in a cluster, in the cluster's own words. Wording that differs between versions and backends is one
//! variant here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit code of a process that got SIGKILL, as shells and container runtimes count: 128 and the signal's number.
const KILLED: i32 = 137;

/// Something wrong that Kubernetes tells of a pod or of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symptom {
    /// A container cannot be made, because it refers to a Secret, a ConfigMap or a key that is not there.
    ConfigMissing,
    /// A container ends again and again, and is restarted ever more slowly.
    CrashLoop,
    /// A container's image is neither on its node nor to be had.
    ImageMissing,
    /// A container was killed for going past its memory limit. The reason tells it, or the exit code alone: the runtime
    /// learns of the kernel's kill by an event of its own, which a busy node loses ("TaskOOM event lost":
    /// <https://github.com/containerd/containerd/issues/8893>), and then the kubelet says `Error`.
    OutOfMemory,
    /// No node takes a pod.
    Unschedulable,
    /// A rollout made no progress within its deadline.
    Stuck,
    /// An eviction would leave fewer pods than a PodDisruptionBudget keeps, and is refused.
    Budget,
    /// A container does not pass its readiness probe.
    NotReady,
    /// A container does not pass its liveness probe.
    NotLive,
}

/// What a cluster said of a symptom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The pod that it is about; `None` for the Deployment.
    pub pod: Option<String>,
    /// One of [`Symptom::reasons`]; for a container's end, how Kubernetes calls it.
    pub reason: String,
    /// The message beside the reason.
    pub message: String,
}

// === impl Symptom ===

impl Symptom {
    /// The reasons by which Kubernetes tells it.
    pub fn reasons(self) -> &'static [&'static str] {
        match self {
            Symptom::ConfigMissing => &["CreateContainerConfigError"],
            Symptom::CrashLoop => &["CrashLoopBackOff"],
            Symptom::ImageMissing => &["ErrImageNeverPull", "ImagePullBackOff", "ErrImagePull"],
            Symptom::OutOfMemory => &["OOMKilled"],
            Symptom::Unschedulable => &["Unschedulable"],
            Symptom::Stuck => &["ProgressDeadlineExceeded"],
            // The answer's reason: 429.
            Symptom::Budget => &["TooManyRequests"],
            Symptom::NotReady => &["ContainersNotReady"],
            Symptom::NotLive => &["Unhealthy"],
        }
    }

    /// Whether it is the end of a process, which it then explains.
    pub fn is_an_end(self) -> bool {
        match self {
            Symptom::CrashLoop | Symptom::OutOfMemory => true,
            Symptom::ConfigMissing
            | Symptom::ImageMissing
            | Symptom::Unschedulable
            | Symptom::Stuck
            | Symptom::Budget
            | Symptom::NotReady
            | Symptom::NotLive => false,
        }
    }

    /// Whether a process that ended like this ended of it. A crash loop is many ends, of whatever reason.
    pub fn explains(self, reason: &str, exit_code: i32) -> bool {
        self == Symptom::CrashLoop || self.is_end(reason, exit_code)
    }

    /// Whether the end of a container alone tells it.
    fn is_end(self, reason: &str, exit_code: i32) -> bool {
        self.reasons().contains(&reason) || self == Symptom::OutOfMemory && exit_code == KILLED
    }

    /// Whether the state of the pod or of the Deployment tells it, or an answer. The others are told by an event alone,
    /// and "events should be treated as informative, best-effort, supplemental data": a kubelet keeps back or drops what
    /// goes past its rate (`eventRecordQPS`: 5 a second up to Kubernetes 1.26), so that a missing one proves nothing.
    /// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>.
    pub fn is_a_state(self) -> bool {
        self.event().is_none()
    }

    /// How the message begins, of those that an event tells and nothing else.
    fn event(self) -> Option<&'static str> {
        match self {
            Symptom::NotLive => Some("Liveness probe failed"),
            Symptom::ConfigMissing
            | Symptom::CrashLoop
            | Symptom::ImageMissing
            | Symptom::OutOfMemory
            | Symptom::Unschedulable
            | Symptom::Stuck
            | Symptom::Budget
            | Symptom::NotReady => None,
        }
    }

    /// What an event says of it.
    pub fn of_event(self, object: &str, reason: &str, message: &str) -> Option<Told> {
        let begins = self.event()?;
        let is_meant = self.reasons().contains(&reason) && message.starts_with(begins);
        let pod = object.strip_prefix("Pod/").map(str::to_owned);
        is_meant.then(|| Told { pod, reason: reason.to_owned(), message: message.to_owned() })
    }

    /// What the `Ready` condition of a pod that runs says of it.
    pub fn of_unready(self, pod: &str, reason: &str, message: &str) -> Option<Told> {
        let is_meant = self.reasons().contains(&reason);
        is_meant.then(|| Told {
            pod: Some(pod.to_owned()),
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    }

    /// What a pod says of it: by why its container waits (with a message), or by how it ended last (with an exit code).
    pub fn of_pod(self, pod: &str, waits: Option<(&str, &str)>, ended: Option<(&str, i32)>) -> Option<Told> {
        let waits = waits.filter(|(reason, _)| self.reasons().contains(reason));
        let ended = ended.filter(|(reason, code)| self.is_end(reason, *code));
        let (reason, message) = waits
            .map(|(reason, message)| (reason, message.to_owned()))
            .or_else(|| ended.map(|(reason, code)| (reason, format!("exit code {code}"))))?;
        Some(Told { pod: Some(pod.to_owned()), reason: reason.to_owned(), message })
    }
}

/// Kubernetes' reasons, the usual one first.
impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons().join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_tells_by_what_it_waits_for_or_how_it_ended() {
        let told = Symptom::ImageMissing.of_pod("a", Some(("ErrImagePull", "no such image")), None);
        assert_eq!(told.map(|told| told.message).as_deref(), Some("no such image"));
        let told = Symptom::OutOfMemory.of_pod("a", Some(("CrashLoopBackOff", "")), Some(("OOMKilled", 137)));
        assert_eq!(told.map(|told| told.message).as_deref(), Some("exit code 137"));
        assert_eq!(Symptom::CrashLoop.of_pod("a", None, Some(("Error", 1))), None);
    }

    #[test]
    fn a_kill_for_memory_of_which_the_runtime_lost_the_event_is_told_by_its_exit_code() {
        let told = |reason, code| Symptom::OutOfMemory.of_pod("a", None, Some((reason, code)));
        let lost = told("Error", 137).unwrap();
        assert_eq!((&*lost.reason, &*lost.message), ("Error", "exit code 137"));
        assert_eq!(told("Error", 1), None, "the process ended by itself");
        assert_eq!(told("Completed", 0), None);
    }
}
