//! The committed table of right verdicts, and whether a run agrees with it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The file's content.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// A hub with a fault, or a good one, and what is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: String,
    /// Whether it is among the rows that CI runs.
    #[serde(default)]
    pub(crate) quick: bool,
    /// Servers that run meanwhile, one after another ([`crate::beside`]); `{url}` in `run` leads to the last one.
    #[serde(default)]
    pub(crate) beside: Vec<String>,
    /// What follows `hubcheck run`, as a shell takes it.
    pub(crate) run: String,
    /// The exit code.
    pub(crate) exit: i32,
    /// Checks that must be found to be breached.
    #[serde(default)]
    pub(crate) found: Vec<String>,
    /// The causes that findings name, when it is known which they are: these and no others.
    #[serde(default)]
    pub(crate) causes: Option<BTreeSet<String>>,
    /// How many findings there are, where that matters.
    #[serde(default)]
    pub(crate) findings: Option<usize>,
    /// Words that must appear, in any case of letters.
    #[serde(default)]
    pub(crate) says: Vec<String>,
    /// Checks that must not be found, and words that must not appear.
    #[serde(default)]
    pub(crate) never: Vec<String>,
    /// How long the run may take, in seconds.
    pub(crate) longest_s: u64,
}

/// What came of a row.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; `None` when a signal ended hubcheck.
    pub(crate) code: Option<i32>,
    /// How long it took.
    pub(crate) took: Duration,
    /// The check of each finding, in cells that count.
    pub(crate) found: Vec<String>,
    /// The causes of them.
    pub(crate) causes: BTreeSet<String>,
    /// What hubcheck printed.
    pub(crate) said: String,
}

// === impl Row ===

impl Row {
    /// Every command line of it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &String> {
        self.beside.iter().chain([&self.run])
    }

    /// What is wrong with a run, a line each; nothing when it is right.
    pub(crate) fn wrong(&self, ran: &Ran) -> Vec<String> {
        let mut wrong = Vec::new();
        if ran.code != Some(self.exit) {
            wrong.push(format!("exit code {:?}, right is {}", ran.code, self.exit));
        }
        let said = ran.said.to_lowercase();
        let says = |words: &str| said.contains(&words.to_lowercase());
        if let Some(right) = self.findings.filter(|right| *right != ran.found.len()) {
            wrong.push(format!("{} findings, right is {right}: {:?}", ran.found.len(), ran.found));
        }
        if let Some(right) = self.causes.as_ref().filter(|right| **right != ran.causes) {
            wrong.push(format!("the causes are {:?}, right is {right:?}", ran.causes));
        }
        let missing = self.found.iter().filter(|check| !ran.found.contains(*check));
        wrong.extend(missing.map(|check| format!("check `{check}` found nothing; found: {:?}", ran.found)));
        wrong.extend(
            self.says.iter().filter(|words| !says(words)).map(|words| format!("does not say \"{words}\"")),
        );
        let forbidden = self.never.iter().filter(|words| says(words) || ran.found.contains(*words));
        wrong.extend(forbidden.map(|words| format!("says or finds \"{words}\"")));
        if ran.took.as_secs() > self.longest_s {
            wrong.push(format!("took {} s, at most {} s are right", ran.took.as_secs(), self.longest_s));
        }
        wrong
    }
}

/// Reads the committed table.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read() -> Result<Vec<Row>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/strangers.toml");
    let failed = |error: &dyn std::fmt::Display| format!("reading {}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let table: Table = toml::from_str(&text).map_err(|error| failed(&error))?;
    let mut names = BTreeSet::new();
    match table.row.iter().find(|row| !names.insert(row.name.clone())) {
        Some(twice) => Err(failed(&format!("two rows are called `{}`", twice.name))),
        None => Ok(table.row),
    }
}

/// What a JSON report says under this name in each finding, in cells that count; nothing when the run ended before it had a report.
///
/// # Errors
///
/// When the report is no JSON.
pub(crate) fn found(report: &Path, name: &str) -> Result<Vec<String>, String> {
    let Ok(text) = std::fs::read_to_string(report) else { return Ok(Vec::new()) };
    let document: Value = serde_json::from_str(&text).map_err(|error| format!("the report: {error}"))?;
    let cells = document["cells"].as_array().into_iter().flatten().filter(|cell| cell["what_if"].is_null());
    let findings = cells.flat_map(|cell| cell["findings"].as_array().into_iter().flatten());
    Ok(findings.filter_map(|finding| finding[name].as_str().map(str::to_owned)).collect())
}
