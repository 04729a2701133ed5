//! The command `run`: from the command line to a rig, a plan, and a summary.

mod build;
mod calls;
mod deployed;
mod ending;
mod manifests;
mod observe;
mod origin;
mod pods;
mod reports;
mod rerun;
mod rigged;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use self::ending::CleanedUp;
use super::bad_input::CommandError;
use super::interrupt::Interrupts;
use super::{Expected, RunArgs, exit, strictness};
use crate::check::Verdict;
use crate::plan::{self, Affinity, Cell, Need, Outline, Planned, Selection, Transport};
use crate::report::console::Console;
use crate::report::{About, RunEvent, Sink, Summary};
use crate::run::kind_hub::{Hurry, Phase};
use crate::run::rig::error::Blame;
use crate::run::rig::{Rig, RigError, Surveyed};
use crate::run::{CellReport, Scenario, Shared, run_cells_on};

pub(super) use rigged::{MOST_REPLICAS_LOCAL, local_hub, path_arg, replica_count};

/// Runs cells and returns the exit code.
pub(super) fn run(
    catalog: &'static [&'static Scenario],
    quick: &[&str],
    args: &RunArgs,
    console: &Console,
) -> Result<u8, CommandError> {
    let outlines: Vec<_> = catalog.iter().map(|scenario| scenario.outline).collect();
    let selection = Selection {
        filters: args.filters.clone(),
        within: quick.iter().filter(|_| args.quick).map(|name| (*name).to_owned()).collect(),
        affinities: args.affinity.clone(),
        transports: args.transport.clone(),
    };
    // A filter that names nothing is told before anything is built or started.
    let selected = plan::plan(&outlines, &selection, &plan::Offers::every_cell())
        .map_err(|error| CommandError::usage(error.to_string()).hint("`hubcheck list` names them all"))?
        .len();
    if selected == 0 {
        return Err(
            CommandError::usage("the quick profile has none of these cells").hint("leave out `--quick`")
        );
    }
    let expected = args.expected.as_deref().map(Expected::read).transpose()?.unwrap_or_default();
    expected.names_cells(&outlines)?;
    let (mut sink, write_errors) = reports::sinks(args, console)?;
    let run_name = run_name();
    reports::is_writable(&args.evidence)?;
    let (mut rig, judged) = rigged::rig(args, &run_name)?;
    rig.strictness = strictness(args.strict);
    // From here on: what building the hub took is cargo's to tell.
    let began = Instant::now();
    let mut about = About {
        backend: rig.backend_name().to_owned(),
        hub: rig.hub.clone(),
        replicas: rig.replicas,
        run: run_name,
        notes: judged,
        rerun: rerun::rerun(args),
        is_whole: args.filters.is_empty(),
        everything: args.quick.then(|| rerun::everything(args)),
        found: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    let mut jobs = args.jobs.unwrap_or_else(|| rigged::default_jobs(args)).max(1);
    let mut reports = Vec::new();
    let mut phases = Vec::new();
    let mut cells_took = Duration::ZERO;
    let finished = runtime.block_on(async {
        let mut interrupts = Interrupts::heard()?;
        let chosen = Chosen { outlines: &outlines, selection: &selection, is_quick: args.quick };
        // Surveyed by itself first: what it made must be there to be ended when the run is interrupted.
        sink.event(&RunEvent::Surveying { hub: &about.hub });
        let explicit = !args.transport.is_empty();
        let wanted = if explicit { args.transport.clone() } else { Transport::ALL.to_vec() };
        let surveyed = caught(async {
            tokio::select! {
                done = begun(&mut rig, catalog, &chosen, &wanted, explicit, jobs.min(selected)) => Some(done),
                () = interrupts.next() => None,
            }
        });
        let surveyed = surveyed.await;
        about.notes.extend(rig.notes());
        let is_prepared = matches!(&surveyed, Ok(Some(Ok(begun))) if !begun.prepared.is_empty());
        if args.jobs.is_none() && !is_prepared {
            let fewer = rig.cells_at_once(jobs);
            if fewer < jobs {
                about.notes.push(format!(
                    "cells at once: {fewer} instead of {jobs}, because more replicas would slow each other down on this machine"
                ));
            }
            jobs = fewer;
        }
        about.replicas = rig.replicas;
        about.found = rig.found_at();
        about.notes.extend(rig.noted().iter().cloned());
        let rig = Arc::new(rig);
        let mut work = async |begun: Begun| {
            let Begun { surveyed, prepared, phases: before } = begun;
            phases = before;
            let planned = chosen.planned(&rig)?;
            about.notes.extend(surveyed.notes.iter().cloned());
            let found = surveyed.reports_beside(&planned);
            let shown: Vec<Planned> =
                found.iter().map(CellReport::planned).chain(planned.iter().cloned()).collect();
            sink.event(&RunEvent::Started { planned: &shown, about: &about });
            for report in found {
                sink.event(&RunEvent::CellFinished(&report));
                reports.push(report);
            }
            let since = Instant::now();
            // Each of them starts nothing, or has started.
            let jobs = if is_prepared { args.jobs.unwrap_or(planned.len()) } else { jobs };
            run_cells_on(&rig, catalog, &planned, jobs, prepared, &mut sink, &mut reports).await;
            cells_took = since.elapsed();
            Ok::<_, CommandError>(())
        };
        let worked = match surveyed {
            Ok(Some(Ok(surveyed))) => {
                let worked = caught(async {
                    tokio::select! {
                        done = work(surveyed) => Some(done),
                        () = interrupts.next() => None,
                    }
                });
                worked.await
            }
            Ok(Some(Err(error))) => {
                let error = rig_error(error).seen_in(rig.survey_file().as_deref());
                Ok(Some(Err(error.noting(rig.remarks()))))
            }
            Ok(None) => Ok(None),
            Err(panic) => Err(panic),
        };
        let was_interrupted = matches!(worked, Ok(None));
        let hurry = if was_interrupted { Hurry::Yes } else { Hurry::No };
        let finish = async |hurry| rig.finish(hurry).await;
        let cleaned_up = ending::clean_up(hurry, finish, async || interrupts.next().await).await;
        if cleaned_up == CleanedUp::Not {
            tracing::warn!("not everything is cleaned up: {}", rig.goes_with());
        }
        phases.extend(rig.phases());
        let interrupted = ending::why_interrupted(!was_interrupted, cleaned_up);
        match worked {
            Ok(worked) => worked.transpose().map(|_| interrupted.map(str::to_owned)),
            Err(panic) => resume_unwind(panic),
        }
    });
    // Whatever is still up ends with its supervisors, which see their pipes close.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let interrupted = finished?;
    let compared = expected.compare(&reports);
    let summary = Summary {
        reports,
        expected: compared.expected,
        stale: compared.stale,
        interrupted,
        took: began.elapsed(),
        phases,
        cells_took,
    };
    sink.event(&RunEvent::Finished(&summary));
    reports::miss_transcripts(&summary, &args.evidence, &write_errors);
    let code = if summary.interrupted.is_some() { exit::INTERRUPTED } else { exit_code(&summary) };
    Ok(reports::code_with(code, &write_errors))
}

/// What a run chooses of the catalogue.
struct Chosen<'r> {
    outlines: &'r [Outline],
    selection: &'r Selection,
    is_quick: bool,
}

impl Chosen<'_> {
    /// The cells, on this rig.
    fn planned(&self, rig: &Rig) -> Result<Vec<Planned>, CommandError> {
        let mut planned = plan::plan(self.outlines, self.selection, &rig.offers)
            .map_err(|error| CommandError::usage(error.to_string()))?;
        if self.is_quick {
            let affinity = rig.offers.deployed.affinity();
            planned.retain(|planned| !is_repeated(self.outlines, planned.cell, affinity));
        }
        Ok(planned)
    }
}

/// What a run begins with.
struct Begun {
    surveyed: Surveyed,
    prepared: Vec<Arc<Shared>>,
    /// Of a run whose replicas are up before its cells: how long that took.
    phases: Vec<Phase>,
}

/// Surveys the hub and measures it. Where replicas can be started before their cells, those of a quick run are.
async fn begun(
    rig: &mut Rig,
    catalog: &[&Scenario],
    chosen: &Chosen<'_>,
    wanted: &[Transport],
    by_name: bool,
    cells: usize,
) -> Result<Begun, RigError> {
    let since = Instant::now();
    let surveyed = rig.survey(wanted, by_name).await?;
    let survey = Phase { name: "survey", took: since.elapsed() };
    let mut begun = Begun { surveyed, prepared: Vec::new(), phases: Vec::new() };
    if begun.surveyed.nothing_spoken().is_some() {
        // Without a way to the hub there is nothing to be measured, and no cell.
    } else if chosen.is_quick && rig.can_prepare() {
        let since = Instant::now();
        let planned = chosen.planned(rig).unwrap_or_default();
        begun.prepared = rig.prepare(catalog, &planned).await?;
        begun.phases = vec![survey, Phase { name: "start of all replicas", took: since.elapsed() }];
    } else {
        rig.measure(cells).await?;
    }
    Ok(begun)
}

/// Whether a quick run leaves a cell out that ends replicas: what happens then is seen once, with the affinity that is deployed.
fn is_repeated(outlines: &[Outline], cell: Cell, deployed: Affinity) -> bool {
    let outline = outlines.iter().find(|outline| outline.id == cell.scenario);
    let ends =
        |need: &Need| matches!(need, Need::KillProcess | Need::DeletePod | Need::Scale | Need::Rollout);
    let ends_replicas = outline.is_some_and(|outline| outline.needs.iter().any(ends));
    ends_replicas && cell.affinity.is_some_and(|affinity| affinity != deployed)
}

/// A part of the run; a panic of it is held back, so that what the run made can be ended first.
async fn caught<T>(part: impl Future<Output = T>) -> std::thread::Result<T> {
    AssertUnwindSafe(part).catch_unwind().await
}

/// The exit code that a summary comes to.
fn exit_code(summary: &Summary) -> u8 {
    let is_expected = |cell: &str| summary.expected.iter().any(|(expected, _)| expected == cell);
    let has = |verdict| {
        summary.judged().any(|report| report.verdict == verdict && !is_expected(&report.cell.to_string()))
    };
    if has(Verdict::Fail) || !summary.stale.is_empty() {
        exit::DOES_NOT_CONFORM
    } else if has(Verdict::Inconclusive) {
        exit::INCONCLUSIVE
    } else if summary.judged().all(|report| report.verdict == Verdict::NotApplicable) {
        exit::NOTHING_SELECTED
    } else {
        exit::CONFORMS
    }
}

// === around the run ===

pub(super) fn rig_error(error: RigError) -> CommandError {
    let code = match error.blame() {
        Blame::Input => exit::USAGE,
        Blame::Hub => exit::DOES_NOT_CONFORM,
        Blame::Unknown => exit::INCONCLUSIVE,
    };
    CommandError { message: error.to_string(), hint: error.hint(), code }
}

/// A short name that no other run is likely to have.
pub(super) fn run_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}", (since.as_millis() as u64 ^ (u64::from(std::process::id()) << 20)) & 0xffff_ffff)
}
