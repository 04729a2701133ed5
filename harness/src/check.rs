//! Pure judgement: what a transcript must show, and what it shows.
//!
//! A check sees a transcript and nothing else, so every verdict can be recomputed offline. The checks that
//! apply to every cell are in [`ambient`]; a scenario names the others.

pub mod ambient;
mod cause;
mod excuse;
mod lack;
pub mod limit;
pub mod remedy;
pub mod schema;
mod sdk;
mod unsure;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Need, Offers, Transport};
use crate::transcript::Transcript;
use crate::transcript::history::{At, History};

pub use cause::Cause;
pub use lack::{Lack, NotJudged};
pub(crate) use unsure::could_not_tell;

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
    /// Why there was nothing to judge, where a hub may leave nothing.
    pub idle: Option<String>,
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
    /// What explains it together with findings of other checks and cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
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
    /// Why the cell does not apply, where that showed only when it ran.
    pub lacks: Option<Lack>,
    /// The checks that could not be applied, and why.
    pub not_judged: Vec<NotJudged>,
}

/// Judges a transcript by the ambient checks and by these.
pub fn judge(transcript: &Transcript, checks: &[&Check], offers: &Offers, strictness: Strictness) -> Judged {
    let history = History::new(transcript);
    let mut findings: Vec<Finding> = unsure::reasons(transcript).collect();
    let mut not_judged = Vec::new();
    let mut idle = Vec::new();
    let mut is_judged = false;
    for check in checks {
        if let Some(lack) = check.needs.iter().find(|need| !offers.meets(**need)) {
            not_judged.push(NotJudged { check: check.id, why: Lack::Need(*lack) });
            continue;
        }
        if !check.speaks_of(transcript.header.transport) {
            continue;
        }
        let judgement = (check.judge)(&history);
        if judgement.judged == 0 && judgement.breaches.is_empty() {
            idle.push((*check, judgement.idle.or_else(|| lack::not_brought_about(&history))));
        } else {
            is_judged = true;
        }
        findings.extend(judgement.breaches.into_iter().map(|breach| check.finding(breach, strictness)));
    }
    for check in ambient::CHECKS {
        let judgement = (check.judge)(&history);
        findings.extend(judgement.breaches.into_iter().map(|breach| check.finding(breach, strictness)));
    }
    // A check that had nothing to look at did not pass. Where something failed, or the run broke off, that is why.
    let is_explained = findings.iter().any(|finding| finding.verdict >= Verdict::Inconclusive);
    for (check, why) in idle {
        match why {
            Some(why) => not_judged.push(NotJudged { check: check.id, why: Lack::Reason(why) }),
            None if is_explained => {}
            None => findings.push(check.nothing_to_judge()),
        }
    }
    // A hub that limits requests was not seen as it is: what came of the refused ones says nothing more.
    if let Some(limited) = limit::rate_limited(&history) {
        findings = vec![limited];
    }
    excuse::excuse(&history, &mut findings);
    for finding in
        findings.iter_mut().filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
    {
        if let Some((cause, remedy)) = cause::of(&history, finding) {
            finding.cause = Some(cause);
            finding.remedy = remedy;
        }
    }
    let in_place = remedy::in_place(&transcript.header);
    for finding in &mut findings {
        finding.remedy = remedy::of_use(&finding.remedy, &in_place);
    }
    let lacks = if findings.is_empty() { lack::of_cell(&history, &not_judged, is_judged) } else { None };
    let clean = if lacks.is_some() { Verdict::NotApplicable } else { Verdict::Pass };
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(clean);
    Judged { verdict, findings, lacks, not_judged }
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
            cause: None,
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

    /// Says why there was nothing to judge, where a hub may leave nothing: the check is then not judged, for this reason. Has no
    /// effect once something was judged.
    pub fn idle_because(&mut self, why: impl Into<String>) {
        self.idle.get_or_insert_with(|| why.into());
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

#[cfg(test)]
mod tests;
