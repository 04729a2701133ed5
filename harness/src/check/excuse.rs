//! What happened in a cell that no hub is blamed for: a probe ended a replica, or the machine stood still.

use super::{Finding, Verdict, could_not_tell};
use crate::timeouts::ANSWER;
use crate::transcript::history::{At, History, Outcome};
use crate::transcript::probed::{ProbeKill, kills};
use crate::transcript::{End, Fault, Transcript, What};

/// From this on the harness's own wait for a processor explains that something was late.
const STOOD_STILL_MS: u64 = 500;

/// From this share of a cell's time on, in percent, in which some process of this machine waited for a processor, nobody can tell who was
/// late. By itself a run of ours comes to 88 on `local` and to 96 on KIND, on two processors; beside eight busy loops it comes to 100.
const STARVED_PERCENT: u8 = 97;

/// Makes findings that may follow from such a thing inconclusive, and says what it was.
pub(super) fn excuse(history: &History<'_>, findings: &mut Vec<Finding>) {
    excuse_what_probes_did(history.transcript, findings);
    excuse_lateness(history, findings);
}

/// A finding from before the probe ended the replica stays.
fn excuse_what_probes_did(transcript: &Transcript, findings: &mut Vec<Finding>) {
    let killed = kills(&transcript.entries).into_iter().find(|kill| is_unasked(transcript, kill));
    let Some(kill) = killed else { return };
    let later =
        findings.iter_mut().filter(|finding| is_breach(finding) && finding.at.is_some_and(|at| at > kill.at));
    if later.map(|finding| finding.verdict = Verdict::Inconclusive).count() > 0 {
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

/// A finding about something that was late, or did not come in time, while the harness itself had to wait.
fn excuse_lateness(history: &History<'_>, findings: &mut Vec<Finding>) {
    let starved = starved(history);
    let mut longest: Option<(At, u64)> = None;
    let mut is_excused = false;
    for finding in findings.iter_mut().filter(|finding| is_breach(finding)) {
        let Some(window) = finding.at.and_then(|at| waited_within(history, at)) else { continue };
        let waited = stood_still(history, window);
        if waited.is_none() && starved.is_none() {
            continue;
        }
        finding.verdict = Verdict::Inconclusive;
        is_excused = true;
        longest = longest.into_iter().chain(waited).max_by_key(|(_, waited)| *waited);
    }
    let (at, expected, actual) = match (longest, starved) {
        _ if !is_excused => return,
        (Some((at, waited)), _) => (
            at,
            format!("a wait of hubcheck for a processor below {STOOD_STILL_MS} ms"),
            format!("the machine is too slow: hubcheck itself waited {waited} ms for a processor"),
        ),
        (None, Some((at, percent))) => (
            at,
            format!("processes that wait for a processor less than {STARVED_PERCENT} % of the time"),
            format!(
                "the machine is too slow: some process waited for a processor {percent} % of the cell's time"
            ),
        ),
        (None, None) => return,
    };
    findings.push(Finding {
        requirement: "the machine is fast enough to tell who is late".to_owned(),
        expected,
        remedy: "run fewer cells at once (`--jobs`), or on a machine that does less".to_owned(),
        ..could_not_tell(at.seq, actual)
    });
}

/// For how much of the cell's time some process waited for a processor, when that was nearly always.
fn starved(history: &History<'_>) -> Option<(At, u8)> {
    history.entries().iter().find_map(|entry| match &entry.what {
        What::Pressure { stalled_percent: Some(percent), .. } if *percent >= STARVED_PERCENT => {
            Some((entry.place(), *percent))
        }
        _ => None,
    })
}

fn is_breach(finding: &Finding) -> bool {
    matches!(finding.verdict, Verdict::Fail | Verdict::Warn)
}

/// When the thing that this entry tells of was waited for, in microseconds; `None` when it was not late.
fn waited_within(history: &History<'_>, seq: u32) -> Option<(u64, u64)> {
    let limit_us = u64::try_from(history.stretched(ANSWER).as_micros()).unwrap_or(u64::MAX);
    let of_call = history.calls.iter().find_map(|call| {
        let (from, to) = match (&call.outcome, call.outcome.at()) {
            (Outcome::Silent, _) | (_, None) => (call.sent.us, call.sent.us + limit_us),
            (_, Some(at)) if at.us - call.sent.us > limit_us => (call.sent.us, at.us),
            (Outcome::Ended { how: End::TimedOut { .. }, .. }, Some(at)) => (call.sent.us, at.us),
            _ => return None,
        };
        let is_meant = call.sent.seq == seq || call.outcome.at().is_some_and(|at| at.seq == seq);
        is_meant.then_some((from, to))
    });
    let of_exchange = || {
        history.exchanges.values().find_map(|exchange| {
            let (at, how) = exchange.end?;
            let is_meant = exchange.at.seq == seq || at.seq == seq;
            (is_meant && matches!(how, End::TimedOut { .. })).then_some((exchange.at.us, at.us))
        })
    };
    let of_wait = || {
        let entry = history.entries().iter().find(|entry| entry.seq == seq)?;
        let What::Awaited { took_ms, unmet: Some(_), .. } = &entry.what else { return None };
        Some((entry.at_us.saturating_sub(took_ms * 1000), entry.at_us))
    };
    of_call.or_else(of_exchange).or_else(of_wait)
}

/// The longest wait for a processor that fell into this time.
fn stood_still(history: &History<'_>, (from, to): (u64, u64)) -> Option<(At, u64)> {
    let waits = history.entries().iter().filter_map(|entry| match &entry.what {
        // One wait, not the sum of a cell.
        What::Pressure { waited_ms, within_ms, stalled_percent: None } if *waited_ms >= STOOD_STILL_MS => {
            let began = entry.at_us.saturating_sub(within_ms * 1000);
            (began <= to && entry.at_us >= from).then(|| (entry.place(), *waited_ms))
        }
        _ => None,
    });
    waits.max_by_key(|(_, waited)| *waited)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FAILS, judged, transcript};
    use super::*;

    fn event(reason: &str, message: &str) -> What {
        What::Event { object: "Pod/a".to_owned(), reason: reason.to_owned(), message: message.to_owned() }
    }

    /// A breach of which this entry tells, excused or not.
    fn excused(at: u32, entries: Vec<What>) -> Vec<Finding> {
        let transcript = transcript(entries);
        let mut findings = judged(&[&FAILS], Vec::new()).findings;
        findings[0].at = Some(at);
        excuse(&History::new(&transcript), &mut findings);
        findings
    }

    #[test]
    fn what_follows_from_a_kill_by_a_probe_is_no_finding_about_the_hub() {
        let killed = || {
            vec![
                event("Unhealthy", "Liveness probe failed: context deadline exceeded"),
                event("Killing", "Container hub failed liveness probe, will be restarted"),
            ]
        };
        let later = excused(3, killed());
        assert_eq!(later[0].verdict, Verdict::Inconclusive);
        assert!(later[1].actual.contains("failed liveness probe"), "{later:?}");
        assert!(later[1].actual.contains("context deadline exceeded"), "{later:?}");
        assert_eq!(excused(1, killed())[0].verdict, Verdict::Fail, "it was there before");
        let asked = What::Fault(Fault::Stop { replica: "a".to_owned() });
        let brought_about = excused(4, [vec![asked], killed()].concat());
        assert_eq!(brought_about[0].verdict, Verdict::Fail, "the scenario stopped the process");
    }

    #[test]
    fn what_came_late_while_the_machine_stood_still_proves_nothing_about_the_hub() {
        let unmet = |took_ms| What::Awaited {
            condition: "exactly 1 pod, ready".to_owned(),
            took_ms,
            unmet: Some("not ready".to_owned()),
        };
        let waited =
            |waited_ms| What::Pressure { waited_ms, within_ms: waited_ms + 250, stalled_percent: None };
        let late = excused(2, vec![waited(900), unmet(60_000)]);
        assert_eq!(late[0].verdict, Verdict::Inconclusive);
        assert!(late[1].actual.contains("900 ms"), "{late:?}");
        assert_eq!(excused(2, vec![waited(300), unmet(60_000)])[0].verdict, Verdict::Fail);
        let other = vec![waited(900), event("Pulled", "an answer that is wrong is not late")];
        assert_eq!(excused(2, other)[0].verdict, Verdict::Fail);
        let sum =
            |percent| What::Pressure { waited_ms: 900, within_ms: 60_000, stalled_percent: Some(percent) };
        assert_eq!(
            excused(2, vec![sum(90), unmet(60_000)])[0].verdict,
            Verdict::Fail,
            "when it was is not known"
        );
        let starved = excused(2, vec![sum(98), unmet(60_000)]);
        assert_eq!(starved[0].verdict, Verdict::Inconclusive, "processes waited all the time");
        assert!(starved[1].actual.contains("98 %"), "{starved:?}");
    }
}
