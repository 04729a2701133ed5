//! The report that CI systems read: a test suite per family, a test case per cell.
//!
//! It agrees with the exit code: a failure that was expected is skipped, and a cell that was to fail and did not fails.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::words::{finding_lines, not_judged_line};
use super::{About, RunEvent, Sink, Summary, WriteErrors};
use crate::check::Verdict;
use crate::run::CellReport;

/// Writes the document to a file.
pub struct JUnit {
    path: PathBuf,
    about: Option<About>,
    errors: WriteErrors,
}

impl JUnit {
    /// A reporter that writes to this path.
    pub fn new(path: PathBuf, errors: WriteErrors) -> Self {
        Self { path, about: None, errors }
    }

    fn write(&self, summary: &Summary) {
        let Some(about) = &self.about else { return };
        let written = document(about, summary).to_string().map_err(io::Error::other);
        if let Err(error) = written.and_then(|text| std::fs::write(&self.path, text)) {
            self.errors.add(&self.path, &error);
        }
    }
}

impl Sink for JUnit {
    fn event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Started { about, .. } => self.about = Some((*about).clone()),
            RunEvent::Finished(summary) => self.write(summary),
            RunEvent::Surveying { .. } | RunEvent::CellStarted(_) | RunEvent::CellFinished(_) => {}
        }
    }
}

fn document(about: &About, summary: &Summary) -> Report {
    let mut families: BTreeMap<&str, Vec<&CellReport>> = BTreeMap::new();
    for report in &summary.reports {
        families.entry(family(report)).or_default().push(report);
    }
    let mut document = Report::new(format!("hubcheck of {} on {}", about.hub, about.backend));
    document.set_time(summary.took);
    for (family, mut reports) in families {
        reports.sort_by_key(|report| report.cell.to_string());
        let mut suite = TestSuite::new(family);
        suite.set_time(reports.iter().map(|report| report.took).sum());
        suite.add_property(("run", about.run.as_str()));
        if let Some(reason) = &summary.interrupted {
            suite.set_system_err(format!("{reason}: cells are missing"));
        }
        suite.add_test_cases(reports.into_iter().map(|report| case(about, summary, report)));
        document.add_test_suite(suite);
    }
    document
}

fn case(about: &About, summary: &Summary, report: &CellReport) -> TestCase {
    let cell = report.cell.to_string();
    let told = told(about, report);
    let mut case = TestCase::new(cell.as_str(), status(summary, report, &cell, &told));
    case.set_classname(family(report)).set_time(report.took);
    let is_told_elsewhere = matches!(report.verdict, Verdict::Fail | Verdict::Inconclusive);
    if !is_told_elsewhere && !told.is_empty() {
        case.set_system_out(told);
    }
    case
}

fn status(summary: &Summary, report: &CellReport, cell: &str, told: &str) -> TestCaseStatus {
    if summary.stale.iter().any(|stale| stale == cell) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message("it is listed as an expected failure, and it did not fail");
        return status;
    }
    let mut status = match report.verdict {
        Verdict::Fail | Verdict::Inconclusive if report.what_if.is_some() => TestCaseStatus::skipped(),
        Verdict::Pass | Verdict::Warn => return TestCaseStatus::success(),
        Verdict::NotApplicable => TestCaseStatus::skipped(),
        Verdict::Fail | Verdict::Inconclusive if summary.why_expected(cell).is_some() => {
            TestCaseStatus::skipped()
        }
        Verdict::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    let message = match (&report.lacks, report.what_if, summary.why_expected(cell)) {
        (Some(lack), _, _) => lack.to_string(),
        (None, Some(what_if), _) => format!("{} with {what_if}: not counted", report.verdict),
        (None, None, Some(reason)) if report.verdict == Verdict::Inconclusive => {
            format!("expected to be unsure: {reason}")
        }
        (None, None, Some(reason)) => format!("expected to fail: {reason}"),
        (None, None, None) => {
            let worst = report.findings.iter().find(|finding| finding.verdict == report.verdict);
            worst.map_or_else(String::new, |finding| format!("{}: {}", finding.check, finding.actual))
        }
    };
    status.set_message(message).set_type(report.verdict.to_string());
    if !told.is_empty() {
        status.set_description(told);
    }
    status
}

/// What is worth telling of a cell, in the words of the terminal.
fn told(about: &About, report: &CellReport) -> String {
    let mut lines: Vec<String> = report.notes.iter().map(|note| format!("told: {note}")).collect();
    lines.extend(report.not_judged.iter().map(not_judged_line));
    for finding in &report.findings {
        lines.extend(finding_lines(finding));
        lines.extend((!finding.remedy.is_empty()).then(|| format!("remedy: {}", finding.remedy)));
    }
    if !report.findings.is_empty() {
        lines.extend(report.transcript.iter().map(|path| format!("transcript: {}", path.display())));
        lines.extend(report.evidence.iter().map(|path| format!("evidence: {}", path.display())));
        lines.push(format!("rerun: {}", report.rerun(&about.rerun)));
    }
    lines.join("\n")
}

fn family(report: &CellReport) -> &'static str {
    report.cell.scenario.split('/').next().unwrap_or_default()
}
