//! The report that programs read: one JSON document, written when the run is over.

use std::path::PathBuf;

use serde::Serialize;

use super::{About, RunEvent, Sink, Summary, WriteErrors};
use crate::check::{self, Finding, Lack, Verdict};
use crate::run::CellReport;

/// The version of the document. It rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// The document.
#[derive(Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of hubcheck that wrote it.
    pub hubcheck: &'static str,
    /// Where the replicas ran.
    pub backend: String,
    /// The hub, as the user named it.
    pub hub: String,
    /// How many replicas a cell began with.
    pub replicas: usize,
    /// The run's name.
    pub run: String,
    /// Whether the run came to its end.
    pub complete: bool,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// Where the time went, cells aside: name and seconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<(&'static str, f64)>,
    /// Every cell, sorted by name.
    pub cells: Vec<CellRow>,
    /// Cells that were listed as expected failures and did not fail.
    pub stale: Vec<String>,
}

/// One cell of the document.
#[derive(Debug, Serialize)]
pub struct CellRow {
    /// `family/scenario@affinity-transport`.
    pub cell: String,
    /// The scenario.
    pub scenario: String,
    /// The affinity, when it varies with it.
    pub affinity: Option<String>,
    /// The transport, when it varies with it.
    pub transport: Option<String>,
    /// `pass`, `fail`, `warn`, `inconclusive` or `not-applicable`.
    pub verdict: Verdict,
    /// What the cell has and the user does not deploy; then the verdict counts for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_if: Option<String>,
    /// Whether the failure was listed as expected.
    pub expected: bool,
    /// The reason that the list gives.
    pub expected_reason: Option<String>,
    /// The need that is missing, when it does not apply.
    pub needs: Option<String>,
    /// What was seen instead of what it is about, when it ran and does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The checks that could not be applied: the verdict does not rest on them.
    pub not_judged: Vec<NotJudged>,
    /// What the verdict rests on.
    pub findings: Vec<Finding>,
    /// What is worth telling whatever the verdict is, such as what the cluster said.
    pub notes: Vec<String>,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// Where its transcript is.
    pub transcript: Option<PathBuf>,
    /// The folder with what people read about it, when it did not pass.
    pub evidence: Option<PathBuf>,
}

/// A check that could not be applied.
#[derive(Debug, Serialize)]
pub struct NotJudged {
    /// The check's id.
    pub check: &'static str,
    /// The need that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// Why there was nothing to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Writes the document to a file.
pub struct Json {
    path: PathBuf,
    about: Option<About>,
    errors: WriteErrors,
}

impl Json {
    /// A reporter that writes to this path.
    pub fn new(path: PathBuf, errors: WriteErrors) -> Self {
        Self { path, about: None, errors }
    }

    fn write(&self, summary: &Summary) {
        let Some(about) = &self.about else { return };
        let written = serde_json::to_string_pretty(&document(about, summary))
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&self.path, text + "\n"));
        if let Err(error) = written {
            self.errors.add(&self.path, &error);
        }
    }
}

impl Sink for Json {
    fn event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Started { about, .. } => self.about = Some((*about).clone()),
            RunEvent::Finished(summary) => self.write(summary),
            RunEvent::Surveying { .. } | RunEvent::CellStarted(_) | RunEvent::CellFinished(_) => {}
        }
    }
}

fn document(about: &About, summary: &Summary) -> Document {
    let mut cells: Vec<CellRow> = summary.reports.iter().map(|report| row(report, summary)).collect();
    cells.sort_by(|left, right| left.cell.cmp(&right.cell));
    Document {
        schema: SCHEMA,
        hubcheck: env!("CARGO_PKG_VERSION"),
        backend: about.backend.clone(),
        hub: about.hub.clone(),
        replicas: about.replicas,
        run: about.run.clone(),
        complete: summary.interrupted.is_none(),
        duration_s: summary.took.as_secs_f64(),
        phases: summary.phases.iter().map(|phase| (phase.name, phase.took.as_secs_f64())).collect(),
        cells,
        stale: summary.stale.clone(),
    }
}

fn row(report: &CellReport, summary: &Summary) -> CellRow {
    let cell = report.cell.to_string();
    let reason = summary.why_expected(&cell).map(str::to_owned);
    let not_judged = |not_judged: &check::NotJudged| {
        let (needs, reason) = told(Some(&not_judged.why));
        NotJudged { check: not_judged.check, needs, reason }
    };
    let (needs, why_not) = told(report.lacks.as_ref());
    CellRow {
        scenario: report.cell.scenario.to_owned(),
        affinity: report.cell.affinity.map(|affinity| affinity.to_string()),
        transport: report.cell.transport.map(|transport| transport.to_string()),
        verdict: report.verdict,
        what_if: report.what_if.map(|what_if| what_if.to_string()),
        expected: reason.is_some(),
        expected_reason: reason,
        needs,
        reason: why_not,
        not_judged: report.not_judged.iter().map(not_judged).collect(),
        findings: report.findings.clone(),
        notes: report.notes.clone(),
        duration_s: report.took.as_secs_f64(),
        transcript: report.transcript.clone(),
        evidence: report.evidence.clone(),
        cell,
    }
}

/// A need by its name, or a reason.
fn told(lack: Option<&Lack>) -> (Option<String>, Option<String>) {
    match lack {
        Some(Lack::Need(need)) => (Some(need.to_string()), None),
        Some(Lack::Reason(reason)) => (None, Some(reason.clone())),
        None => (None, None),
    }
}
