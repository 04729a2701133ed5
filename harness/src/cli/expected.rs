//! Expected failures: a TOML file of cells and reasons. A listed cell that does not fail is stale. A cell may be listed as
//! inconclusive, too.

use std::path::Path;

use serde::Deserialize;

use super::bad_input::CommandError;
use crate::check::Verdict;
use crate::plan::{self, Offers, Outline, Selection};
use crate::run::CellReport;
use crate::run::rig::surveyed::SURVEY;

/// The file's content.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Every expected failure.
    #[serde(default)]
    pub failure: Vec<ExpectedFailure>,
}

/// One expected failure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFailure {
    /// The cell, `scenario@affinity-transport`.
    pub cell: String,
    /// Why it fails.
    pub reason: String,
    /// What it comes to, when that is not `fail`.
    #[serde(default)]
    pub verdict: ExpectedVerdict,
}

/// What a listed cell comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedVerdict {
    /// It fails.
    #[default]
    Fail,
    /// It cannot be decided.
    Inconclusive,
}

/// What the list says of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Cells that failed as expected, with the reason.
    pub expected: Vec<(String, String)>,
    /// Cells that were expected to fail and did not.
    pub stale: Vec<String>,
}

impl Expected {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// A usage error that names file and line.
    pub fn read(path: &Path) -> Result<Self, CommandError> {
        let unreadable = |error| CommandError::usage(format!("reading `{}`: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            CommandError::usage(format!("{}:{line}: {}", path.display(), error.message()))
                .hint("the file holds tables `[[failure]]` with `cell`, `reason` and perhaps `verdict = \"inconclusive\"`")
        })
    }

    /// Reads a list from text.
    ///
    /// # Errors
    ///
    /// What is wrong with the TOML.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Sees that each entry names one cell: one that named several, or none, would never be compared.
    ///
    /// # Errors
    ///
    /// A usage error that says which cells there are.
    pub fn names_cells(&self, outlines: &[Outline]) -> Result<(), CommandError> {
        let usage = |why: String| CommandError::usage(format!("in the list of expected failures: {why}"));
        let cells = |filters: &[String], offers: &Offers| {
            let selection = Selection { filters: filters.to_vec(), ..Selection::default() };
            let planned =
                plan::plan(outlines, &selection, offers).map_err(|error| usage(error.to_string()))?;
            Ok::<Vec<String>, CommandError>(planned.iter().map(|plan| plan.cell.to_string()).collect())
        };
        let mut every = cells(&[], &Offers::every_cell())?;
        // A hub that is already running has one cell in place of one per affinity.
        every.extend(cells(&[], &Offers::default())?);
        // What the survey finds has a report beside those of the cells.
        let is_survey = |cell: &str| cell.split('/').next() == Some(SURVEY);
        let is_known = |listed: &&ExpectedFailure| every.contains(&listed.cell) || is_survey(&listed.cell);
        let Some(listed) = self.failure.iter().find(|listed| !is_known(listed)) else {
            return Ok(());
        };
        let meant = cells(std::slice::from_ref(&listed.cell), &Offers::every_cell())?;
        Err(usage(format!("`{}` is not the whole name of a cell", listed.cell))
            .hint(format!("it may be `{}`", meant.join("`, `"))))
    }

    /// Holds the list against reports.
    pub fn compare(&self, reports: &[CellReport]) -> Compared {
        let mut compared = Compared::default();
        for listed in &self.failure {
            let Some(report) = reports.iter().find(|report| report.cell.to_string() == listed.cell) else {
                continue;
            };
            match (report.verdict, listed.verdict) {
                // What is not deployed neither fails nor mends anything.
                _ if report.what_if.is_some() => {}
                (Verdict::Fail, ExpectedVerdict::Fail)
                | (Verdict::Inconclusive, ExpectedVerdict::Inconclusive) => {
                    compared.expected.push((listed.cell.clone(), listed.reason.clone()));
                }
                (Verdict::Pass | Verdict::Warn, _) => compared.stale.push(listed.cell.clone()),
                (Verdict::NotApplicable | Verdict::Inconclusive | Verdict::Fail, _) => {}
            }
        }
        compared
    }
}
