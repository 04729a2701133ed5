//! Whether a rollout leaves a time in which nobody serves.

use std::collections::BTreeMap;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::{PodChange, What};

use crate::routing::change::REPLACED;

/// Hub contract: a release is no outage. Judged by which pods there are, and not by their probes: a busy machine cannot bring a gap
/// about.
pub const ROLLOUT_WITHOUT_GAP: Check = Check {
    id: "rollout-without-gap",
    level: Level::Contract,
    sentence: "During a rollout at least one replica that was ready must stay.",
    source: HUB_CONTRACT,
    remedy: "Deployment: `strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}}`",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let Some(begun) = history.step(REPLACED) else { return judgement };
        // Which pods were ready, and whether they stay.
        let mut pods: BTreeMap<&str, bool> = BTreeMap::new();
        for entry in history.entries() {
            let What::Pod { pod, change } = &entry.what else { continue };
            match change {
                PodChange::Ready => {
                    pods.entry(pod).or_insert(true);
                }
                PodChange::Terminating | PodChange::Deleted => {
                    pods.insert(pod, false);
                }
                _ => continue,
            }
            if entry.place() < begun {
                continue;
            }
            judgement.judged();
            if !pods.values().any(|stays| *stays) {
                let actual = format!("`{pod}` goes, and no other replica is ready");
                judgement.breach("a replica that is ready", actual, entry.place());
                break;
            }
        }
        judgement
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_hand::breached;

    fn pod(name: &str, change: PodChange) -> What {
        What::Pod { pod: name.to_owned(), change }
    }

    #[test]
    fn the_last_ready_pod_goes_after_a_new_one_is_ready() {
        let begin = || vec![pod("old", PodChange::Ready), What::Step { name: REPLACED.to_owned() }];
        let new = || pod("new", PodChange::Ready);
        let old = || pod("old", PodChange::Terminating);
        let rolling = [begin(), vec![new(), old(), pod("old", PodChange::Deleted)]].concat();
        assert!(!breached(&ROLLOUT_WITHOUT_GAP, rolling));
        let recreating = [begin(), vec![old(), pod("old", PodChange::Deleted), new()]].concat();
        assert!(breached(&ROLLOUT_WITHOUT_GAP, recreating));
        let flapping = [begin(), vec![pod("old", PodChange::NotReady), new(), old()]].concat();
        assert!(!breached(&ROLLOUT_WITHOUT_GAP, flapping), "a slow answer to a probe is no gap");
    }
}
