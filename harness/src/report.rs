//! What a run tells while it goes on, and the reporters that listen.
//!
//! One enum of events; every reporter matches each of them by name, so that a new event does not compile until
//! each reporter has decided what to do with it.

pub mod answer;
pub mod console;
pub mod json;
pub mod junit;
pub mod terminal;
mod unjudged;
pub mod words;
mod works;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::plan::{Cell, Planned};
use crate::run::CellReport;
use crate::run::kind_hub::Phase;

/// Something that happened in a run.
#[derive(Debug)]
pub enum RunEvent<'r> {
    /// The hub is being looked at: which transports and tools it has.
    Surveying {
        /// The hub, as the user named it.
        hub: &'r str,
    },
    /// The plan is made; the run begins.
    Started {
        /// Every selected cell.
        planned: &'r [Planned],
        /// What the run is about.
        about: &'r About,
    },
    /// A cell begins.
    CellStarted(Cell),
    /// A cell is over, or does not apply.
    CellFinished(&'r CellReport),
    /// The run is over.
    Finished(&'r Summary),
}

/// What a run is about.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Where the replicas run.
    pub backend: String,
    /// The hub, as the user named it.
    pub hub: String,
    /// How many replicas a cell begins with.
    pub replicas: usize,
    /// A name for the run, in its folder's name too.
    pub run: String,
    /// Typed edits of the manifests, and what of them is not simulated: one line each.
    pub notes: Vec<String>,
    /// What a rerun line begins with.
    pub rerun: String,
    /// Whether every cell of the catalogue was selected, or every cell of the quick profile.
    pub is_whole: bool,
    /// The line that runs every cell, of a run of the quick profile.
    pub everything: Option<String>,
    /// Where a hub was found that is known by its address alone: `/mcp (streamable), /sse (sse)`.
    pub found: Option<String>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Every cell's report, in the order in which they ended.
    pub reports: Vec<CellReport>,
    /// Cells that failed, as was expected: cell and reason.
    pub expected: Vec<(String, String)>,
    /// Cells that were expected to fail and did not.
    pub stale: Vec<String>,
    /// Why the run ended before its time.
    pub interrupted: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Where the time went, cells aside.
    pub phases: Vec<Phase>,
    /// How long all cells that ran took together, from the first one's begin to the last one's end.
    pub cells_took: Duration,
}

impl Summary {
    /// The cells that count: those of what is deployed.
    pub fn judged(&self) -> impl Iterator<Item = &CellReport> {
        self.reports.iter().filter(|report| report.what_if.is_none())
    }

    /// Why a cell was expected to fail, when it did.
    pub fn why_expected(&self, cell: &str) -> Option<&str> {
        self.expected.iter().find(|(listed, _)| listed == cell).map(|(_, reason)| reason.as_str())
    }
}

/// What went wrong in writing reports; all of them add to the same.
#[derive(Clone, Debug, Default)]
pub struct WriteErrors(Arc<Mutex<Vec<String>>>);

impl WriteErrors {
    /// Notes that a report could not be written.
    pub fn add(&self, path: &Path, error: &io::Error) {
        let told = format!("writing `{}`: {error}", path.display());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// What has gone wrong so far.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Someone who listens to a run.
pub trait Sink {
    /// Takes one event.
    fn event(&mut self, event: &RunEvent<'_>);
}

/// Tells several listeners.
pub struct Fan(pub Vec<Box<dyn Sink + Send>>);

impl Sink for Fan {
    fn event(&mut self, event: &RunEvent<'_>) {
        for sink in &mut self.0 {
            sink.event(event);
        }
    }
}

/// Tells nobody.
pub struct Silence;

impl Sink for Silence {
    fn event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Surveying { .. }
            | RunEvent::Started { .. }
            | RunEvent::CellStarted(_)
            | RunEvent::CellFinished(_)
            | RunEvent::Finished(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::json::Json;
    use super::junit::JUnit;
    use super::terminal::{Telling, Terminal};
    use super::*;
    use crate::check::Verdict;
    use crate::plan::{Affinity, Transport, WhatIf};

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cell_that_is_not_deployed_is_shown_and_counts_for_nothing() {
        let cell =
            Cell { scenario: "routing/x", affinity: Some(Affinity::Off), transport: Some(Transport::Sse) };
        let what_if = Some(WhatIf::Affinity { here: Affinity::Off, deployed: Affinity::ClientIp });
        let report = CellReport {
            cell,
            verdict: Verdict::Fail,
            findings: Vec::new(),
            lacks: None,
            what_if,
            not_judged: Vec::new(),
            took: Duration::ZERO,
            notes: Vec::new(),
            transcript: None,
            evidence: None,
        };
        let about = About {
            backend: "local".to_owned(),
            hub: "hub".to_owned(),
            replicas: 2,
            run: "run".to_owned(),
            notes: Vec::new(),
            rerun: "hubcheck run".to_owned(),
            is_whole: true,
            ..About::default()
        };
        let planned = [Planned { cell, lacks: None, what_if }];
        let summary = Summary { reports: vec![report.clone()], ..Summary::default() };
        let folder = tempfile::tempdir().unwrap();
        let (json, junit, kept) = (folder.path().join("json"), folder.path().join("junit"), Kept::default());
        let sinks: Vec<Box<dyn Sink + Send>> = vec![
            Box::new(Terminal::on(
                Box::new(kept.clone()),
                Telling { everything: true, ..Telling::default() },
            )),
            Box::new(Json::new(json.clone(), WriteErrors::default())),
            Box::new(JUnit::new(junit.clone(), WriteErrors::default())),
        ];
        let mut fan = Fan(sinks);
        fan.event(&RunEvent::Started { planned: &planned, about: &about });
        fan.event(&RunEvent::CellFinished(&report));
        fan.event(&RunEvent::Finished(&summary));
        let shown = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("WHAT IF") && shown.contains("fail, not counted: affinity `off`"), "{shown}");
        assert!(shown.contains("0 failed") && shown.contains("1 not deployed (what if)"), "{shown}");
        let json = std::fs::read_to_string(json).unwrap();
        assert!(json.contains(r#""what_if": "affinity `off`, `client-ip` is deployed""#), "{json}");
        let junit = std::fs::read_to_string(junit).unwrap();
        assert!(junit.contains("<skipped") && junit.contains(r#"failures="0""#), "{junit}");
    }
}
