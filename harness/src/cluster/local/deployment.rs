//! What a Deployment decides: how many pods of each revision there should be, and which pod goes first.
//!
//! Pure. The rules are those of Kubernetes' deployment and replicaset controllers.

use std::cmp::Reverse;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::lease::random;

/// What names of pods and revisions are made of: Kubernetes' letters, which spell no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// One revision's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// What its template hashes to.
    pub(crate) hash: String,
    /// How many pods it should have.
    pub(crate) wanted: usize,
    /// How many of its pods are ready and stay.
    pub(crate) available: usize,
    /// How many of its pods exist, those that are ending too.
    pub(crate) existing: usize,
}

/// How old revisions are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// All old pods first, then new ones.
    Recreate,
    /// Step by step within these bounds.
    Rolling { surge: usize, unavailable: usize },
}

/// What decides which pod of a set is removed first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) is_running: bool,
    pub(crate) is_ready: bool,
    pub(crate) ready_for: Duration,
    pub(crate) restarts: u32,
    pub(crate) age: Duration,
}

// === impl Strategy ===

impl Strategy {
    /// What the Deployment says, with Kubernetes' defaults.
    pub(crate) fn of(spec: &DeploymentSpec, desired: usize) -> Self {
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self::Recreate;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), desired, usize::div_ceil);
        let unavailable =
            share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), desired, |whole, by| {
                whole / by
            });
        // Both zero would never move.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self::Rolling { surge, unavailable }
    }
}

/// A number or a percentage of the replicas; 25 % by default.
fn share(value: Option<&IntOrString>, of: usize, round: impl Fn(usize, usize) -> usize) -> usize {
    match value {
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text.trim().trim_end_matches('%').parse::<usize>().unwrap_or(25);
            round(of * percent, 100)
        }
        None => round(of * 25, 100),
    }
}

/// Sets how many pods each revision should have now. The newest is last, older ones before it in their order.
pub(crate) fn decide(sets: &mut [Set], desired: usize, strategy: Strategy) {
    let Some((newest, old)) = sets.split_last_mut() else { return };
    match strategy {
        Strategy::Recreate => {
            old.iter_mut().for_each(|set| set.wanted = 0);
            if old.iter().all(|set| set.existing == 0) {
                newest.wanted = desired;
            }
        }
        Strategy::Rolling { surge, unavailable } => {
            let wanted_old: usize = old.iter().map(|set| set.wanted).sum();
            let room = (desired + surge).saturating_sub(wanted_old + newest.wanted);
            newest.wanted = newest.wanted.min(desired);
            newest.wanted += room.min(desired - newest.wanted);
            shrink_old(newest, old, desired.saturating_sub(unavailable));
        }
    }
}

/// Takes from old revisions what the minimum of available pods allows, pods that serve nobody first.
fn shrink_old(newest: &Set, old: &mut [Set], minimum: usize) {
    let wanted: usize = newest.wanted + old.iter().map(|set| set.wanted).sum::<usize>();
    let coming = newest.wanted.saturating_sub(newest.available);
    let mut idle_to_go = wanted.saturating_sub(minimum + coming);
    for set in old.iter_mut() {
        let go = set.wanted.saturating_sub(set.available).min(idle_to_go);
        set.wanted -= go;
        idle_to_go -= go;
    }
    let available: usize =
        newest.available + old.iter().map(|set| set.available.min(set.wanted)).sum::<usize>();
    let mut to_go = available.saturating_sub(minimum).min(idle_to_go);
    for set in old.iter_mut() {
        let go = set.wanted.min(to_go);
        set.wanted -= go;
        to_go -= go;
    }
}

/// The order of removal, first to go first: not running, not ready, ready for the shortest time, most restarts,
/// youngest. Times are compared by their magnitude, as Kubernetes does, so that chance decides among equals.
pub(crate) fn first_to_go(standing: &Standing) -> impl Ord + use<> {
    let magnitude = |time: Duration| time.as_secs().checked_ilog2().map_or(0, |log| log + 1);
    (
        standing.is_running,
        standing.is_ready,
        magnitude(standing.ready_for),
        Reverse(standing.restarts),
        magnitude(standing.age),
        random(),
    )
}

/// Ten letters that stand for a template.
pub(crate) fn template_hash(template: &PodTemplateSpec) -> String {
    // FNV-1a: the same template must give the same name in every run.
    let text = serde_json::to_string(template).unwrap_or_default();
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut letter = || {
        let index = (hash % LETTERS.len() as u64) as usize;
        hash /= LETTERS.len() as u64;
        char::from(LETTERS[index])
    };
    (0..10).map(|_| letter()).collect()
}

/// Five random letters, the end of a pod's name.
pub(crate) fn pod_suffix() -> String {
    (0..5).map(|_| char::from(LETTERS[random() as usize % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(wanted: usize, available: usize) -> Set {
        Set { hash: String::new(), wanted, available, existing: wanted }
    }

    fn decided(mut sets: Vec<Set>, desired: usize, strategy: Strategy) -> Vec<usize> {
        decide(&mut sets, desired, strategy);
        sets.iter().map(|set| set.wanted).collect()
    }

    const ONE_MORE: Strategy = Strategy::Rolling { surge: 1, unavailable: 0 };

    #[test]
    fn a_rolling_update_never_goes_below_its_minimum() {
        assert_eq!(decided(vec![set(2, 2), set(0, 0)], 2, ONE_MORE), [2, 1]);
        assert_eq!(decided(vec![set(2, 2), set(1, 0)], 2, ONE_MORE), [2, 1]);
        assert_eq!(decided(vec![set(2, 2), set(1, 1)], 2, ONE_MORE), [1, 1]);
        assert_eq!(decided(vec![set(1, 1), set(1, 1)], 2, ONE_MORE), [1, 2]);
        assert_eq!(decided(vec![set(1, 1), set(2, 2)], 2, ONE_MORE), [0, 2]);
    }

    #[test]
    fn an_old_pod_that_serves_nobody_goes_at_once() {
        let strategy = Strategy::Rolling { surge: 0, unavailable: 1 };
        assert_eq!(decided(vec![set(2, 1), set(0, 0)], 2, strategy), [1, 0]);
        assert_eq!(decided(vec![set(1, 1), set(0, 0)], 2, strategy), [1, 1]);
    }

    #[test]
    fn recreate_waits_for_the_last_old_pod() {
        let mut ending = set(0, 0);
        ending.existing = 1;
        assert_eq!(decided(vec![ending, set(0, 0)], 2, Strategy::Recreate), [0, 0]);
        assert_eq!(decided(vec![set(0, 0), set(0, 0)], 2, Strategy::Recreate), [0, 2]);
    }

    #[test]
    fn scaling_needs_no_old_revision() {
        assert_eq!(decided(vec![set(1, 1)], 4, ONE_MORE), [4]);
        assert_eq!(decided(vec![set(4, 4)], 0, ONE_MORE), [0]);
    }
}
