//! Plurals, durations and findings, in one place.

use std::time::Duration;

use crate::check::{Finding, Lack, Level, NotJudged, Verdict};

/// `1 cell`, `2 cells`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("{n} {noun}") } else { format!("{n} {}", plural(noun)) }
}

/// Seconds with three decimals, right-aligned to eight characters.
pub fn seconds(duration: Duration) -> String {
    format!("{:8.3}s", duration.as_secs_f64())
}

/// How much a rule weighs whose breach was found.
pub fn weight(finding: &Finding) -> &'static str {
    match (finding.verdict, finding.level) {
        (Verdict::Fail, _) => "must",
        (Verdict::Warn, Some(Level::IgnoredMust)) => "must (most servers ignore it)",
        (Verdict::Warn, _) => "should",
        (Verdict::Inconclusive, _) => "unsure",
        (Verdict::Pass | Verdict::NotApplicable, _) => "note",
    }
}

/// A finding without its remedy: the rule, what had to be, and what was.
pub fn finding_lines(finding: &Finding) -> [String; 3] {
    let Finding { check, requirement, source, expected, actual, .. } = finding;
    let at = finding.at.map(|at| format!(" at #{at}")).unwrap_or_default();
    [
        format!("{}: {requirement} ({check}, {source})", weight(finding)),
        format!("expected: {expected}"),
        format!("  actual: {actual}{at}"),
    ]
}

/// A check that could not be applied.
pub fn not_judged_line(not_judged: &NotJudged) -> String {
    match &not_judged.why {
        Lack::Need(need) => format!("not judged: {} needs {need}", not_judged.check),
        Lack::Reason(reason) => format!("not judged: {}: {reason}", not_judged.check),
    }
}

fn plural(noun: &str) -> String {
    if let Some(stem) = noun.strip_suffix('y').filter(|stem| !stem.ends_with('a')) {
        return format!("{stem}ies");
    }
    format!("{noun}s")
}
