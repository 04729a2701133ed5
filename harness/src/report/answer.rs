//! The answer at the end of a run, on one screen: whether the hub is safe as deployed, what breaks it, and which line mends it.
//!
//! It goes to standard output, everything else of a run to standard error. Pure but for the printing.

use std::collections::BTreeMap;
use std::io::Write;

use super::words::{count, inert, one_line};
use super::works::works;
use super::{About, RunEvent, Sink, Summary};
use crate::check::{Cause, Finding, Verdict, remedy};
use crate::plan::{Affinity, Transport, WhatIf};
use crate::run::CellReport;

/// How wide the answer may be, in columns.
const WIDTH: usize = 80;

/// How many lines the answer may have: one screen.
const HEIGHT: usize = 24;

/// How many lines follow the faults.
const TAIL: usize = 4;

/// How many faults are told, and how many warnings beside them; the others are counted.
const TOLD: usize = 3;

/// How many numbers of faults stand in one place of the table.
const NUMBERS: usize = 4;

/// How many lines the name of the hub may take.
const NAME_LINES: usize = 2;

/// How many lines a step of a remedy may take.
const STEP_LINES: usize = 3;

/// How many lines the sentence of a fault may take.
const SENTENCE_LINES: usize = 2;

/// How many lines the evidence of a fault may take.
const EVIDENCE_LINES: usize = 3;

/// How many lines something may take that is not deployed.
const WHAT_IF_LINES: usize = 2;

/// How many lines say what works.
const WORKS_LINES: usize = 3;

/// How many steps of a remedy are told.
const STEPS: usize = 3;

/// Prints the answer when a run is over.
pub struct Answer {
    out: Box<dyn Write + Send>,
    about: Option<About>,
}

/// What one fault did.
struct Fault<'r> {
    sentence: String,
    verdict: Verdict,
    /// The first finding of it, which is shown.
    shown: &'r Finding,
    cells: Vec<&'r CellReport>,
}

// === impl Answer ===

impl Answer {
    /// The answer on standard output.
    pub fn on_stdout() -> Self {
        Self::on(Box::new(std::io::stdout()))
    }

    /// The answer on this writer.
    pub fn on(out: Box<dyn Write + Send>) -> Self {
        Self { out, about: None }
    }
}

impl Sink for Answer {
    fn event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Started { about, .. } => self.about = Some((*about).clone()),
            RunEvent::Finished(summary) => {
                if let Some(about) = &self.about {
                    // What cannot be written to a closed pipe is not worth ending a run for.
                    drop(self.out.write_all((answer(about, summary).join("\n") + "\n").as_bytes()));
                }
            }
            RunEvent::Surveying { .. } | RunEvent::CellStarted(_) | RunEvent::CellFinished(_) => {}
        }
    }
}

// === the answer ===

/// The lines of the answer, each at most [`WIDTH`] columns wide.
pub fn answer(about: &About, summary: &Summary) -> Vec<String> {
    let counted = |report: &&CellReport| summary.why_expected(&report.cell.to_string()).is_none();
    let judged: Vec<&CellReport> = summary.judged().filter(counted).collect();
    let faults = faults(&judged);
    let mut place = match &about.found {
        Some(found) => format!(", found at {found}"),
        None if is_url(about) => String::new(),
        None => format!(" on {}, {}", about.backend, count(about.replicas, "replica")),
    };
    if about.everything.is_some() {
        place += ", quick profile";
    }
    let mut lines = at_most(wrapped(&format!("{}{place}", one_line(&about.hub)), ""), NAME_LINES);
    lines.push(String::new());
    lines.extend(wrapped(&headline(about, summary, &judged), "  "));
    lines.extend(table(summary, &faults));
    let broken = faults.iter().filter(|fault| fault.verdict != Verdict::Warn).count();
    let mut told = 0;
    let works = works(&judged).map(|line| at_most(wrapped(&line, "  "), WORKS_LINES)).unwrap_or_default();
    let tail = TAIL + usize::from(about.everything.is_some());
    let height = (HEIGHT - tail).saturating_sub(works.len() + usize::from(!works.is_empty()));
    for (number, fault) in (1..).zip(&faults).take(broken.min(TOLD)) {
        let block = fault.lines(number, broken == 1);
        // The worst is told whatever its length is.
        if told > 0 && lines.len() + 1 + block.len() > height {
            break;
        }
        lines.push(String::new());
        lines.extend(block);
        told += 1;
    }
    let room = height.saturating_sub(lines.len() + 1).min(TOLD);
    let shown: Vec<String> =
        (1..).zip(&faults).skip(told).take(room).map(|(number, fault)| fault.line(number)).collect();
    let untold = faults.len() - told - shown.len();
    if !shown.is_empty() {
        lines.push(String::new());
        lines.extend(shown);
    }
    if untold > 0 {
        lines.push(format!("  and {}: `-v` tells all", count(untold, "more fault")));
    }
    if !works.is_empty() && lines.len() + 1 + works.len() + tail - 1 <= HEIGHT {
        lines.push(String::new());
        lines.extend(works);
    }
    lines.push(String::new());
    lines.extend(wrapped(&counts(summary), "  "));
    if let Some(failed) =
        faults.first().and_then(|fault| fault.cells.iter().find(|report| report.transcript.is_some()))
    {
        lines.push(format!("  again: {}", failed.rerun(&about.rerun)));
    }
    lines.extend(about.everything.iter().map(|line| format!("  every cell: {line}")));
    lines.iter().map(|line| inert(line)).collect()
}

/// The verdict of the whole run, in the words of its user.
fn headline(about: &About, summary: &Summary, judged: &[&CellReport]) -> String {
    let replicas =
        if is_url(about) { String::new() } else { format!(" with {}", count(about.replicas, "replica")) };
    let has = |verdict| judged.iter().any(|report| report.verdict == verdict);
    let ran = judged.iter().any(|report| report.transcript.is_some() && !is_of_survey(report));
    if let Some(why) = &summary.interrupted {
        return format!("NOT DECIDED: {why}");
    }
    if has(Verdict::Fail) && !ran {
        return "CANNOT BE USED this way".to_owned();
    }
    if has(Verdict::Fail) {
        return format!("NOT SAFE{replicas}");
    }
    if !summary.stale.is_empty() {
        return format!(
            "{} listed as expected did not fail: mend the list",
            count(summary.stale.len(), "failure")
        );
    }
    if has(Verdict::Inconclusive) {
        let cells = judged.iter().filter(|report| report.verdict == Verdict::Inconclusive).count();
        return format!("NOT DECIDED for {cells} of {}", count(judged.len(), "cell"));
    }
    if !judged.iter().any(|report| matches!(report.verdict, Verdict::Pass | Verdict::Warn)) {
        return "NOTHING JUDGED: no cell applies".to_owned();
    }
    let but = if has(Verdict::Warn) { ", with warnings" } else { "" };
    if is_url(about) {
        // Behind a URL the number of replicas may be unknown: "safe" would say too much.
        format!("NO FAULT through this address{but}")
    } else if about.is_whole {
        format!("SAFE{replicas}{but}")
    } else if about.everything.is_some() {
        format!("NO FAULT in those cells of the quick profile that were chosen{but}")
    } else {
        format!("NO FAULT in the cells that were chosen{but}")
    }
}

/// A row for each transport and a column for each affinity: the worst verdict of its cells, with the faults behind it.
fn table(summary: &Summary, faults: &[Fault<'_>]) -> Vec<String> {
    let is_shown = |report: &&CellReport| report.verdict != Verdict::NotApplicable && !is_of_survey(report);
    let cells: Vec<&CellReport> = summary.reports.iter().filter(is_shown).collect();
    let transports = Transport::ALL.into_iter().map(Some).chain([None]);
    let transports: Vec<_> =
        transports.filter(|one| cells.iter().any(|report| report.cell.transport == *one)).collect();
    let mut columns: Vec<Option<Affinity>> = cells.iter().map(|report| report.cell.affinity).collect();
    columns.sort_by_key(|affinity| (affinity.is_none(), *affinity));
    columns.dedup();
    if transports.is_empty() {
        return Vec::new();
    }
    let mut head = format!("  {:12}", "transport");
    for column in &columns {
        let mut of_column = cells.iter().filter(|report| report.cell.affinity == *column);
        let is_what_if = of_column.all(|report| report.what_if.is_some());
        let name = column.map_or("all other cells".to_owned(), |affinity| format!("affinity {affinity}"));
        head += &format!(" {:21}", if is_what_if { format!("({name})") } else { name });
    }
    let mut lines = vec![String::new(), head.trim_end().to_owned()];
    for transport in transports {
        let name = transport.map_or("(cluster)".to_owned(), |transport| transport.to_string());
        let mut line = format!("  {name:12}");
        for column in &columns {
            let is_here =
                |report: &&&CellReport| report.cell.transport == transport && report.cell.affinity == *column;
            let here: Vec<&CellReport> = cells.iter().filter(is_here).copied().collect();
            let (what_if, deployed): (Vec<_>, Vec<_>) =
                here.iter().partition(|report| report.what_if.is_some());
            let is_what_if = deployed.is_empty() && !what_if.is_empty();
            let shown = place(if is_what_if { &what_if } else { &deployed }, faults);
            line += &format!(" {:21}", if is_what_if { format!("({shown})") } else { shown });
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.extend(what_ifs(&cells));
    lines
}

/// A line for each thing that is not deployed: what would come of it.
fn what_ifs(cells: &[&CellReport]) -> Vec<String> {
    let mut of_each: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for report in cells {
        let Some(what_if) = report.what_if else { continue };
        let thought = match what_if {
            WhatIf::Affinity { here, .. } => format!("with affinity `{here}`"),
            WhatIf::Replicas { here, .. } => format!("with {}", count(here, "replica")),
            WhatIf::Path => "when the affinity expires, or a client comes by another node".to_owned(),
        };
        let (failing, all) = of_each.entry(thought).or_default();
        *failing += usize::from(report.verdict == Verdict::Fail);
        *all += 1;
    }
    let lines = of_each.into_iter().flat_map(|(thought, (failing, all))| {
        let comes = if failing == 0 {
            format!("no fault in {}", count(all, "cell"))
        } else {
            format!("{failing} of {} fail", count(all, "cell"))
        };
        at_most(wrapped(&format!("not deployed, {thought}: {comes}"), "  "), WHAT_IF_LINES)
    });
    lines.collect()
}

/// The worst verdict of these cells, and the numbers of the faults in them.
fn place(reports: &[&CellReport], faults: &[Fault<'_>]) -> String {
    let Some(worst) = reports.iter().map(|report| report.verdict).max() else { return "-".to_owned() };
    let word = match worst {
        Verdict::NotApplicable => "not applicable",
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Inconclusive => "not decided",
        Verdict::Fail => "fail",
    };
    let is_here = |fault: &&Fault<'_>| {
        fault.cells.iter().any(|of_fault| reports.iter().any(|report| report.cell == of_fault.cell))
    };
    let mut numbers: Vec<String> = (1..)
        .zip(faults)
        .filter(|(_, fault)| is_here(fault))
        .map(|(number, _): (usize, _)| number.to_string())
        .collect();
    if numbers.len() > NUMBERS {
        numbers.truncate(NUMBERS);
        numbers.push("..".to_owned());
    }
    if numbers.is_empty() { word.to_owned() } else { format!("{word} [{}]", numbers.join(",")) }
}

/// The faults behind these verdicts, the worst and the most frequent first.
fn faults<'r>(judged: &[&'r CellReport]) -> Vec<Fault<'r>> {
    let mut found: BTreeMap<(Option<Cause>, &str), Fault<'r>> = BTreeMap::new();
    for report in judged.iter().filter(|report| report.verdict >= Verdict::Warn) {
        for finding in report.findings.iter().filter(|finding| finding.verdict >= Verdict::Warn) {
            let key = (finding.cause, if finding.cause.is_some() { "" } else { finding.check.as_str() });
            let fault = found.entry(key).or_insert_with(|| Fault {
                sentence: finding.cause.map_or_else(|| sentence(finding), |cause| cause.to_string()),
                verdict: finding.verdict,
                shown: finding,
                cells: Vec::new(),
            });
            if finding.verdict > fault.verdict {
                (fault.verdict, fault.shown) = (finding.verdict, finding);
            }
            if !fault.cells.iter().any(|known| known.cell == report.cell) {
                fault.cells.push(report);
            }
        }
    }
    let mut faults: Vec<Fault<'r>> = found.into_values().collect();
    // Warnings come last: their numbers follow those of the others.
    faults.sort_by_key(|fault| {
        (fault.verdict == Verdict::Warn, std::cmp::Reverse((fault.verdict, fault.cells.len())))
    });
    faults
}

/// What a finding breaks, as a sentence.
fn sentence(finding: &Finding) -> String {
    let mut characters = finding.requirement.trim_end_matches('.').chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let rule = first + characters.as_str();
    match finding.verdict {
        Verdict::Inconclusive => format!("Could not tell: {rule}."),
        Verdict::NotApplicable | Verdict::Pass | Verdict::Warn | Verdict::Fail => format!("Broken: {rule}."),
    }
}

// === impl Fault ===

impl Fault<'_> {
    /// One that stands alone has more room.
    fn lines(&self, number: usize, is_alone: bool) -> Vec<String> {
        let cells = count(self.cells.len(), "cell");
        let sentence = wrapped(&format!("[{number}] {cells}: {}", one_line(&self.sentence)), "  ");
        let (evidence, steps) =
            if is_alone { (EVIDENCE_LINES, STEPS) } else { (EVIDENCE_LINES - 1, STEPS - 1) };
        let mut lines = at_most(sentence, SENTENCE_LINES);
        lines.extend(at_most(wrapped(&one_line(&self.shown.actual), "      "), evidence));
        let mut word = "Fix   ";
        for step in remedy::steps(&self.shown.remedy).into_iter().map(|(_, step)| step).take(steps) {
            if !step.is_empty() {
                let step = wrapped_after(&one_line(step), &format!("      {word}"), "            ");
                lines.extend(at_most(step, STEP_LINES));
                word = "or    ";
            }
        }
        lines
    }

    /// On one line; all of it is told with `-v`.
    fn line(&self, number: usize) -> String {
        let cell = self.cells.first().map_or("", |report| report.cell.scenario);
        let word = match self.verdict {
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "not decided",
            Verdict::NotApplicable | Verdict::Pass | Verdict::Warn => "warning",
        };
        let line = format!("  [{number}] {word} {cell}: {}", one_line(&self.shown.requirement));
        let mut lines = at_most(wrapped(&line, ""), 1);
        lines.pop().unwrap_or_default()
    }
}

// === helpers ===

fn is_of_survey(report: &CellReport) -> bool {
    report.cell.scenario.starts_with("survey/")
}

/// Whether the hub is one that hubcheck did not start: how many replicas it has, the survey says above.
fn is_url(about: &About) -> bool {
    about.backend == "url"
}

fn counts(summary: &Summary) -> String {
    let of = |verdict| summary.judged().filter(|report| report.verdict == verdict).count();
    let mut parts: Vec<String> = Vec::new();
    for (verdict, word) in [
        (Verdict::Pass, "passed"),
        (Verdict::Warn, "warned"),
        (Verdict::Fail, "failed"),
        (Verdict::Inconclusive, "not decided"),
        (Verdict::NotApplicable, "not applicable"),
    ] {
        if of(verdict) > 0 {
            parts.push(format!("{} {word}", of(verdict)));
        }
    }
    let what_if = summary.reports.len() - summary.judged().count();
    if what_if > 0 {
        parts.push(format!("{what_if} what if"));
    }
    if !summary.expected.is_empty() {
        parts.push(format!("{} as expected", summary.expected.len()));
    }
    format!("{} ({:.1} s)", parts.join(", "), summary.took.as_secs_f64())
}

/// The first of these lines, with dots where others follow.
fn at_most(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(WIDTH - 3).collect();
            *last = format!("{} ..", kept.trim_end());
        }
    }
    lines
}

fn wrapped(text: &str, indent: &str) -> Vec<String> {
    wrapped_after(text, indent, indent)
}

/// Text in lines of at most [`WIDTH`] columns, the first after one text and the others after another. A longer word stands alone.
fn wrapped_after(text: &str, first: &str, others: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, others.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
        is_empty = false;
    }
    lines.push(line);
    lines
}
