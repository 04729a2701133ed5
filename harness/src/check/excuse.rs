//! What happened in a cell that no hub is blamed for: a probe ended a replica, or the machine stood still.

use super::{Finding, Verdict, could_not_tell};
use crate::transcript::probed::{ProbeKill, kills};
use crate::transcript::{Fault, Transcript, What};

/// Makes findings that may follow from such a thing inconclusive, and says what it was. A finding from before it stays.
pub(super) fn excuse(transcript: &Transcript, findings: &mut Vec<Finding>) {
    let Some(kill) = kills(&transcript.entries).into_iter().find(|kill| is_unasked(transcript, kill)) else {
        return;
    };
    let mut is_excused = false;
    for finding in findings.iter_mut() {
        let is_later = finding.at.is_some_and(|at| at > kill.at);
        if is_later && matches!(finding.verdict, Verdict::Fail | Verdict::Warn) {
            finding.verdict = Verdict::Inconclusive;
            is_excused = true;
        }
    }
    if is_excused {
        let said = kill.said.map(|said| format!(" ({said})")).unwrap_or_default();
        findings.push(Finding {
            requirement: "no probe ends a replica while a scenario uses it".to_owned(),
            expected: format!("`{}` runs until the scenario ends it", kill.pod),
            remedy: "see lifecycle/probes-as-deployed; if an idle replica passes its probes, run fewer cells at once (`--jobs`)"
                .to_owned(),
            ..could_not_tell(kill.at, format!("`{}`: {}{said}", kill.pod, kill.message))
        });
    }
}

/// Whether no scenario brought the kill about: by a process that it stopped, or by an edit of the manifests.
fn is_unasked(transcript: &Transcript, kill: &ProbeKill<'_>) -> bool {
    !transcript.entries.iter().take_while(|entry| entry.seq < kill.at).any(|entry| match &entry.what {
        What::Fault(Fault::Stop { replica }) => replica == kill.pod,
        What::Fault(Fault::Apply { .. }) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FAILS, judged, transcript};
    use super::*;

    fn event(reason: &str, message: &str) -> What {
        What::Event { object: "Pod/a".to_owned(), reason: reason.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn what_follows_from_a_kill_by_a_probe_is_no_finding_about_the_hub() {
        let killed = || {
            vec![
                event("Unhealthy", "Liveness probe failed: context deadline exceeded"),
                event("Killing", "Container hub failed liveness probe, will be restarted"),
            ]
        };
        let asked = What::Fault(Fault::Stop { replica: "a".to_owned() });
        let with_at = |at: u32, entries: Vec<What>| {
            let mut judged = judged(&[&FAILS], entries.clone());
            judged.findings[0].at = Some(at);
            excuse(&transcript(entries), &mut judged.findings);
            judged.findings
        };
        let later = with_at(3, killed());
        assert_eq!(later[0].verdict, Verdict::Inconclusive);
        assert!(later[1].actual.contains("failed liveness probe"), "{later:?}");
        assert!(later[1].actual.contains("context deadline exceeded"), "{later:?}");
        assert_eq!(with_at(1, killed())[0].verdict, Verdict::Fail, "it was there before");
        let brought_about = with_at(4, [vec![asked], killed()].concat());
        assert_eq!(brought_about[0].verdict, Verdict::Fail, "the scenario stopped the process");
    }
}
