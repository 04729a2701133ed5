//! What a survey comes to: what the hub offers, and what stands in the way as reports beside those of the cells.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::look::SoFar;
use super::tools::Tools;
use super::way::{Kind, Obstacle};
use super::{RigError, ready};
use crate::check::Verdict;
use crate::plan::{Cell, Need, Planned, Transport};
use crate::run::{CellReport, evidence, write_transcript};
use crate::transcript::Transcript;

/// What the survey's transcript is called, and its folder of evidence.
pub(crate) const SURVEY: &str = "survey";

/// A finished survey.
#[derive(Debug, Default)]
pub struct Surveyed {
    /// What the hub offers.
    pub(super) offers: Vec<Need>,
    /// Transports that cannot be used, with the need that their cells lack.
    pub(super) barred: BTreeMap<Transport, Need>,
    /// The hub's tools that may be called.
    pub(super) tools: Tools,
    /// Whether the list of tools is too long to be read with every small request.
    pub(super) has_long_list: bool,
    /// What was found, and over which transport.
    found: Vec<(Option<Transport>, Obstacle)>,
    /// A report for each finding, in the place of a cell's.
    pub reports: Vec<CellReport>,
    /// Which transports are not offered, and why: one line each.
    pub notes: Vec<String>,
}

// === impl Surveyed ===

impl Surveyed {
    /// A survey that met an obstacle before it could ask the hub anything.
    pub(super) fn without_a_way(obstacle: Obstacle, wanted: &[Transport]) -> Self {
        let mut surveyed = Self::default();
        surveyed.bar(wanted.iter().copied(), None, &obstacle);
        surveyed.found.push((None, obstacle));
        surveyed
    }

    /// What the looks at each transport come to.
    ///
    /// # Errors
    ///
    /// [`RigError::Unreachable`] when nothing listens at the address that the user gave.
    pub(super) fn of(looks: Vec<(Transport, SoFar)>, by_name: bool) -> Result<Self, RigError> {
        let mut surveyed = Self::default();
        let mut blocked: Vec<(Transport, Obstacle)> = Vec::new();
        let mut is_spoken = false;
        for (transport, so_far) in looks {
            match so_far {
                SoFar::Spoken(offers, hangs) => {
                    is_spoken = true;
                    surveyed.offers.extend(offers);
                    surveyed.spoken_with(transport, hangs);
                }
                SoFar::Blocked(obstacle) | SoFar::Open(Some(obstacle)) => blocked.push((transport, obstacle)),
                SoFar::Open(None) => {}
            }
        }
        if let Some((_, first)) = blocked.first()
            && !is_spoken
            && blocked.iter().all(|(_, found)| found.kind == Kind::Unreachable)
        {
            return Err(RigError::Unreachable(first.seen.clone()));
        }
        let is_own = |found: &Obstacle| found.has_begun || (by_name && is_spoken);
        let (own, others): (Vec<_>, Vec<_>) = blocked.into_iter().partition(|(_, found)| is_own(found));
        // One cause, over every transport that was begun: one finding.
        let is_one = !is_spoken && own.len() > 1 && own.iter().all(|(_, found)| found.id == own[0].1.id);
        for (transport, obstacle) in own {
            let over = (!is_one).then_some(transport);
            surveyed.bar([transport], over, &obstacle);
            if !is_one || surveyed.found.is_empty() {
                surveyed.found.push((over, obstacle));
            }
        }
        surveyed.without_others(others, is_spoken);
        Ok(surveyed)
    }

    /// A transport that is spoken, and of which something hangs. What hangs before a session is begun bars the transport: any cell
    /// may come to it when a request strays.
    fn spoken_with(&mut self, transport: Transport, hangs: Vec<Obstacle>) {
        for obstacle in hangs {
            if obstacle.has_begun {
                self.offers.retain(|need| *need != Need::Speaks(transport));
                self.bar([transport], Some(transport), &obstacle);
            }
            self.found.push((Some(transport), obstacle));
        }
    }

    /// Transports that the hub did not begin to speak: not offered where it speaks another one, else the way is not open.
    fn without_others(&mut self, others: Vec<(Transport, Obstacle)>, is_spoken: bool) {
        self.notes.extend(
            others.iter().map(|(transport, found)| format!("{transport} is not offered: {}", found.seen)),
        );
        let Some(heaviest) = others.iter().map(|(_, found)| found.weight()).max() else { return };
        if is_spoken {
            return;
        }
        let wanted: Vec<Transport> = others.iter().map(|(transport, _)| *transport).collect();
        if let Some((first, obstacle)) = self.found.first().cloned() {
            return self.bar(wanted, first, &obstacle);
        }
        let Some((_, found)) = others.into_iter().find(|(_, found)| found.weight() == heaviest) else {
            return;
        };
        let found = match found.kind {
            Kind::Elsewhere => Obstacle {
                id: "no-transport",
                seen: self.notes.join("; "),
                remedy: "`--sse-path` and `--mcp-path` say where the hub offers its transports".to_owned(),
                ..found
            },
            _ => found,
        };
        self.notes.clear();
        self.bar(wanted, None, &found);
        self.found.push((None, found));
    }

    fn bar(
        &mut self,
        transports: impl IntoIterator<Item = Transport>,
        over: Option<Transport>,
        obstacle: &Obstacle,
    ) {
        let need = Need::Way(obstacle.rule.scenario, over);
        self.barred.extend(transports.into_iter().map(|transport| (transport, need)));
    }

    /// The reports of what was found, and the transcript in its file.
    pub(super) fn told(mut self, folder: &Path, transcript: &Transcript, took: Duration) -> Self {
        let file = (!transcript.entries.is_empty()).then(|| Self::keep(folder, transcript)).flatten();
        for (transport, obstacle) in &self.found {
            let cell = Cell { scenario: obstacle.rule.scenario, affinity: None, transport: *transport };
            let findings = vec![obstacle.finding()];
            let written = file
                .as_ref()
                .map(|_| evidence::write(folder, Verdict::Fail, &findings, transcript, SURVEY, Vec::new()));
            let evidence = match written {
                Some(Err(error)) => {
                    tracing::warn!("writing the evidence of the survey: {error}");
                    None
                }
                Some(Ok(evidence)) => Some(evidence),
                None => None,
            };
            self.reports.push(CellReport {
                verdict: Verdict::Fail,
                findings,
                took,
                transcript: file.clone(),
                evidence,
                ..CellReport::empty(cell)
            });
        }
        self
    }

    /// The reports that concern these cells: those of a transport that no cell speaks do not.
    pub(crate) fn reports_beside(self, planned: &[Planned]) -> Vec<CellReport> {
        let concerns = |report: &CellReport| {
            let is_same = |planned: &Planned| {
                planned.cell.transport.is_none() || planned.cell.transport == report.cell.transport
            };
            report.cell.transport.is_none() || planned.iter().any(is_same)
        };
        self.reports.into_iter().filter(concerns).collect()
    }

    /// Writes the transcript; where it is.
    pub(super) fn keep(folder: &Path, transcript: &Transcript) -> Option<std::path::PathBuf> {
        // `serve` keeps no files.
        if folder.as_os_str().is_empty() {
            return None;
        }
        match write_transcript(folder, SURVEY, transcript) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!("writing the transcript of the survey: {error}");
                None
            }
        }
    }

    /// Whether the hub ended by itself again and again.
    pub(super) fn keeps_ending(&self) -> bool {
        self.found.iter().any(|(_, obstacle)| obstacle.id == ready::KEEPS_ENDING)
    }

    /// Why nothing can be asked of the hub, when nothing can.
    pub fn nothing_spoken(&self) -> Option<RigError> {
        let speaks = self.offers.iter().any(|need| matches!(need, Need::Speaks(_)));
        let (_, obstacle) = self.found.first().filter(|_| !speaks)?;
        Some(RigError::SpeaksNothing { seen: obstacle.seen.clone(), remedy: obstacle.remedy.clone() })
    }
}
