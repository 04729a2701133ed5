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
        format!("expected: {}", one_line(expected)),
        format!("  actual: {}{at}", one_line(actual)),
    ]
}

/// A check that could not be applied.
pub fn not_judged_line(not_judged: &NotJudged) -> String {
    match &not_judged.why {
        Lack::Need(need) => format!("not judged: {} needs {need}", not_judged.check),
        Lack::Reason(reason) => format!("not judged: {}: {reason}", not_judged.check),
    }
}

/// Text of a hub on one line, with its control characters escaped.
pub fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = words.chars().map(|character| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    });
    shown.collect()
}

/// A line that is no command to GitHub's runner, which takes `::name::` at the begin of a line, after blanks too, and `##[name]`
/// anywhere.
pub fn inert(line: &str) -> String {
    let line = line.replace("##[", "# #[");
    let blanks = line.len() - line.trim_start().len();
    match line[blanks..].strip_prefix("::") {
        Some(rest) => format!("{}: :{rest}", &line[..blanks]),
        None => line,
    }
}

fn plural(noun: &str) -> String {
    if let Some(stem) = noun.strip_suffix('y').filter(|stem| !stem.ends_with('a')) {
        return format!("{stem}ies");
    }
    format!("{noun}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hub_says_stays_on_its_line_and_commands_nobody() {
        assert_eq!(one_line("a\r\n\tb  \u{1b}[31mred\u{7}"), "a b \\u{1b}[31mred\\u{7}");
        assert_eq!(inert("   ::error file=x::y"), "   : :error file=x::y");
        assert_eq!(inert("a ::b ##[error]c"), "a ::b # #[error]c");
    }
}
