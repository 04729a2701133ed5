//! Pure judgement: what a transcript must show, and what it shows.
//!
//! A check sees a transcript and nothing else, so every verdict can be recomputed offline. The checks that
//! apply to every cell are in [`ambient`]; a scenario names the others.

pub mod ambient;
mod excuse;
pub(crate) mod limit;
pub mod remedy;
pub mod schema;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Need, Offers, Transport};
use crate::transcript::history::{At, History};
use crate::transcript::{Transcript, What};

/// One rule, and how to see from a transcript whether it was kept.
pub struct Check {
    /// A stable name, such as `calls-answered`.
    pub id: &'static str,
    /// How much a breach weighs.
    pub level: Level,
    /// The sentence it enforces: quoted from the specification, or ours where that is silent.
    pub sentence: &'static str,
    /// Where the sentence stands: a link, or [`HUB_CONTRACT`].
    pub source: &'static str,
    /// What mends a breach.
    pub remedy: &'static str,
    /// The transports it speaks of; empty for all.
    pub transports: &'static [Transport],
    /// What of hub or backend it cannot judge without.
    pub needs: &'static [Need],
    /// Looks for breaches.
    pub judge: fn(&History<'_>) -> Judgement,
}

/// The chance of passing by luck from which on a verdict would rest on it.
pub const NO_LUCK: f64 = 1e-6;

/// The source of a rule that no specification states, but every user of a hub relies on.
pub const HUB_CONTRACT: &str = "hub contract";

/// A rule for servers that no check enforces.
#[derive(Clone, Copy, Debug)]
pub struct Unchecked {
    /// The sentence, quoted, or what is left open.
    pub rule: &'static str,
    /// Where the sentence stands: a link, or [`SILENT`].
    pub source: &'static str,
    /// Why it is not checked.
    pub why: &'static str,
    /// The ids of the checks that come nearest.
    pub nearest: &'static [&'static str],
}

/// The source of what no specification decides.
pub const SILENT: &str = "silent";

/// How much a breach weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A MUST of the specification: a breach fails.
    Must,
    /// What every user of a hub relies on although the specification is silent: a breach fails.
    Contract,
    /// A SHOULD: a breach warns.
    Should,
    /// A MUST of the specification that the servers in the field do not meet, with defaults that nobody changes: a breach
    /// warns, and fails under [`Strictness::Strict`].
    IgnoredMust,
}

/// Whether a MUST that the field ignores fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// It warns.
    #[default]
    Ordinary,
    /// It fails (`--strict`). Nothing else changes.
    Strict,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// How many things there were to judge. With none, the check can say nothing.
    pub judged: usize,
    /// The breaches.
    pub breaches: Vec<Breach>,
}

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// What had to be.
    pub expected: String,
    /// What was.
    pub actual: String,
    /// The entry that shows it.
    pub at: Option<u32>,
}

/// A breach, with the check that found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's id.
    pub check: String,
    /// What it does to the verdict.
    pub verdict: Verdict,
    /// How much the rule weighs; nothing where no rule was judged.
    pub level: Option<Level>,
    /// The rule's sentence.
    pub requirement: String,
    /// Where it stands.
    pub source: String,
    /// What had to be.
    pub expected: String,
    /// What was.
    pub actual: String,
    /// The transcript's entry that shows it.
    pub at: Option<u32>,
    /// What mends it.
    pub remedy: String,
}

/// What a cell came to. The order is the order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A need is missing.
    NotApplicable,
    /// Nothing was broken.
    Pass,
    /// A SHOULD was broken.
    Warn,
    /// The harness or the cluster could not tell.
    Inconclusive,
    /// A MUST, or the hub contract, was broken.
    Fail,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Every breach, and every reason for being inconclusive.
    pub findings: Vec<Finding>,
    /// The checks that could not be applied, with the need that is missing.
    pub not_judged: Vec<(&'static str, Need)>,
}

/// Judges a transcript by the ambient checks and by these.
pub fn judge(transcript: &Transcript, checks: &[&Check], offers: &Offers, strictness: Strictness) -> Judged {
    let history = History::new(transcript);
    let mut findings: Vec<Finding> =
        broken(transcript).chain(lucky(transcript)).chain(untold(transcript)).collect();
    let mut not_judged = Vec::new();
    let mut idle = Vec::new();
    for check in checks {
        if let Some(lack) = check.needs.iter().find(|need| !offers.meets(**need)) {
            not_judged.push((check.id, *lack));
            continue;
        }
        if !check.speaks_of(transcript.header.transport) {
            continue;
        }
        let judgement = (check.judge)(&history);
        if judgement.judged == 0 {
            idle.push(*check);
        }
        findings.extend(judgement.breaches.into_iter().map(|breach| check.finding(breach, strictness)));
    }
    for check in ambient::CHECKS {
        let judgement = (check.judge)(&history);
        findings.extend(judgement.breaches.into_iter().map(|breach| check.finding(breach, strictness)));
    }
    // A check that had nothing to look at did not pass. Where something failed, or the run broke off, that is why.
    if findings.iter().all(|finding| finding.verdict < Verdict::Inconclusive) {
        findings.extend(idle.into_iter().map(Check::nothing_to_judge));
    }
    // A hub that limits requests was not seen as it is: what came of the refused ones says nothing more.
    if let Some(limited) = limit::rate_limited(&history) {
        findings = vec![limited];
    }
    excuse::excuse(&history, &mut findings);
    let in_place = remedy::in_place(&transcript.header);
    for finding in &mut findings {
        finding.remedy = remedy::of_use(&finding.remedy, &in_place);
    }
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Pass);
    Judged { verdict, findings, not_judged }
}

// === impl Check ===

impl Check {
    fn speaks_of(&self, transport: Option<Transport>) -> bool {
        self.transports.is_empty() || transport.is_none_or(|transport| self.transports.contains(&transport))
    }

    fn finding(&self, breach: Breach, strictness: Strictness) -> Finding {
        let verdict = match (self.level, strictness) {
            (Level::Must | Level::Contract, _) | (Level::IgnoredMust, Strictness::Strict) => Verdict::Fail,
            (Level::Should, _) | (Level::IgnoredMust, Strictness::Ordinary) => Verdict::Warn,
        };
        Finding {
            check: self.id.to_owned(),
            verdict,
            level: Some(self.level),
            requirement: self.sentence.to_owned(),
            source: self.source.to_owned(),
            expected: breach.expected,
            actual: breach.actual,
            at: breach.at,
            remedy: self.remedy.to_owned(),
        }
    }

    fn nothing_to_judge(&self) -> Finding {
        let breach = Breach {
            expected: "something to judge".to_owned(),
            actual: "the transcript holds nothing that this check looks at".to_owned(),
            at: None,
        };
        Finding { verdict: Verdict::Inconclusive, ..self.finding(breach, Strictness::Ordinary) }
    }
}

/// The fields that name it.
impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("id", &self.id).field("level", &self.level).finish_non_exhaustive()
    }
}

// === impl Judgement ===

impl Judgement {
    /// Notes that one more thing was judged.
    pub fn judged(&mut self) {
        self.judged += 1;
    }

    /// Notes a breach of something that was judged.
    pub fn breach(&mut self, expected: impl Into<String>, actual: impl Into<String>, at: At) {
        self.breaches.push(Breach { expected: expected.into(), actual: actual.into(), at: Some(at.seq) });
    }
}

/// In the words of lists and tables.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Must => "must",
            Level::Contract => "must (hub contract)",
            Level::Should => "should",
            Level::IgnoredMust => "must (fails only under --strict)",
        })
    }
}

/// In the words of reports.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::NotApplicable => "not-applicable",
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Fail => "fail",
        })
    }
}

// === helpers ===

/// The ids of the checks that failed or warned.
pub fn breached(findings: &[Finding]) -> BTreeSet<&str> {
    let breach = |finding: &&Finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn);
    findings.iter().filter(breach).map(|finding| finding.check.as_str()).collect()
}

/// Why the scenario was not driven to its end.
fn broken(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Broken { reason } => Some(Finding {
            requirement: "the scenario is driven to its end".to_owned(),
            expected: "every step of the scenario".to_owned(),
            remedy: "look at the transcript's last entries".to_owned(),
            ..could_not_tell(entry.seq, reason.clone())
        }),
        _ => None,
    })
}

/// What may have passed by luck.
fn lucky(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Luck { of, probability } if *probability >= NO_LUCK => Some(Finding {
            requirement: "no verdict rests on luck".to_owned(),
            expected: format!("a chance below {NO_LUCK:.0e}"),
            remedy: "aim at replicas, or send more requests".to_owned(),
            ..could_not_tell(entry.seq, format!("{of}: {probability:.1e}"))
        }),
        _ => None,
    })
}

/// What only an event tells, and none came: that proves nothing about the hub.
fn untold(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Symptom { symptom, told: None, .. } if !symptom.is_a_state() => Some(Finding {
            requirement: "the cluster tells what is wrong".to_owned(),
            expected: format!("an event {symptom}"),
            remedy: "kubelet: raise `eventRecordQPS` and `eventBurst`, or run fewer cells at once (`--jobs`)"
                .to_owned(),
            ..could_not_tell(
                entry.seq,
                "no such event came: a kubelet keeps back or drops what goes past its rate".to_owned(),
            )
        }),
        _ => None,
    })
}

/// A reason for being inconclusive.
pub(crate) fn could_not_tell(seq: u32, actual: String) -> Finding {
    Finding {
        check: "could-not-tell".to_owned(),
        verdict: Verdict::Inconclusive,
        level: None,
        requirement: String::new(),
        source: "harness".to_owned(),
        expected: String::new(),
        actual,
        at: Some(seq),
        remedy: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Symptom;

    pub(super) fn judged(checks: &[&Check], entries: Vec<What>) -> Judged {
        judge(&transcript(entries), checks, &Offers::default(), Strictness::Ordinary)
    }

    pub(super) fn transcript(entries: Vec<What>) -> Transcript {
        let header = crate::transcript::Header::made_by_hand("local", None);
        let entry = |(idx, what): (usize, What)| {
            let seq = u32::try_from(idx + 1).unwrap();
            crate::transcript::Entry { seq, at_us: u64::from(seq), what }
        };
        let entries = entries.into_iter().enumerate().map(entry).collect();
        Transcript { header, entries }
    }

    const PLAIN: Check = Check {
        id: "plain",
        level: Level::Must,
        sentence: "a sentence",
        source: HUB_CONTRACT,
        remedy: "a remedy",
        transports: &[],
        needs: &[],
        judge: |_| Judgement { judged: 1, breaches: Vec::new() },
    };
    const IDLE: Check = Check { id: "idle", judge: |_| Judgement::default(), ..PLAIN };
    const WARNS: Check = Check {
        id: "warns",
        level: Level::Should,
        judge: |_| {
            let breach = Breach { expected: String::new(), actual: String::new(), at: None };
            Judgement { judged: 1, breaches: vec![breach] }
        },
        ..PLAIN
    };
    pub(super) const FAILS: Check = Check { id: "fails", level: Level::Must, ..WARNS };

    /// Found by the fuzzer: a pod that was told to go before its container ran.
    #[test]
    fn a_pod_that_was_told_to_go_may_run_and_end_and_one_that_was_killed_must_not_end_again() {
        use crate::transcript::{Fault, PodChange};
        let pod = |change| What::Pod { pod: "a".to_owned(), change };
        let runs = || pod(PodChange::Running { restarts: 0 });
        let ends = || pod(PodChange::Terminated { reason: "Error".to_owned(), exit_code: 143, by: None });
        let killed = What::Fault(Fault::Kill { replica: "a".to_owned() });
        let verdict = |entries| judged(&[&PLAIN], entries).verdict;
        assert_eq!(verdict(vec![pod(PodChange::Terminating), runs(), ends()]), Verdict::Pass);
        assert_eq!(verdict(vec![runs(), killed.clone(), ends(), runs()]), Verdict::Pass);
        assert_eq!(verdict(vec![runs(), killed, ends(), runs(), ends()]), Verdict::Fail);
    }

    /// As a busy node told it, whose runtime had lost the kernel's event; where the event comes after all, the reason is
    /// another in the end than when the process was seen to end.
    #[test]
    fn a_kill_for_memory_explains_an_end_that_does_not_say_so_and_no_crash() {
        use crate::transcript::{PodChange, Told};
        let verdict = |exit_code, reason: &str| {
            let ended = PodChange::Terminated { reason: "Error".to_owned(), exit_code, by: None };
            let told = Told {
                pod: Some("a".to_owned()),
                reason: reason.to_owned(),
                message: "exit code 137".to_owned(),
            };
            let symptom = What::Symptom {
                symptom: Symptom::OutOfMemory,
                naming: Vec::new(),
                took_ms: 1,
                told: Some(told),
                instead: None,
            };
            judged(&[&PLAIN], vec![What::Pod { pod: "a".to_owned(), change: ended }, symptom]).verdict
        };
        assert_eq!(verdict(137, "Error"), Verdict::Pass);
        assert_eq!(verdict(137, "OOMKilled"), Verdict::Pass);
        assert_eq!(verdict(101, "OOMKilled"), Verdict::Fail, "a panic is none");
    }

    #[test]
    fn a_check_with_nothing_to_judge_is_no_pass_in_any_order() {
        assert_eq!(judged(&[&PLAIN], Vec::new()).verdict, Verdict::Pass);
        for checks in [[&IDLE, &PLAIN], [&PLAIN, &IDLE], [&IDLE, &WARNS], [&WARNS, &IDLE]] {
            assert_eq!(judged(&checks, Vec::new()).verdict, Verdict::Inconclusive, "{checks:?}");
        }
        for checks in [[&IDLE, &FAILS], [&FAILS, &IDLE]] {
            let judged = judged(&checks, Vec::new());
            assert_eq!(
                (judged.verdict, judged.findings.len()),
                (Verdict::Fail, 1),
                "what failed is why: {checks:?}"
            );
        }
    }

    #[test]
    fn a_run_that_broke_off_says_so_once() {
        let judged = judged(&[&IDLE, &IDLE], vec![What::Broken { reason: "no cluster".to_owned() }]);
        assert_eq!((judged.verdict, judged.findings.len()), (Verdict::Inconclusive, 1));
    }

    #[test]
    fn a_check_is_not_applied_without_what_it_needs() {
        const NEEDY: Check = Check { needs: &[Need::Replicas(2)], ..FAILS };
        let judged = judged(&[&NEEDY], Vec::new());
        assert_eq!(judged.verdict, Verdict::Pass);
        assert_eq!(judged.not_judged, [("fails", Need::Replicas(2))]);
    }

    #[test]
    fn an_event_that_does_not_come_proves_nothing() {
        let untold = |symptom| {
            let instead = Some("nothing".to_owned());
            vec![What::Symptom { symptom, naming: Vec::new(), took_ms: 1, told: None, instead }]
        };
        assert_eq!(judged(&[&PLAIN], untold(Symptom::NotLive)).verdict, Verdict::Inconclusive);
        assert_eq!(
            judged(&[&PLAIN], untold(Symptom::NotReady)).verdict,
            Verdict::Pass,
            "for checks to judge"
        );
    }

    #[test]
    fn a_pass_that_may_be_luck_is_none() {
        let luck = |probability| vec![What::Luck { of: "two requests".to_owned(), probability }];
        assert_eq!(judged(&[&PLAIN], luck(9e-7)).verdict, Verdict::Pass);
        assert_eq!(judged(&[&PLAIN], luck(0.25)).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn strictness_changes_what_the_field_ignores_and_nothing_else() {
        const BROKEN: Check = Check {
            id: "broken",
            level: Level::Must,
            sentence: "a sentence",
            source: HUB_CONTRACT,
            remedy: "a remedy",
            transports: &[],
            needs: &[],
            judge: |_| Judgement::default(),
        };
        let verdict = |level, strictness| {
            let breach = Breach { expected: String::new(), actual: String::new(), at: None };
            Check { level, ..BROKEN }.finding(breach, strictness).verdict
        };
        for (level, ordinary, strict) in [
            (Level::Must, Verdict::Fail, Verdict::Fail),
            (Level::Contract, Verdict::Fail, Verdict::Fail),
            (Level::Should, Verdict::Warn, Verdict::Warn),
            (Level::IgnoredMust, Verdict::Warn, Verdict::Fail),
        ] {
            assert_eq!(verdict(level, Strictness::Ordinary), ordinary, "{level}");
            assert_eq!(verdict(level, Strictness::Strict), strict, "{level}");
        }
    }
}
