//! The lines of a run as it goes on: a line for each failing cell, or for every cell with what broke, why, and what mends it.
//!
//! On a terminal a progress bar or the running cells are shown below; elsewhere the lines come plain. Everything is understandable
//! without colour.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::console::Console;
use super::unjudged::unjudged;
use super::words::{count, finding_lines, inert, not_judged_line, one_line, seconds};
use super::{About, RunEvent, Sink, Summary};
use crate::check::{Finding, Lack, Verdict};
use crate::plan::{Cell, Need, Planned};
use crate::run::CellReport;
use crate::run::kind_hub::Phase;

/// How many findings of one cell are told in full; the others are in the transcript.
const FINDINGS_TOLD: usize = 3;

/// How much of the line of a failing cell is told, in characters, unless everything is.
const WIDTH: usize = 110;

/// How much is told while a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// Every cell, with its findings and remedies; else a line for each cell that fails or is not decided.
    pub everything: bool,
    /// Cells that are not applicable, too.
    pub not_applicable: bool,
}

/// Prints to standard error, or to any writer.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    telling: Telling,
    /// What is left, in one line.
    whole: Option<ProgressBar>,
    /// The cells that run, the oldest first.
    running: Vec<Cell>,
    colour: bool,
    progress: Option<MultiProgress>,
    bars: BTreeMap<Cell, ProgressBar>,
    about: Option<About>,
    total: usize,
    finished: usize,
    /// The width of the longest scenario id.
    width: usize,
}

impl Terminal {
    /// A reporter on standard error: with progress lines on a terminal, plain otherwise; coloured unless `NO_COLOR` is
    /// set.
    pub fn on_stderr(console: &Console, telling: Telling) -> Self {
        let progress = console.progress().cloned();
        Self { progress, colour: console.has_colours(), ..Self::on(Box::new(console.clone()), telling) }
    }

    /// A plain reporter on this writer.
    pub fn on(out: Box<dyn Write + Send>, telling: Telling) -> Self {
        Self {
            out,
            telling,
            whole: None,
            running: Vec::new(),
            colour: false,
            progress: None,
            bars: BTreeMap::new(),
            about: None,
            total: 0,
            finished: 0,
            width: 0,
        }
    }

    fn line(&mut self, line: &str) {
        let line = inert(line);
        match &self.progress {
            // What cannot be written to a closed terminal is not worth ending a run for.
            Some(progress) => drop(progress.println(line)),
            None => drop(writeln!(self.out, "{line}")),
        }
    }

    fn started(&mut self, planned: &[Planned], about: &About) {
        self.about = Some(about.clone());
        self.total = planned.len();
        self.width = planned.iter().map(|plan| plan.cell.scenario.len()).max().unwrap_or(0);
        if !self.telling.everything {
            let to_run = planned.iter().filter(|plan| plan.lacks.is_none()).count();
            // How many replicas stand behind a URL, the answer says where it is known.
            let place = match about.backend.as_str() {
                "url" => String::new(),
                backend => format!(" on {backend}, {}", count(about.replicas, "replica")),
            };
            self.line(&format!("     Running {}{place}", count(to_run, "cell")));
            self.whole = self.progress.as_ref().and_then(|progress| bar(progress, to_run));
            return;
        }
        let mut scenarios: Vec<_> = planned.iter().map(|plan| plan.cell.scenario).collect();
        scenarios.dedup();
        self.line(&format!(
            "    Starting {} ({}) on {}, {} of {}, run {}",
            count(planned.len(), "cell"),
            count(scenarios.len(), "scenario"),
            about.backend,
            count(about.replicas, "replica"),
            about.hub,
            about.run,
        ));
        for note in &about.notes {
            self.line(&format!("        note {note}"));
        }
        let mut behind: BTreeMap<Need, usize> = BTreeMap::new();
        for need in planned.iter().filter_map(|plan| plan.lacks).filter(is_told_once) {
            *behind.entry(need).or_default() += 1;
        }
        for (need, cells) in behind {
            self.line(&format!("        note {} not applicable: needs {need}", count(cells, "cell")));
        }
    }

    fn cell_started(&mut self, cell: Cell) {
        if !self.telling.everything {
            self.running.push(cell);
            return self.name_oldest();
        }
        let Some(progress) = &self.progress else { return };
        let bar = progress.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("     running [{elapsed:>9}] {msg}") {
            bar.set_style(style);
        }
        bar.set_message(cell.to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        self.bars.insert(cell, bar);
    }

    fn cell_finished(&mut self, report: &CellReport) {
        if let Some(bar) = self.bars.remove(&report.cell) {
            bar.finish_and_clear();
        }
        self.finished += 1;
        if !self.telling.everything {
            return self.shortly(report);
        }
        if matches!(&report.lacks, Some(Lack::Need(need)) if is_told_once(need)) {
            return;
        }
        let line = self.cell_line(report);
        self.line(&line);
        if report.verdict != Verdict::NotApplicable {
            self.explain(report);
        }
    }

    /// What the run waits for stands beside the bar.
    fn name_oldest(&self) {
        if let (Some(whole), Some(oldest)) = (&self.whole, self.running.first()) {
            whole.set_message(oldest.scenario);
        }
    }

    /// A line where something goes wrong.
    fn shortly(&mut self, report: &CellReport) {
        if let Some(whole) = self.whole.as_ref().filter(|_| report.ran()) {
            whole.inc(1);
        }
        self.running.retain(|cell| *cell != report.cell);
        self.name_oldest();
        let is_told = match report.verdict {
            Verdict::Fail | Verdict::Inconclusive => report.what_if.is_none(),
            Verdict::NotApplicable => self.telling.not_applicable,
            Verdict::Pass | Verdict::Warn => false,
        };
        if !is_told {
            return;
        }
        let (word, colour) = word(report);
        let worst = report.findings.iter().find(|finding| finding.verdict == report.verdict);
        let seen = worst.map(|finding| one_line(&finding.actual));
        let seen = seen.or_else(|| report.lacks.as_ref().map(ToString::to_string)).unwrap_or_default();
        let line = format!("{} {seen}", report.cell);
        // It stands whole with `-v`.
        let line = match line.char_indices().nth(WIDTH) {
            Some((end, _)) => format!("{}..", &line[..end]),
            None => line,
        };
        let line = format!("{} {}", self.paint(&format!("{word:>12}"), colour), line.trim_end());
        self.line(&line);
    }

    fn cell_line(&self, report: &CellReport) -> String {
        let (word, colour) = word(report);
        let took = if report.ran() { seconds(report.took) } else { " ".repeat(9) };
        let digits = self.total.to_string().len();
        let cell = report.cell;
        let axis = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let reason = match (&report.lacks, report.what_if) {
            (Some(lack), _) => format!("  {lack}"),
            (None, Some(what_if)) => format!("  {}, not counted: {what_if}", report.verdict),
            (None, None) => String::new(),
        };
        format!(
            "{} [{took}] ({:>digits$}/{}) {:width$}  {:9}  {:10}{reason}",
            self.paint(&format!("{word:>12}"), colour),
            self.finished,
            self.total,
            cell.scenario,
            axis(cell.affinity.map(|affinity| affinity.to_string())),
            axis(cell.transport.map(|transport| transport.to_string())),
            width = self.width,
        )
        .trim_end()
        .to_owned()
    }

    fn explain(&mut self, report: &CellReport) {
        for note in &report.notes {
            self.line(&format!("             told: {note}"));
        }
        if report.what_if.is_some() {
            self.explain_what_if(report);
            return;
        }
        for not_judged in &report.not_judged {
            self.line(&format!("             {}", not_judged_line(not_judged)));
        }
        for finding in report.findings.iter().take(FINDINGS_TOLD) {
            self.finding(finding);
        }
        if report.findings.len() > FINDINGS_TOLD {
            let more = count(report.findings.len() - FINDINGS_TOLD, "more finding");
            self.line(&format!("             and {more}"));
        }
        if report.findings.is_empty() {
            return;
        }
        let remedies: Vec<String> = report.findings.iter().map(|finding| finding.remedy.clone()).collect();
        let mut told: Vec<String> = Vec::new();
        for remedy in remedies {
            if !remedy.is_empty() && !told.contains(&remedy) {
                self.line(&format!("             remedy: {remedy}"));
                told.push(remedy);
            }
        }
        if let Some(path) = &report.transcript {
            self.line(&format!("             transcript: {}", path.display()));
        }
        if let Some(path) = &report.evidence {
            self.line(&format!("             evidence: {}", path.display()));
        }
        if let Some(about) = &self.about {
            let line = format!("             rerun: {}", report.rerun(&about.rerun));
            self.line(&line);
        }
    }

    /// What is not deployed has no remedy: what broke first is enough.
    fn explain_what_if(&mut self, report: &CellReport) {
        if let Some(first) = report.findings.iter().find(|finding| finding.verdict == report.verdict) {
            self.line(&format!("             {}: {}", first.check, first.actual));
            if let Some(path) = &report.transcript {
                self.line(&format!("             transcript: {}", path.display()));
            }
        }
    }

    fn finding(&mut self, finding: &Finding) {
        for line in finding_lines(finding) {
            self.line(&format!("             {line}"));
        }
    }

    fn finished(&mut self, summary: &Summary) {
        if let Some(whole) = self.whole.take() {
            whole.finish_and_clear();
        }
        if self.telling.everything {
            self.line("────────────");
        }
        let failed_as_expected = |cell: &String| {
            let is_cell = |report: &&CellReport| report.cell.to_string() == *cell;
            summary.reports.iter().find(is_cell).is_none_or(|report| report.verdict == Verdict::Fail)
        };
        for (cell, reason) in &summary.expected {
            let what = if failed_as_expected(cell) { "expected to fail" } else { "expected to be unsure" };
            self.line(&format!("    {what}: {cell} ({reason})"));
        }
        for cell in &summary.stale {
            self.line(&format!("       stale: {cell} is listed as an expected failure, and it did not fail"));
        }
        if self.telling.everything {
            self.counts(summary, failed_as_expected);
        }
        if let Some(reason) = &summary.interrupted {
            self.line(&format!("warning: {reason}; {} of {} cells ran", summary.reports.len(), self.total));
        }
    }

    fn counts(&mut self, summary: &Summary, failed_as_expected: impl Fn(&String) -> bool) {
        let of = |verdict| summary.judged().filter(|report| report.verdict == verdict).count();
        let failed = of(Verdict::Fail);
        let expected = match summary.expected.iter().filter(|(cell, _)| failed_as_expected(cell)).count() {
            0 => String::new(),
            n => format!(" ({n} as expected)"),
        };
        let what_if = match summary.reports.len() - summary.judged().count() {
            0 => String::new(),
            n => format!(", {n} not deployed (what if)"),
        };
        let line = format!(
            "     Summary [{}] {}: {} passed, {} warned, {failed} failed{expected}, {} not applicable, {} inconclusive{what_if}",
            seconds(summary.took),
            count(summary.reports.len(), "cell"),
            of(Verdict::Pass),
            of(Verdict::Warn),
            of(Verdict::NotApplicable),
            of(Verdict::Inconclusive),
        );
        self.line(&line);
        if let Some(line) = unjudged(summary) {
            self.line(&format!("        note {line}"));
        }
        if !summary.phases.is_empty() {
            let line = time_line(summary);
            self.line(&line);
        }
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A verdict as its line begins, and its colour.
fn word(report: &CellReport) -> (&'static str, &'static str) {
    match report.verdict {
        _ if report.what_if.is_some() => ("WHAT IF", "2"),
        Verdict::Pass => ("PASS", "32"),
        Verdict::Fail => ("FAIL", "31;1"),
        Verdict::Warn => ("WARN", "33"),
        Verdict::Inconclusive => ("UNSURE", "35"),
        Verdict::NotApplicable => ("N/A", "2"),
    }
}

/// What is left of so many cells, and for how long.
fn bar(progress: &MultiProgress, cells: usize) -> Option<ProgressBar> {
    let style = ProgressStyle::with_template("  {bar:24} {pos} of {len} · {eta} left · {msg}").ok()?;
    let bar = progress.add(ProgressBar::new(u64::try_from(cells).ok()?));
    bar.set_style(style.progress_chars("##-"));
    bar.enable_steady_tick(Duration::from_millis(250));
    Some(bar)
}

/// Whether a need that is missing is told once for all cells that lack it: they stand behind one finding.
fn is_told_once(need: &Need) -> bool {
    matches!(need, Need::Way(..) | Need::Unlimited)
}

/// Where the time went.
fn time_line(summary: &Summary) -> String {
    let ran = summary.reports.iter().filter(|report| report.ran());
    let (number, together) =
        ran.fold((0_u32, Duration::ZERO), |(number, sum), report| (number + 1, sum + report.took));
    let each = together / number.max(1);
    let (end, begin): (Vec<_>, Vec<_>) = summary.phases.iter().partition(|phase| phase.name.ends_with("end"));
    let told = |phases: Vec<&Phase>| -> Vec<String> {
        phases.iter().map(|phase| format!("{} {:.1} s", phase.name, phase.took.as_secs_f64())).collect()
    };
    let cells =
        format!("{number} cells x {:.1} s in {:.1} s", each.as_secs_f64(), summary.cells_took.as_secs_f64());
    let parts: Vec<String> = told(begin).into_iter().chain([cells]).chain(told(end)).collect();
    format!("        Time {}", parts.join(", "))
}

impl Sink for Terminal {
    fn event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Surveying { hub } => self.line(&format!("   Surveying {hub}")),
            RunEvent::Started { planned, about } => self.started(planned, about),
            RunEvent::CellStarted(cell) => self.cell_started(*cell),
            RunEvent::CellFinished(report) => self.cell_finished(report),
            RunEvent::Finished(summary) => self.finished(summary),
        }
    }
}
