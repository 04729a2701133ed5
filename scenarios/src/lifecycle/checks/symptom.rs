//! Whether what is wrong is told: by the cluster, and by a process in its last line.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::history::{At, History};
use harness::transcript::{Symptom, Told, What};

/// Hub contract: what is wrong is seen where operators look first.
pub const SYMPTOM_TOLD: Check = Check {
    id: "symptom-told",
    level: Level::Contract,
    sentence: "what keeps a pod from serving shows in the cluster's own words, and names what is missing",
    source: HUB_CONTRACT,
    remedy: "hub: end, or do not become ready, while something required is missing; Deployment: a `readinessProbe` that asks \
             the hub",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (at, symptom, naming, told) in symptoms(history) {
            let is_untold = told.is_err() && !symptom.is_a_state();
            // What the cluster has not even looked at yet it cannot tell of.
            if is_untold || told.is_err() && history.not_started(None, at).is_some() {
                continue;
            }
            judgement.judged();
            match told {
                Ok(told) if symptom.is_an_end() || named(naming, &told.message) => {}
                Ok(told) => {
                    let expected = format!("{symptom} by a message that names {}", naming.join(" and "));
                    judgement.breach(expected, format!("{}: {}", told.reason, told.message), at);
                }
                Err(instead) => judgement.breach(format!("{symptom}"), instead, at),
            }
        }
        judgement
    },
};

/// Hub contract: a process that cannot go on says why.
pub const LAST_WORDS: Check = Check {
    id: "last-words",
    level: Level::Contract,
    sentence: "a process that ends because something is wrong says what in the last line that it prints",
    source: HUB_CONTRACT,
    remedy: "hub: print one line that names the setting or the address before the process ends with a code that is not 0",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (at, symptom, naming, told) in symptoms(history) {
            let Ok(Told { pod: Some(pod), .. }) = told else { continue };
            if !symptom.is_an_end() {
                continue;
            }
            if naming.is_empty() {
                judgement.idle_because("in which words the last line should say it is not known");
                continue;
            }
            judgement.judged();
            let expected = || format!("a last line of `{pod}` that names {}", naming.join(" and "));
            match last_line(history, pod) {
                Some(line) if named(naming, line) => {}
                Some(line) => judgement.breach(expected(), format!("`{line}`"), at),
                None => judgement.breach(expected(), "it printed nothing", at),
            }
        }
        judgement
    },
};

// === helpers ===

/// Every symptom that was waited for: what was told, or what was seen instead.
fn symptoms<'t>(
    history: &History<'t>,
) -> impl Iterator<Item = (At, Symptom, &'t [String], Result<&'t Told, String>)> {
    history.entries().iter().filter_map(|entry| match &entry.what {
        What::Symptom { symptom, naming, told, instead, .. } => {
            let told = told.as_ref().ok_or_else(|| instead.clone().unwrap_or_default());
            Some((entry.place(), *symptom, naming.as_slice(), told))
        }
        _ => None,
    })
}

fn named(naming: &[String], text: &str) -> bool {
    naming.iter().all(|name| text.contains(name.as_str()))
}

fn last_line<'t>(history: &History<'t>, of: &str) -> Option<&'t str> {
    history.entries().iter().rev().find_map(|entry| match &entry.what {
        What::Log { pod, line } if pod == of => Some(line.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use harness::transcript::PodChange;

    use super::*;
    use crate::by_hand::breached;

    #[test]
    fn a_budget_refuses_by_name() {
        let asked = |told: Option<&str>| What::Symptom {
            symptom: Symptom::Budget,
            naming: vec!["disruption budget".to_owned()],
            took_ms: 1,
            told: told.map(|message| Told {
                pod: Some("mcp-hub-b".to_owned()),
                reason: "TooManyRequests".to_owned(),
                message: message.to_owned(),
            }),
            instead: told.is_none().then(|| "the eviction was granted".to_owned()),
        };
        let refused = "Cannot evict pod as it would violate the pod's disruption budget.";
        assert!(!breached(&SYMPTOM_TOLD, vec![asked(Some(refused))]));
        assert!(breached(&SYMPTOM_TOLD, vec![asked(Some("try again later"))]));
        assert!(breached(&SYMPTOM_TOLD, vec![asked(None)]));
    }

    #[test]
    fn what_a_cluster_has_not_looked_at_it_cannot_tell_of() {
        let pod = |change| What::Pod { pod: "mcp-hub-a".to_owned(), change };
        let untold = || What::Symptom {
            symptom: Symptom::ConfigMissing,
            naming: Vec::new(),
            took_ms: 60_000,
            told: None,
            instead: Some("no pod says so".to_owned()),
        };
        assert!(!breached(&SYMPTOM_TOLD, vec![pod(PodChange::Created), untold()]));
        let runs = pod(PodChange::Running { restarts: 0 });
        assert!(breached(&SYMPTOM_TOLD, vec![pod(PodChange::Created), runs, untold()]));
    }
}
