//! What the cluster tells of probes: which failed, and which ended a container. Pure.

use super::{Entry, What};

/// A container that its kubelet, or the embedded controller, ended because a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeKill<'t> {
    /// The event that tells it.
    pub at: u32,
    /// The pod.
    pub pod: &'t str,
    /// What the event says: which probe.
    pub message: &'t str,
    /// What the probe said last, where that was told.
    pub said: Option<&'t str>,
}

/// Every container that was ended by a probe, in order.
pub fn kills(entries: &[Entry]) -> Vec<ProbeKill<'_>> {
    let mut kills = Vec::new();
    for (idx, entry) in entries.iter().enumerate() {
        let What::Event { object, reason, message } = &entry.what else { continue };
        let Some(pod) = object.strip_prefix("Pod/") else { continue };
        if reason == "Killing" && message.contains(" failed ") && message.contains(" probe") {
            let said = entries[..idx].iter().rev().find_map(|before| match &before.what {
                What::Event { object: of, reason, message } if of == object && reason == "Unhealthy" => {
                    Some(message.as_str())
                }
                _ => None,
            });
            kills.push(ProbeKill { at: entry.seq, pod, message, said });
        }
    }
    kills
}

/// Whether this tells of a probe that was answered, and not as it must be: another moment would not change that. The words are
/// those of kubelets: <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/probe/http/http.go>.
pub fn is_wrong_answer(what: &What) -> bool {
    matches!(what, What::Event { reason, message, .. }
        if reason == "Unhealthy" && (message.contains("statuscode") || message.contains("refused")))
}
