//! What works on the hub as it is deployed, in a line: what an operator asks before reading any finding. Pure.

use std::fmt;

use crate::check::{Lack, Verdict};
use crate::plan::{Affinity, Need};
use crate::run::CellReport;

/// What a hub may do for its clients, and the scenario that shows whether it does.
const ABILITIES: &[(&str, &[&str])] = &[
    ("sessions on any replica", &["routing/session-survives-any-replica"]),
    ("progress", &["session/progress"]),
    ("server-to-client stream", &["session/idle-stream"]),
    ("questions to the client", &["session/answer-elsewhere"]),
    ("resume", &["streamable/resume-elsewhere"]),
    ("cancel", &["session/cancel", "stateless/close-cancels"]),
    ("rollout without lost calls", &["routing/rolling-update", "lifecycle/graceful-stop"]),
];

/// Checks whose warning means that the ability is not there.
const TELLING: &[&str] = &["accepted-calls-kept"];

/// Whether an ability is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    NotJudged,
    NotOffered,
    Yes,
    NotDecided,
    No,
}

/// The abilities that the cells of this run show, grouped; nothing where none of their scenarios ran.
pub(super) fn works(reports: &[&CellReport]) -> Option<String> {
    let shown: Vec<(String, State)> = ABILITIES
        .iter()
        .filter_map(|(name, scenarios)| {
            let (state, only) = of(reports, scenarios)?;
            Some((format!("{name}{only}"), state))
        })
        .collect();
    let states = [State::Yes, State::No, State::NotDecided, State::NotOffered, State::NotJudged];
    let groups = states.into_iter().filter_map(|state| {
        let names: Vec<&str> =
            shown.iter().filter(|(_, own)| *own == state).map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{state}: {}", names.join(", ")))
    });
    Some(groups.collect::<Vec<_>>().join(" · ")).filter(|line| !line.is_empty())
}

/// What the cells of these scenarios say together, and with which affinity alone where that matters.
fn of(reports: &[&CellReport], scenarios: &[&str]) -> Option<(State, &'static str)> {
    let own: Vec<&CellReport> =
        reports.iter().copied().filter(|report| scenarios.contains(&report.cell.scenario)).collect();
    let with = |affinity: Option<Affinity>| {
        let cells = own.iter().filter(|report| affinity.is_none() || report.cell.affinity == affinity);
        cells.map(|report| state(report)).max()
    };
    let all = with(None)?;
    let is_by_affinity =
        with(Some(Affinity::Off)) == Some(State::No) && with(Some(Affinity::ClientIp)) == Some(State::Yes);
    Some(if is_by_affinity { (State::Yes, " (only with ClientIP)") } else { (all, "") })
}

fn state(report: &CellReport) -> State {
    let is_telling = |check: &str| TELLING.contains(&check);
    match report.verdict {
        Verdict::Fail => State::No,
        Verdict::Warn if report.findings.iter().any(|finding| is_telling(&finding.check)) => State::No,
        Verdict::Pass | Verdict::Warn => State::Yes,
        Verdict::Inconclusive => State::NotDecided,
        Verdict::NotApplicable => match &report.lacks {
            Some(Lack::Need(Need::EventIds) | Lack::Reason(_)) => State::NotOffered,
            Some(Lack::Need(_)) | None => State::NotJudged,
        },
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::NotJudged => "not judged",
            State::NotOffered => "not offered",
            State::Yes => "works",
            State::NotDecided => "not decided",
            State::No => "does not",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Finding, Level};
    use crate::plan::{Cell, Transport};

    fn report(scenario: &'static str, affinity: Option<Affinity>, verdict: Verdict) -> CellReport {
        let cell = Cell { scenario, affinity, transport: Some(Transport::Sse) };
        CellReport { verdict, ..CellReport::empty(cell) }
    }

    fn line(reports: &[CellReport]) -> Option<String> {
        works(&reports.iter().collect::<Vec<_>>())
    }

    #[test]
    fn sessions_may_hang_on_the_affinity() {
        let sessions =
            |affinity, verdict| report("routing/session-survives-any-replica", Some(affinity), verdict);
        let both = [sessions(Affinity::Off, Verdict::Fail), sessions(Affinity::ClientIp, Verdict::Pass)];
        assert_eq!(line(&both).as_deref(), Some("works: sessions on any replica (only with ClientIP)"));
        let neither = [sessions(Affinity::Off, Verdict::Fail), sessions(Affinity::ClientIp, Verdict::Fail)];
        assert_eq!(line(&neither).as_deref(), Some("does not: sessions on any replica"));
    }

    #[test]
    fn what_a_hub_leaves_out_is_no_fault_and_what_was_not_seen_is_not_claimed() {
        let lacks = |lack| CellReport {
            lacks: Some(lack),
            ..report("streamable/resume-elsewhere", None, Verdict::NotApplicable)
        };
        assert_eq!(line(&[lacks(Lack::Need(Need::EventIds))]).as_deref(), Some("not offered: resume"));
        assert_eq!(line(&[lacks(Lack::Need(Need::Replicas(2)))]).as_deref(), Some("not judged: resume"));
        assert_eq!(
            line(&[report("session/cancel", None, Verdict::Inconclusive)]).as_deref(),
            Some("not decided: cancel")
        );
        assert_eq!(line(&[report("session/ping", None, Verdict::Pass)]), None);
    }

    #[test]
    fn a_warning_about_lost_calls_says_that_they_are_lost() {
        let lost = Finding {
            check: "accepted-calls-kept".to_owned(),
            verdict: Verdict::Warn,
            level: Some(Level::Contract),
            requirement: String::new(),
            source: String::new(),
            expected: String::new(),
            actual: String::new(),
            at: None,
            remedy: String::new(),
            cause: None,
        };
        let warned =
            CellReport { findings: vec![lost], ..report("lifecycle/graceful-stop", None, Verdict::Warn) };
        assert_eq!(line(&[warned]).as_deref(), Some("does not: rollout without lost calls"));
        assert_eq!(
            line(&[report("lifecycle/graceful-stop", None, Verdict::Warn)]).as_deref(),
            Some("works: rollout without lost calls")
        );
    }
}
