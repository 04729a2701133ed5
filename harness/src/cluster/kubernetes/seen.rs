//! What a Pod object says about its one container, and how that changed. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use crate::transcript::PodChange;

/// Reasons of a container that waits because it is about to start.
pub(super) const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", INITIALIZING];

/// The reason of a container that waits for the pod's init containers.
const INITIALIZING: &str = "PodInitializing";

/// The reason of an end that a kubelet did not see.
const UNKNOWN: &str = "ContainerStatusUnknown";

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The id of the container that runs, without its runtime.
    pub(super) running: Option<String>,
    /// Whether a container ever ran.
    pub(super) has_run: bool,
    pub(super) is_ready: bool,
    pub(super) is_terminating: bool,
    /// Whether its phase says that it will not run again: evicted by its node, or refused by it. It stays on record, and its
    /// ReplicaSet has another in its place.
    pub(super) is_failed: bool,
    pub(super) restarts: u32,
    /// Why it waits, and the message; also why no node takes it.
    pub(super) waiting: Option<(String, String)>,
    /// Why it is not ready although its container runs, and the message.
    pub(super) unready: Option<(String, String)>,
    /// How its last container ended.
    pub(super) ended: Option<Ended>,
    pub(super) ip: Option<IpAddr>,
}

/// The annotation that names the container meant by whoever names none: beside it there may be those that the cluster
/// adds to every pod, also as the first.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) container: String,
    pub(super) reason: String,
    pub(super) exit_code: i32,
}

// === impl Seen ===

impl Seen {
    /// Reads the pod, of whose containers one counts.
    pub(super) fn of(pod: &Pod) -> Self {
        let name = container(pod);
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let container = containers.iter().find(|container| Some(container.name.as_str()) == name);
        let unmet = |condition: &str| {
            let conditions = status?.conditions.as_deref()?;
            let unmet =
                conditions.iter().find(|known| known.type_ == condition && known.status == "False")?;
            Some((unmet.reason.clone()?, unmet.message.clone().unwrap_or_default()))
        };
        let mut seen = container.map(Self::of_container).unwrap_or_default();
        seen.waiting = seen.waiting.or_else(|| unmet("PodScheduled"));
        if let Some((reason, message)) = &mut seen.waiting
            && reason == INITIALIZING
            && message.is_empty()
        {
            let init =
                status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
            *message = init.iter().find_map(holds_up).unwrap_or_default();
        }
        seen.unready = seen.running.as_ref().and_then(|_| unmet("Ready"));
        // A container may pass its probe in a pod that gets no connections: beside a sidecar that is not ready, behind a
        // readiness gate, or on a node that is lost.
        seen.is_ready &= !is_unready(pod);
        seen.is_terminating = pod.metadata.deletion_timestamp.is_some();
        seen.is_failed = status.and_then(|status| status.phase.as_deref()) == Some("Failed");
        seen.ip = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        seen
    }

    fn of_container(status: &ContainerStatus) -> Self {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        let ended = ended(&state).or_else(|| ended(&last));
        let running = state.running.is_some().then(|| bare_id(status.container_id.as_deref()));
        let waiting = state
            .waiting
            .map(|waiting| (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default()));
        Self {
            has_run: running.is_some() || ended.is_some(),
            running,
            is_ready: status.ready,
            is_terminating: false,
            is_failed: false,
            restarts: u32::try_from(status.restart_count).unwrap_or(0),
            waiting,
            unready: None,
            ended,
            ip: None,
        }
    }

    /// Finds out how the container ended that ran before, where the kubelet could not tell and made up a code.
    pub(super) fn find_out(&mut self, before: &Self, code: impl Fn(&str) -> Option<i32>) {
        let Some(ended) = &mut self.ended else { return };
        if let Some(known) = &before.ended
            && (known.container == ended.container || ended.reason == UNKNOWN && before.running.is_none())
        {
            // Told already: it stays what it was found to be.
            known.clone_into(ended);
            return;
        }
        if ended.reason == UNKNOWN
            && let Some(container) = &before.running
            && let Some(exit_code) = code(container)
        {
            let reason = if exit_code == 0 { "Completed" } else { "Error" };
            *ended = Ended { container: container.clone(), reason: reason.to_owned(), exit_code };
        }
    }

    /// Whether nothing of it is left but its record, which a kubelet may take most of a minute to remove.
    pub(super) fn is_over(&self) -> bool {
        self.is_failed || self.is_terminating && self.ended.is_some() && self.running.is_none()
    }

    /// What became of the pod since `before`, in the order in which it must have happened.
    pub(super) fn changes_since(&self, before: Option<&Self>) -> Vec<PodChange> {
        let mut changes = Vec::new();
        let first = Self::default();
        if before.is_none() {
            changes.push(PodChange::Created);
        }
        let before = before.unwrap_or(&first);
        if self.is_terminating && !before.is_terminating {
            changes.push(PodChange::Terminating);
        }
        if let Some(ended) = &self.ended
            && before.ended.as_ref().is_none_or(|known| known.container != ended.container)
        {
            // The kernel's work, on every Kubernetes.
            let by = (ended.reason == "OOMKilled").then(|| "cgroup".to_owned());
            changes.push(PodChange::Terminated {
                reason: ended.reason.clone(),
                exit_code: ended.exit_code,
                by,
            });
        }
        if before.is_ready && !self.is_ready && !self.is_terminating {
            changes.push(PodChange::NotReady);
        }
        if let Some((reason, message)) = &self.waiting
            && before.waiting.as_ref().is_none_or(|(known, _)| known != reason)
            && !ON_ITS_WAY.contains(&reason.as_str())
        {
            changes.push(PodChange::Waiting { reason: reason.clone(), message: message.clone() });
        }
        if self.running.is_some() && self.running != before.running {
            changes.push(PodChange::Running { restarts: self.restarts });
        }
        if self.is_ready && (!before.is_ready || self.running != before.running) {
            changes.push(PodChange::Ready);
        }
        changes
    }
}

// === helpers ===

/// The name of the container that counts: the one that the pod names, else its first.
pub(super) fn container(pod: &Pod) -> Option<&str> {
    let containers = &pod.spec.as_ref()?.containers;
    let named = pod.metadata.annotations.as_ref().and_then(|known| known.get(DEFAULT_CONTAINER));
    let found = containers.iter().find(|container| Some(&container.name) == named);
    found.or_else(|| containers.first()).map(|container| container.name.as_str())
}

/// Whether the pod as a whole is said not to be ready.
fn is_unready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True")
}

fn ended(state: &ContainerState) -> Option<Ended> {
    let ContainerStateTerminated { container_id, reason, exit_code, .. } = state.terminated.as_ref()?;
    Some(Ended {
        container: bare_id(container_id.as_deref()),
        reason: reason.clone().unwrap_or_else(|| "Error".to_owned()),
        exit_code: *exit_code,
    })
}

/// `containerd://0123..` without the runtime.
fn bare_id(id: Option<&str>) -> String {
    let id = id.unwrap_or_default();
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}

/// What an init container does for which the others wait; nothing when it has done its work.
fn holds_up(init: &ContainerStatus) -> Option<String> {
    let name = &init.name;
    let state = init.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return Some(format!(
            "init container `{name}` waits: {}",
            waiting.reason.as_deref().unwrap_or_default()
        ));
    }
    if state.running.is_some() {
        return Some(format!("init container `{name}` has not ended"));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(format!("init container `{name}` ended with exit code {}", ended.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(container: &str, restarts: u32, is_ready: bool) -> Seen {
        Seen { running: Some(container.to_owned()), has_run: true, restarts, is_ready, ..Seen::default() }
    }

    #[test]
    fn what_a_watch_leaves_out_is_told_all_the_same() {
        let before = running("a", 0, true);
        let ended = Ended { container: "a".to_owned(), reason: "OOMKilled".to_owned(), exit_code: 137 };
        let now = Seen { ended: Some(ended), ..running("b", 1, true) };
        let by = Some("cgroup".to_owned());
        assert_eq!(
            now.changes_since(Some(&before)),
            [
                PodChange::Terminated { reason: "OOMKilled".to_owned(), exit_code: 137, by },
                PodChange::Running { restarts: 1 },
                PodChange::Ready,
            ]
        );
        assert_eq!(now.changes_since(Some(&now)), []);
    }

    #[test]
    fn an_end_that_the_kubelet_missed_is_told_by_the_runtime() {
        let before = running("a", 0, true);
        let unknown = Ended { container: String::new(), reason: UNKNOWN.to_owned(), exit_code: 137 };
        let mut now = Seen { ended: Some(unknown.clone()), is_terminating: true, ..Seen::default() };
        now.find_out(&before, |container| (container == "a").then_some(0));
        let found = Ended { container: "a".to_owned(), reason: "Completed".to_owned(), exit_code: 0 };
        assert_eq!(now.ended, Some(found.clone()));
        let mut later = Seen { ended: Some(unknown), is_terminating: true, ..Seen::default() };
        later.find_out(&now, |_| None);
        assert_eq!(later.ended, Some(found));
        assert_eq!(later.changes_since(Some(&now)), []);
    }

    #[test]
    fn a_pod_that_ends_is_not_told_to_be_unready() {
        let before = running("a", 0, true);
        let now = Seen { is_terminating: true, ..running("a", 0, false) };
        assert_eq!(now.changes_since(Some(&before)), [PodChange::Terminating]);
    }

    #[test]
    fn a_pod_that_its_node_evicted_or_refused_is_over() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "mcp-hub-a" },
                "spec": { "containers": [{ "name": "mcp-hub" }] },
                "status": { "phase": phase, "reason": "OutOfmemory" },
            }))
            .unwrap()
        };
        assert!(Seen::of(&pod("Failed")).is_over());
        assert!(!Seen::of(&pod("Pending")).is_over());
    }

    #[test]
    fn a_container_on_its_way_does_not_wait() {
        let waiting = Some(("ContainerCreating".to_owned(), String::new()));
        assert_eq!(Seen { waiting, ..Seen::default() }.changes_since(None), [PodChange::Created]);
    }

    /// As a newest cluster tells it: a sidecar that the cluster added as the first container, one that is native, and
    /// fields of a resize in place.
    fn beside_sidecars(ready: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "mcp-hub-a", "annotations": { DEFAULT_CONTAINER: "mcp-hub" } },
            "spec": {
                "initContainers": [{ "name": "native", "restartPolicy": "Always" }],
                "containers": [
                    { "name": "proxy" },
                    { "name": "mcp-hub", "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" }] },
                ],
            },
            "status": {
                "podIP": "10.244.1.5",
                "podIPs": [{ "ip": "10.244.1.5" }, { "ip": "fd00::5" }],
                "conditions": [
                    { "type": "Ready", "status": ready, "reason": "ReadinessGatesNotReady" },
                    { "type": "PodResizePending", "status": "True" },
                ],
                "initContainerStatuses": [{ "name": "native", "image": "", "imageID": "", "ready": true,
                    "restartCount": 7, "started": true, "state": { "running": {} }, "containerID": "containerd://n" }],
                "containerStatuses": [
                    { "name": "mcp-hub", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                      "allocatedResources": { "memory": "256Mi" }, "resources": {},
                      "state": { "running": {} }, "containerID": "containerd://h" },
                    { "name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 9,
                      "state": { "running": {} }, "containerID": "containerd://p" },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_container_that_the_pod_names_counts_not_those_beside_it() {
        let pod = beside_sidecars("True");
        assert_eq!(container(&pod), Some("mcp-hub"));
        let seen = Seen::of(&pod);
        assert_eq!((seen.running.as_deref(), seen.restarts, seen.is_ready), (Some("h"), 1, true));
        assert_eq!(seen.ip, Some("10.244.1.5".parse().unwrap()));
    }

    #[test]
    fn a_pod_that_waits_for_an_init_container_names_it() {
        let message = |state: serde_json::Value| {
            let pod = serde_json::json!({
                "spec": { "containers": [{ "name": "hub" }] },
                "status": {
                    "initContainerStatuses": [{
                        "name": "wait-db", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state,
                    }],
                    "containerStatuses": [{
                        "name": "hub", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                        "state": { "waiting": { "reason": "PodInitializing" } },
                    }],
                },
            });
            Seen::of(&serde_json::from_value(pod).unwrap()).waiting.unwrap().1
        };
        assert_eq!(message(serde_json::json!({ "running": {} })), "init container `wait-db` has not ended");
        let ended = serde_json::json!({ "terminated": { "exitCode": 1 } });
        assert_eq!(message(ended), "init container `wait-db` ended with exit code 1");
        assert_eq!(message(serde_json::json!({ "terminated": { "exitCode": 0 } })), "");
    }

    #[test]
    fn a_pod_that_waits_for_more_than_its_container_is_not_ready() {
        assert!(!Seen::of(&beside_sidecars("False")).is_ready);
        assert!(
            !Seen::of(&beside_sidecars("Unknown")).is_ready,
            "so its node's controller says when the node is lost"
        );
    }
}
