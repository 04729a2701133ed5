//! The command `run`: from the command line to a rig, a plan, and a summary.

mod build;
mod deployed;
mod ending;
mod manifests;
mod observe;
mod origin;
mod pods;
mod reports;
mod rerun;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use self::ending::CleanedUp;
use self::pods::{kind_hub, kube_hub};
use super::bad_input::CommandError;
use super::interrupt::Interrupts;
use super::{BackendArg, Expected, HubArgs, RunArgs, exit, strictness};
use crate::check::Verdict;
use crate::cluster::local::Launch;
use crate::plan::{self, Planned, Selection, Tool, Transport};
use crate::report::console::Console;
use crate::report::{About, RunEvent, Sink, Summary};
use crate::run::kind_hub::Hurry;
use crate::run::rig::error::Blame;
use crate::run::rig::{Hub, LocalHub, Rig, RigError, RunningHub, Surveyed};
use crate::run::{CellReport, Scenario, reference, run_cells};
use crate::timeouts::{IDLE, Timeouts};
use crate::wire::Dialect;

/// How many cells of the reference hub run at once: they wait much more than they work.
const JOBS_REFERENCE: usize = 16;

/// How many cells of the reference hub run at once on nodes of this machine, for each core: with twice as many a run takes as
/// long, and every process waits for the others.
const JOBS_ON_NODES: usize = 4;

/// How many cells of another hub run at once for each core: it may be slow to start.
const JOBS_PER_CORE: usize = 2;

/// How many cells run at once on a cluster that is not ours: others may use it.
const JOBS_ELSEWHERE: usize = 4;

/// Beyond this a cell that scales up needs more clients than an embedded cluster has addresses for.
pub(super) const MOST_REPLICAS_LOCAL: usize = 8;

/// Beyond this a cell that scales up needs more clients than have a relay of their own on a real cluster.
const MOST_REPLICAS_OF_PODS: usize = 14;

/// Runs cells and returns the exit code.
pub(super) fn run(
    catalog: &'static [&'static Scenario],
    args: &RunArgs,
    console: &Console,
) -> Result<u8, CommandError> {
    let outlines: Vec<_> = catalog.iter().map(|scenario| scenario.outline).collect();
    let selection = Selection {
        filters: args.filters.clone(),
        affinities: args.affinity.clone(),
        transports: args.transport.clone(),
    };
    // A filter that names nothing is told before anything is built or started.
    let selected = plan::plan(&outlines, &selection, &plan::Offers::every_cell())
        .map_err(|error| CommandError::usage(error.to_string()).hint("`hubcheck list` names them all"))?
        .len();
    let expected = args.expected.as_deref().map(Expected::read).transpose()?.unwrap_or_default();
    expected.names_cells(&outlines)?;
    let (mut sink, write_errors) = reports::sinks(&args.report, console)?;
    let run_name = run_name();
    reports::is_writable(&args.evidence)?;
    let (mut rig, judged) = rig(args, &run_name)?;
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
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    let mut jobs = args.jobs.unwrap_or_else(|| default_jobs(args)).max(1);
    let mut reports = Vec::new();
    let mut phases = Vec::new();
    let mut cells_took = Duration::ZERO;
    let finished = runtime.block_on(async {
        let mut interrupts = Interrupts::heard()?;
        // Surveyed by itself first: what it made must be there to be ended when the run is interrupted.
        sink.event(&RunEvent::Surveying { hub: &about.hub });
        let explicit = !args.transport.is_empty();
        let wanted = if explicit { args.transport.clone() } else { Transport::ALL.to_vec() };
        let surveyed = caught(async {
            tokio::select! {
                done = surveyed_and_measured(&mut rig, &wanted, explicit, jobs.min(selected)) => Some(done),
                () = interrupts.next() => None,
            }
        });
        let surveyed = surveyed.await;
        about.notes.extend(rig.notes());
        if args.jobs.is_none() {
            let fewer = rig.cells_at_once(jobs);
            if fewer < jobs {
                about.notes.push(format!(
                    "cells at once: {fewer} instead of {jobs}, because more replicas would slow each other down on this machine"
                ));
            }
            jobs = fewer;
        }
        about.replicas = rig.replicas;
        about.notes.extend(rig.noted().iter().cloned());
        let rig = Arc::new(rig);
        let mut work = async |surveyed: Surveyed| {
            let planned = plan::plan(&outlines, &selection, &rig.offers)
                .map_err(|error| CommandError::usage(error.to_string()))?;
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
            run_cells(&rig, catalog, &planned, jobs, &mut sink, &mut reports).await;
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
        phases = rig.phases();
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

async fn surveyed_and_measured(
    rig: &mut Rig,
    wanted: &[Transport],
    by_name: bool,
    cells: usize,
) -> Result<Surveyed, RigError> {
    let surveyed = rig.survey(wanted, by_name).await?;
    // Without a way to the hub there is nothing to be measured, and no cell.
    if surveyed.nothing_spoken().is_none() {
        rig.measure(cells).await?;
    }
    Ok(surveyed)
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

// === from arguments to a rig ===

/// The rig, and what it judges in lines for the user.
fn rig(args: &RunArgs, run_name: &str) -> Result<(Rig, Vec<String>), CommandError> {
    flags_fit(args)?;
    let asked = args.replicas.map(|replicas| replica_count(replicas, most_replicas(args))).transpose()?;
    if args.jobs == Some(0) {
        return Err(CommandError::usage("`--jobs 0` runs nothing").hint("give 1 or more"));
    }
    let headers = args.header.iter().filter(|header| !header.trim().is_empty());
    let mut headers = headers.map(|header| name_value("--header", header)).collect::<Result<Vec<_>, _>>()?;
    let running = args.url.as_deref().map(RunningHub::parse).transpose().map_err(rig_error)?;
    let (sse_path, mcp_path) = paths(args, running.as_ref());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        headers.extend(running.as_ref().and_then(RunningHub::authorization));
    }
    let dialect = Dialect {
        sse_path: path_arg("--sse-path", &sse_path)?,
        mcp_path: path_arg("--mcp-path", &mcp_path)?,
        headers,
        ..Dialect::default()
    };
    let ready = Duration::from_secs(args.hub.ready_timeout);
    let timeouts = Timeouts {
        ready,
        // A change starts replicas, too.
        settle: Timeouts::default().settle.max(ready),
        idle: args.idle.map_or(IDLE, Duration::from_secs),
        ..Timeouts::default()
    };
    let tools = args.tool.iter().map(|tool| tool_name(tool)).collect::<Result<Vec<_>, _>>()?;
    let evidence = args.evidence.join(run_name);
    let hub = match running {
        Some(running) => Hub::Url(Box::new(running)),
        None if args.backend == BackendArg::Kind => Hub::Kind(Box::new(kind_hub(args, run_name)?)),
        None if args.backend == BackendArg::Kube => Hub::Kube(Box::new(kube_hub(args, run_name)?)),
        None => Hub::Local(Box::new(local_hub(&args.hub)?)),
    };
    let judged = deployed::judged(asked, &args.affinity, &hub);
    let rig = Rig::new(hub, judged.replicas, dialect, timeouts, tools, evidence).map_err(rig_error)?;
    let mut rig = rig.with_asked_replicas(asked.is_some());
    rig.offers.deployed = judged.deployed;
    if let Some(origin) = args.origin.as_deref() {
        rig.allow_origin(origin::origin_arg(origin)?);
    }
    observe::observe(&mut rig, args)?;
    Ok((rig, judged.notes))
}

/// A flag that this run would ignore is refused: who gives it believes that something else is checked.
fn flags_fit(args: &RunArgs) -> Result<(), CommandError> {
    let (backend, pods) = match (&args.url, args.backend) {
        (Some(_), _) => ("`--url`, a hub that is already running", false),
        (None, BackendArg::Local) => ("`--backend local`, whose replicas are processes", false),
        (None, BackendArg::Kind) => ("`--backend kind`", true),
        (None, BackendArg::Kube) => ("`--backend kube`", true),
    };
    let is_kube = args.url.is_none() && args.backend == BackendArg::Kube || args.observe.is_some();
    let is_kind = args.url.is_none() && args.backend == BackendArg::Kind;
    // A context from the environment may be there for other runs.
    let context =
        args.context.as_ref().filter(|name| std::env::var("HUBCHECK_CONTEXT").ok().as_ref() != Some(name));
    let misfits = [
        (
            "--image",
            args.image.is_some() && !pods,
            "`--backend kind` or `--backend kube`; on `local` give `--command`",
        ),
        (
            "--apply",
            !args.apply.is_empty() && (args.backend != BackendArg::Kube || args.url.is_some()),
            "`--backend kube`; on `kind` everything of the manifests that belongs to a namespace is applied",
        ),
        ("--keep", args.keep && !is_kind, "`--backend kind`"),
        (
            "--build",
            args.build.is_some() && !is_kind,
            "`--backend kind`; for another cluster push the image, and name it by `--image`",
        ),
        ("--context", context.is_some() && !is_kube, "`--backend kube` or `--observe`"),
        ("--kubeconfig", args.kubeconfig.is_some() && !is_kube, "`--backend kube` or `--observe`"),
        ("--relay-image", args.relay_image.is_some() && !pods, "`--backend kind` or `--backend kube`"),
        (
            "--companion",
            !args.hub.companion.is_empty() && (args.backend != BackendArg::Local || args.url.is_some()),
            "`--backend local`; on a cluster companions are those of the manifests",
        ),
        ("--env", !args.hub.env.is_empty() && args.url.is_some(), "a hub that hubcheck starts"),
        ("--ready-path", args.hub.ready_path.is_some() && args.url.is_some(), "a hub that hubcheck starts"),
    ];
    match misfits.into_iter().find(|(_, is_misfit, _)| *is_misfit) {
        Some((flag, _, fits)) => Err(CommandError::usage(format!("`{flag}` means nothing to {backend}"))
            .hint(format!("it is for {fits}"))),
        None => Ok(()),
    }
}

/// The largest number of replicas whose clients a cell has addresses for; a hub that is running already is as it is.
fn most_replicas(args: &RunArgs) -> Option<usize> {
    match args.backend {
        _ if args.url.is_some() => None,
        BackendArg::Local => Some(MOST_REPLICAS_LOCAL),
        BackendArg::Kind | BackendArg::Kube => Some(MOST_REPLICAS_OF_PODS),
    }
}

/// How many replicas, if it is a number that can be run.
pub(super) fn replica_count(replicas: usize, most: Option<usize>) -> Result<usize, CommandError> {
    if replicas == 0 {
        return Err(CommandError::usage("`--replicas 0` leaves no hub to check").hint("give 1 or more"));
    }
    match most.filter(|most| replicas > *most) {
        Some(most) => Err(CommandError::usage(format!(
            "`--replicas {replicas}` takes more clients than a cell has addresses for"
        ))
        .hint(format!("give {most} or fewer"))),
        None => Ok(replicas),
    }
}

/// The paths of HTTP+SSE and of Streamable HTTP. A URL as users copy it leads to one transport: its path takes the place
/// of that transport's.
fn paths(args: &RunArgs, running: Option<&RunningHub>) -> (String, String) {
    let (sse, mcp) = (args.sse_path.clone(), args.mcp_path.clone());
    match running.and_then(RunningHub::path) {
        Some((Transport::Sse, path)) => (path, mcp),
        Some((Transport::Streamable | Transport::Stateless, path)) => (sse, path),
        None => (sse, mcp),
    }
}

pub(super) fn local_hub(args: &HubArgs) -> Result<LocalHub, CommandError> {
    if !cfg!(target_os = "linux") {
        let error = "the embedded cluster runs replicas as Linux processes, and this is not Linux";
        return Err(CommandError::usage(error).hint("use `run --backend kind`, which needs Docker"));
    }
    let ready_path = args.ready_path.as_deref().map(|path| path_arg("--ready-path", path)).transpose()?;
    let command =
        args.command.as_deref().map(|command| launch("--command", command, args.shell)).transpose()?;
    let mut launches = Vec::new();
    for given in &args.image_command {
        let (image, command) = name_value("--image-command", given)?;
        launches.push((image, launch("--image-command", &command, false)?));
    }
    let manifests = manifests::manifests(args, None)?;
    let env = args.env.iter().map(|given| name_value("--env", given)).collect::<Result<Vec<_>, _>>()?;
    let supervisor = std::env::current_exe()
        .map_err(|error| CommandError::inconclusive(format!("finding this executable: {error}")))?;
    let companions = manifests::companions(&args.companion)?;
    let hub = LocalHub::new(manifests, command, launches, ready_path, env, supervisor).map_err(rig_error)?;
    let hub = hub.beside(companions);
    hub.with_reference(
        || {
            reference::build(reference::Messages::Shown)
                .map_err(|error| CommandError::usage(error.to_string()))
        },
        rig_error,
    )
}

fn launch(flag: &str, command: &str, shell: bool) -> Result<Launch, CommandError> {
    let argv = if shell {
        vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()]
    } else {
        shell_words::split(command).map_err(|error| {
            CommandError::usage(format!("`{flag}`: {error} in `{command}`"))
                .hint("the command is split as a shell would; `--shell` gives it to a shell")
        })?
    };
    if argv.is_empty() {
        return Err(CommandError::usage(format!("`{flag}` is empty")).hint("give the hub's command line"));
    }
    Ok(Launch { argv, cwd: None })
}

fn name_value(flag: &str, given: &str) -> Result<(String, String), CommandError> {
    match given.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        // The value may be a secret: it is not repeated.
        _ => Err(CommandError::usage(format!("`{flag}` needs NAME=VALUE"))
            .hint(format!("such as `{flag} NAME=VALUE`"))),
    }
}

fn tool_name(given: &str) -> Result<(Tool, String), CommandError> {
    let (part, name) = given.split_once('=').unwrap_or((given, given));
    let tool = part
        .trim()
        .parse::<Tool>()
        .map_err(|error| CommandError::usage(format!("`--tool {given}`: {error}")))?;
    match name.trim() {
        "" => Err(CommandError::usage(format!("`--tool {given}` names no tool"))
            .hint(format!("such as `--tool {tool}=NAME`"))),
        name => Ok((tool, name.to_owned())),
    }
}

pub(super) fn path_arg(flag: &str, path: &str) -> Result<String, CommandError> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(CommandError::usage(format!("`{flag} {path}` is no path"))
            .hint(format!("write `{flag} /{path}`")))
    }
}

fn default_jobs(args: &RunArgs) -> usize {
    if args.backend == BackendArg::Kube {
        return JOBS_ELSEWHERE;
    }
    let is_ours = args.hub.command.is_none()
        && args.hub.has_no_manifests()
        && args.url.is_none()
        && args.image.is_none()
        && args.build.is_none();
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    match (is_ours, args.backend) {
        (true, BackendArg::Kind) => (cores * JOBS_ON_NODES).min(JOBS_REFERENCE),
        (true, _) => JOBS_REFERENCE,
        (false, _) => cores * JOBS_PER_CORE,
    }
}

pub(super) fn rig_error(error: RigError) -> CommandError {
    let code = match error.blame() {
        Blame::Input => exit::USAGE,
        Blame::Hub => exit::DOES_NOT_CONFORM,
        Blame::Unknown => exit::INCONCLUSIVE,
    };
    CommandError { message: error.to_string(), hint: error.hint(), code }
}

// === around the run ===

/// A short name that no other run is likely to have.
pub(super) fn run_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}", (since.as_millis() as u64 ^ (u64::from(std::process::id()) << 20)) & 0xffff_ffff)
}
