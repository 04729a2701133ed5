//! Runs cells: where cluster, wire and check meet, and who owns what is torn down.

mod evidence;
pub mod kind_hub;
pub mod kube_hub;
mod limit;
mod pressure;
pub mod reference;
pub mod rig;
mod scenario;
mod shared;
pub mod stage;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use self::limit::Limit;
use crate::check::{self, Check, Finding, Lack, NotJudged, Verdict};
use crate::cluster::Page;
use crate::plan::{Cell, Need, Planned, WhatIf};
use crate::report::{RunEvent, Sink};
use crate::transcript::notes::notes;
use crate::transcript::{End, Entry, PodChange, Recorder, Transcript, What};

use rig::surveyed::SURVEY;
use shared::Seat;

pub use rig::Rig;
use rig::RigError;
pub use scenario::{Begins, Guide, Probes, Scenario, Setup, Told};
pub use shared::Shared;
pub use stage::Stage;

/// What a cell came to.
#[derive(Clone, Debug)]
pub struct CellReport {
    /// The cell.
    pub cell: Cell,
    /// Its verdict.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub findings: Vec<Finding>,
    /// Why it does not apply, when it does not.
    pub lacks: Option<Lack>,
    /// Why it shows what would be, and counts for nothing; `None` for what is deployed.
    pub what_if: Option<WhatIf>,
    /// Checks that could not be applied, and why.
    pub not_judged: Vec<NotJudged>,
    /// How long it took.
    pub took: Duration,
    /// What is worth telling whatever the verdict is, such as what the cluster said.
    pub notes: Vec<String>,
    /// Where its transcript was written.
    pub transcript: Option<PathBuf>,
    /// The folder with what people read about it, when it did not pass.
    pub evidence: Option<PathBuf>,
}

/// How long after a broken connection the end of its process may be told.
const ENDING_TOLD: Duration = Duration::from_secs(1);

/// How often a cell is begun whose cluster did not come up because the control plane was too slow: nothing of the hub was seen then.
const BEGUN: usize = 3;

/// Runs every planned cell, so many at a time, and tells the sink as it goes. The longest begin first. Where a control plane is
/// too slow to bring a cell up, fewer run from then on.
///
/// Reports are appended as cells end, so that an interrupted run keeps what it has. Dropping the returned future ends
/// every cluster that is up.
pub async fn run_cells(
    rig: &Arc<Rig>,
    catalog: &'static [&'static Scenario],
    planned: &[Planned],
    jobs: usize,
    sink: &mut dyn Sink,
    reports: &mut Vec<CellReport>,
) {
    run_cells_on(rig, catalog, planned, jobs, Vec::new(), sink, reports).await;
}

/// The same for cells of which some have a place at replicas that are up; those end with the last cell.
pub async fn run_cells_on(
    rig: &Arc<Rig>,
    catalog: &'static [&'static Scenario],
    planned: &[Planned],
    mut jobs: usize,
    prepared: Vec<Arc<Shared>>,
    sink: &mut dyn Sink,
    reports: &mut Vec<CellReport>,
) {
    let mut waiting: VecDeque<(Cell, usize)> = VecDeque::new();
    for plan in planned {
        match plan.lacks {
            None if is_long(catalog, plan.cell) => waiting.push_front((plan.cell, 1)),
            None => waiting.push_back((plan.cell, 1)),
            Some(lack) => {
                let is_undecided = lack == Need::ReplicasSeen && rig.replicas_are_asked();
                let report = if is_undecided {
                    CellReport::undecided(plan.cell, rig)
                } else {
                    CellReport::not_applicable(plan.cell, Lack::Need(lack))
                };
                sink.event(&RunEvent::CellFinished(&report));
                reports.push(report);
            }
        }
    }
    let mut running = JoinSet::new();
    let mut limit = Limit::default();
    loop {
        if limit.is_met() && running.is_empty() {
            limit.pause().await;
        }
        while running.len() < jobs
            && !limit.is_met()
            && let Some((cell, begun)) = waiting.pop_front()
        {
            sink.event(&RunEvent::CellStarted(cell));
            let (rig, shared) = (Arc::clone(rig), Shared::of(&prepared, cell));
            running.spawn(async move { (attempt(&rig, catalog, cell, shared).await, begun) });
        }
        let Some(finished) = running.join_next().await else { break };
        match finished {
            Ok((Attempt { report, is_held_up: true, .. }, begun)) if begun < BEGUN => {
                jobs = (jobs / 2).max(1);
                tracing::warn!(
                    "{}: the control plane is too slow; from here on {jobs} cells at once",
                    report.cell
                );
                waiting.push_back((report.cell, begun + 1));
            }
            Ok((Attempt { report, transcript, .. }, _)) => {
                let wanted = limit::wanted(&transcript);
                sink.event(&RunEvent::CellFinished(&report));
                reports.push(report);
                if limit.meets(wanted) {
                    // It refuses requests after a pause, too: what is left would be refused like these.
                    for (cell, _) in waiting.drain(..) {
                        let report = CellReport::not_applicable(cell, Lack::Need(Need::Unlimited));
                        sink.event(&RunEvent::CellFinished(&report));
                        reports.push(report);
                    }
                }
            }
            // Driving catches its own panics, and checks are pure: what is left is a bug of ours, and must not be swallowed.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    join_all(prepared.into_iter().map(Shared::down)).await;
}

/// Runs one cell on a cluster of its own, judges it, and writes its transcript.
pub async fn run_cell(rig: &Arc<Rig>, catalog: &[&Scenario], cell: Cell) -> (CellReport, Transcript) {
    let Attempt { report, transcript, .. } = attempt(rig, catalog, cell, None).await;
    (report, transcript)
}

/// One try at a cell.
struct Attempt {
    report: CellReport,
    transcript: Transcript,
    /// Whether its cluster did not come up because the control plane was too slow.
    is_held_up: bool,
}

/// Whether it waits for as long as deployed probes do.
fn is_long(catalog: &[&Scenario], cell: Cell) -> bool {
    let scenario = catalog.iter().find(|scenario| scenario.outline.id == cell.scenario);
    scenario.is_some_and(|scenario| scenario.setup.probes == Probes::AsDeployed)
}

async fn attempt(rig: &Arc<Rig>, catalog: &[&Scenario], cell: Cell, shared: Option<Arc<Shared>>) -> Attempt {
    let recorder = Recorder::new(rig.secrets());
    let seat = match shared {
        Some(shared) => shared.seat(&recorder).await,
        None => None,
    };
    let began = Instant::now();
    let scenario = catalog.iter().copied().find(|scenario| scenario.outline.id == cell.scenario);
    let machine = pressure::Watch::start(recorder.clone());
    let observed = rig.observed_pods().await;
    let mut is_held_up = false;
    // Boxed: the futures of a cell on Kubernetes are larger than the stack of a thread allows in a debug build.
    let live = match scenario {
        Some(scenario) => Box::pin(drive(rig, scenario, cell, &recorder, seat, &mut is_held_up)).await,
        None => {
            recorder.record(What::Broken { reason: format!("no scenario is called `{}`", cell.scenario) });
            Vec::new()
        }
    };
    rig.note_observed(observed, &recorder).await;
    machine.stop().await;
    let replicas = rig.replicas_of(scenario);
    let mut header = rig.header(cell, replicas);
    let what_if = scenario.and_then(|scenario| rig.offers.what_if(&scenario.outline, &cell));
    header.what_if = what_if.map(|what_if| what_if.to_string());
    header.edits = scenario.map(|scenario| rig.edits(scenario, cell)).unwrap_or_default();
    let transcript = Transcript { header, entries: recorder.entries() };
    let checks = scenario.map_or(&[] as &[&Check], |scenario| scenario.checks);
    let judged = check::judge(&transcript, checks, &rig.offers_with(replicas), rig.strictness);
    let written = write_transcript(&rig.evidence, &cell.to_string(), &transcript);
    let mut report = CellReport {
        cell,
        verdict: judged.verdict,
        findings: judged.findings,
        lacks: judged.lacks,
        what_if,
        not_judged: judged.not_judged,
        took: began.elapsed(),
        notes: notes(&transcript),
        transcript: None,
        evidence: None,
    };
    match written {
        Ok(path) => report.transcript = Some(path),
        Err(error) => tracing::warn!("writing the transcript of {cell}: {error}"),
    }
    if report.verdict != Verdict::Pass {
        let name = cell.to_string();
        match evidence::write(&rig.evidence, report.verdict, &report.findings, &transcript, &name, live) {
            Ok(folder) => report.evidence = Some(folder),
            Err(error) => tracing::warn!("writing the evidence of {cell}: {error}"),
        }
    }
    Attempt { report, transcript, is_held_up }
}

// === impl CellReport ===

impl CellReport {
    /// One about several replicas, of which the user said that they are there, and too few were seen.
    fn undecided(cell: Cell, rig: &Rig) -> Self {
        let finding = check::could_not_tell(0, rig.noted().join("; "));
        let finding = Finding {
            requirement: "a cell about several replicas meets several".to_owned(),
            at: None,
            expected: format!("{} replicas, of which two are seen to answer", rig.replicas),
            remedy: "hub or proxy: send a header that names the replica, such as `X-Served-By`".to_owned(),
            ..finding
        };
        Self { verdict: Verdict::Inconclusive, findings: vec![finding], ..Self::empty(cell) }
    }

    /// Whether it was driven: whether it applies may show only then.
    pub fn ran(&self) -> bool {
        self.transcript.is_some() || self.verdict != Verdict::NotApplicable
    }

    fn not_applicable(cell: Cell, lack: Lack) -> Self {
        Self { lacks: Some(lack), ..Self::empty(cell) }
    }

    /// What to type to see it again. The survey comes before any cell.
    pub fn rerun(&self, line: &str) -> String {
        match self.cell.family() {
            SURVEY => line.to_owned(),
            _ => format!("{line} {}", self.cell),
        }
    }

    /// As a line of a plan.
    pub(crate) fn planned(&self) -> Planned {
        let lacks = match self.lacks {
            Some(Lack::Need(need)) => Some(need),
            Some(Lack::Reason(_)) | None => None,
        };
        Planned { cell: self.cell, lacks, what_if: None }
    }

    /// Of a cell that did not run.
    pub(crate) fn empty(cell: Cell) -> Self {
        Self {
            cell,
            verdict: Verdict::NotApplicable,
            findings: Vec::new(),
            lacks: None,
            what_if: None,
            not_judged: Vec::new(),
            took: Duration::ZERO,
            notes: Vec::new(),
            transcript: None,
            evidence: None,
        }
    }
}

// === helpers ===

/// Drives a cell on a cluster of its own, and records when it could not go on. What the cluster has of the cell at its
/// end, unless everything looks well.
async fn drive(
    rig: &Arc<Rig>,
    scenario: &Scenario,
    cell: Cell,
    recorder: &Recorder,
    seat: Option<Seat>,
    is_held_up: &mut bool,
) -> Vec<Page> {
    let limit = rig.timeouts.cell();
    let own_cluster = async {
        let up = within(limit, "bringing its cluster up", Box::pin(rig.cluster_up(cell, scenario, recorder)));
        up.await.and_then(|up| Ok(Arc::new(up?)))
    };
    let up = match &seat {
        Some(seat) => Ok(Arc::clone(seat.cluster())),
        None => own_cluster.await,
    };
    let cluster = match up {
        Ok(cluster) => cluster,
        Err(error) => {
            *is_held_up = error.downcast_ref::<RigError>().is_some_and(RigError::is_slow_cluster);
            record_broken(recorder, &error);
            return Vec::new();
        }
    };
    // It is kept until the end: without it nothing of the cluster is recorded.
    let seat = seat.map(Arc::new);
    let replicas = rig.replicas_of(Some(scenario));
    let stage =
        Stage::new(Arc::clone(rig), cell, scenario, Arc::clone(&cluster), recorder.clone(), seat.clone());
    let driving = async {
        stage.ready(scenario.setup.begins).await?;
        (scenario.drive)(&stage).await?;
        endings_are_told(recorder).await;
        anyhow::Ok(())
    };
    if let Err(error) = within(limit, "the scenario", Box::pin(driving)).await.and_then(|driven| driven) {
        record_broken(recorder, &error);
    }
    drop(stage);
    cluster.routes_told(None).await;
    let so_far = Transcript { header: rig.header(cell, replicas), entries: recorder.entries() };
    let judged = check::judge(&so_far, scenario.checks, &rig.offers_with(replicas), rig.strictness);
    let mut live = Vec::new();
    if judged.verdict != Verdict::Pass {
        match within(limit, "asking what the cluster has of it", cluster.described()).await {
            Ok(pages) => live = pages,
            // It judges nothing: the cell has its verdict without.
            Err(error) => tracing::warn!("the evidence of {cell}: {error:#}"),
        }
    }
    // One that other cells may use goes with the last of them.
    if seat.is_none()
        && let Some(cluster) = Arc::into_inner(cluster)
        && let Err(error) = within(limit, "taking its cluster down", cluster.down()).await
    {
        record_broken(recorder, &error);
    }
    live
}

/// A part of a cell, for so long. A panic in it is the harness's fault: the cluster must go away, and other cells go on.
async fn within<T>(limit: Duration, what: &str, part: impl Future<Output = T>) -> anyhow::Result<T> {
    match AssertUnwindSafe(tokio::time::timeout(limit, part)).catch_unwind().await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => anyhow::bail!("{what} took longer than {} s", limit.as_secs()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            anyhow::bail!("{what} panicked: {text}")
        }
    }
}

fn record_broken(recorder: &Recorder, error: &anyhow::Error) {
    recorder.record(What::Broken { reason: format!("{error:#}") });
}

/// A connection that broke although nothing was done to the cluster may be the first sign of a process that ended. Its
/// end is told a moment later: a cell that ended before would not know why.
async fn endings_are_told(recorder: &Recorder) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let told = async {
        while has_unexplained_break(&recorder.entries()) {
            look.tick().await;
        }
    };
    // When none is told, the hub broke the connection and lives on.
    drop(tokio::time::timeout(ENDING_TOLD, told).await);
}

fn has_unexplained_break(entries: &[Entry]) -> bool {
    let has = |wanted: fn(&What) -> bool| entries.iter().any(|entry| wanted(&entry.what));
    has(|what| matches!(what, What::End { how: End::Cut { .. } | End::Refused { .. }, .. }))
        && !has(|what| matches!(what, What::Fault(_)))
        && !has(|what| matches!(what, What::Pod { change: PodChange::Terminated { .. }, .. }))
}

fn write_transcript(evidence: &Path, name: &str, transcript: &Transcript) -> std::io::Result<PathBuf> {
    let path = evidence.join(format!("{name}.jsonl"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, transcript.to_jsonl())?;
    Ok(path)
}
