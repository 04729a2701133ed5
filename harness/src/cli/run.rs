//! The command `run`: from the command line to a rig, a plan, and a summary.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::bad_input::CommandError;
use super::{BackendArg, Expected, HubArgs, RunArgs, exit, strictness};
use crate::check::Verdict;
use crate::cluster::kubernetes::Context;
use crate::cluster::local::Launch;
use crate::cluster::manifest::Manifests;
use crate::plan::{self, Selection, Tool, Transport};
use crate::report::json::Json;
use crate::report::terminal::Terminal;
use crate::report::{About, Fan, RunEvent, Sink, Summary};
use crate::run::kind_hub::{Hurry, Keep, KindHub};
use crate::run::kube_hub::{KubeGiven, KubeHub};
use crate::run::rig::{Hub, LocalHub, Rig, RigError};
use crate::run::{Scenario, reference, run_cells};
use crate::timeouts::Timeouts;
use crate::wire::Dialect;

/// How many cells of the reference hub run at once: they wait much more than they work.
const JOBS_REFERENCE: usize = 16;

/// How many cells of another hub run at once for each core: it may be slow to start.
const JOBS_PER_CORE: usize = 2;

/// How many cells run at once on a cluster that is not ours: others may use it.
const JOBS_ELSEWHERE: usize = 4;

/// Beyond this a cell needs more clients than an embedded cluster has addresses for: their number grows with it.
const MOST_REPLICAS: usize = 8;

/// Runs cells and returns the exit code.
pub(super) fn run(catalog: &'static [&'static Scenario], args: &RunArgs) -> Result<u8, CommandError> {
    let outlines: Vec<_> = catalog.iter().map(|scenario| scenario.outline).collect();
    let selection = Selection {
        filters: args.filters.clone(),
        affinities: args.affinity.clone(),
        transports: args.transport.clone(),
    };
    // A filter that names nothing is told before anything is built or started.
    plan::plan(&outlines, &selection, &plan::Offers::every_cell())
        .map_err(|error| CommandError::usage(error.to_string()).hint("`hubcheck list` names them all"))?;
    let expected = args.expected.as_deref().map(Expected::read).transpose()?.unwrap_or_default();
    expected.names_cells(&outlines)?;
    let (mut sink, report_failed) = sinks(&args.report)?;
    let run_name = run_name();
    let mut rig = rig(args, &run_name)?;
    rig.strictness = strictness(args.strict);
    // From here on: what building the hub took is cargo's to tell.
    let began = Instant::now();
    let about = About {
        backend: rig.backend_name().to_owned(),
        hub: rig.hub.clone(),
        replicas: rig.replicas,
        run: run_name,
        notes: rig.notes(),
        rerun: rerun(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    let jobs = args.jobs.unwrap_or_else(|| default_jobs(args)).max(1);
    let mut reports = Vec::new();
    let mut phases = Vec::new();
    let mut cells_took = Duration::ZERO;
    let finished = runtime.block_on(async {
        // Surveyed by itself first: what it made must be there to be ended when the run is interrupted.
        sink.event(&RunEvent::Surveying { hub: &about.hub });
        let explicit = !args.transport.is_empty();
        let wanted = if explicit { args.transport.clone() } else { Transport::ALL.to_vec() };
        let surveyed = tokio::select! {
            done = rig.survey(&wanted, explicit) => Some(done),
            () = interrupted() => None,
        };
        let rig = Arc::new(rig);
        let work = async {
            let planned = plan::plan(&outlines, &selection, &rig.offers)
                .map_err(|error| CommandError::usage(error.to_string()))?;
            sink.event(&RunEvent::Started { planned: &planned, about: &about });
            let since = Instant::now();
            run_cells(&rig, catalog, &planned, jobs, &mut sink, &mut reports).await;
            cells_took = since.elapsed();
            Ok::<_, CommandError>(())
        };
        let worked = match surveyed {
            Some(Ok(())) => tokio::select! {
                done = work => Some(done),
                () = interrupted() => None,
            },
            Some(Err(error)) => Some(Err(rig_error(error))),
            None => None,
        };
        let hurry = if worked.is_some() { Hurry::No } else { Hurry::Yes };
        if let Err(error) = rig.finish(hurry).await {
            tracing::warn!("cleaning up: {error}");
        }
        phases = rig.phases();
        worked
    });
    // Whatever is still up ends with its supervisors, which see their pipes close.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let interrupted = finished.is_none().then(|| "interrupted; every replica was ended".to_owned());
    finished.transpose()?;
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
    if let Some(failed) = report_failed.and_then(|failed| failed.lock().ok()?.take()) {
        return Err(CommandError::usage(failed));
    }
    Ok(if summary.interrupted.is_some() { exit::INTERRUPTED } else { exit_code(&summary) })
}

/// The exit code that a summary comes to.
fn exit_code(summary: &Summary) -> u8 {
    let has = |verdict| summary.reports.iter().any(|report| report.verdict == verdict);
    let is_expected = |cell: &str| summary.expected.iter().any(|(expected, _)| expected == cell);
    let failed = summary
        .reports
        .iter()
        .any(|report| report.verdict == Verdict::Fail && !is_expected(&report.cell.to_string()));
    if failed || !summary.stale.is_empty() {
        exit::DOES_NOT_CONFORM
    } else if has(Verdict::Inconclusive) {
        exit::INCONCLUSIVE
    } else if summary.reports.iter().all(|report| report.verdict == Verdict::NotApplicable) {
        exit::NOTHING_SELECTED
    } else {
        exit::CONFORMS
    }
}

// === from arguments to a rig ===

fn rig(args: &RunArgs, run_name: &str) -> Result<Rig, CommandError> {
    flags_fit(args)?;
    let replicas = replica_count(args.replicas.unwrap_or(2))?;
    if args.jobs == Some(0) {
        return Err(CommandError::usage("`--jobs 0` runs nothing").hint("give 1 or more"));
    }
    let headers = args.header.iter().filter(|header| !header.trim().is_empty());
    let headers = headers.map(|header| name_value("--header", header)).collect::<Result<Vec<_>, _>>()?;
    let (url, sse_path, mcp_path) = url_and_paths(args);
    let dialect = Dialect {
        sse_path: path_arg("--sse-path", &sse_path)?,
        mcp_path: path_arg("--mcp-path", &mcp_path)?,
        headers,
    };
    let timeouts = Timeouts { ready: Duration::from_secs(args.hub.ready_timeout), ..Timeouts::default() };
    let tools = args.tool.iter().map(|tool| tool_name(tool)).collect::<Result<Vec<_>, _>>()?;
    let evidence = args.evidence.join(run_name);
    let hub = match url {
        Some(url) => Hub::Url(url),
        None if args.backend == BackendArg::Kind => Hub::Kind(Box::new(kind_hub(args, run_name)?)),
        None if args.backend == BackendArg::Kube => Hub::Kube(Box::new(kube_hub(args, run_name)?)),
        None => Hub::Local(Box::new(local_hub(&args.hub)?)),
    };
    Rig::new(hub, replicas, dialect, timeouts, tools, evidence).map_err(rig_error)
}

/// A flag that this run would ignore is refused: who gives it believes that something else is checked.
fn flags_fit(args: &RunArgs) -> Result<(), CommandError> {
    let (backend, pods) = match (&args.url, args.backend) {
        (Some(_), _) => ("`--url`, a hub that is already running", false),
        (None, BackendArg::Local) => ("`--backend local`, whose replicas are processes", false),
        (None, BackendArg::Kind) => ("`--backend kind`", true),
        (None, BackendArg::Kube) => ("`--backend kube`", true),
    };
    let is_kube = args.url.is_none() && args.backend == BackendArg::Kube;
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
        ("--keep", args.keep && !is_kind, "`--backend kind`"),
        ("--context", context.is_some() && !is_kube, "`--backend kube`"),
        ("--kubeconfig", args.kubeconfig.is_some() && !is_kube, "`--backend kube`"),
        ("--relay-image", args.relay_image.is_some() && !is_kube, "`--backend kube`"),
        ("--env", !args.hub.env.is_empty() && args.url.is_some(), "a hub that hubcheck starts"),
        ("--ready-path", args.hub.ready_path.is_some() && args.url.is_some(), "a hub that hubcheck starts"),
    ];
    match misfits.into_iter().find(|(_, is_misfit, _)| *is_misfit) {
        Some((flag, _, fits)) => Err(CommandError::usage(format!("`{flag}` means nothing to {backend}"))
            .hint(format!("it is for {fits}"))),
        None => Ok(()),
    }
}

/// How many replicas, if it is a number that can be run.
pub(super) fn replica_count(replicas: usize) -> Result<usize, CommandError> {
    if replicas == 0 {
        return Err(CommandError::usage("`--replicas 0` leaves no hub to check").hint("give 1 or more"));
    }
    if replicas > MOST_REPLICAS {
        return Err(CommandError::usage(format!(
            "`--replicas {replicas}` is more than the embedded cluster has addresses for"
        ))
        .hint(format!("give {MOST_REPLICAS} or fewer")));
    }
    Ok(replicas)
}

/// A URL as users copy it leads to one transport; its path takes the place of that transport's.
fn url_and_paths(args: &RunArgs) -> (Option<String>, String, String) {
    let (sse, mcp) = (args.sse_path.clone(), args.mcp_path.clone());
    let Some(url) = &args.url else { return (None, sse, mcp) };
    let begin = url.find("://").map_or(0, |scheme| scheme + 3);
    let Some(slash) = url[begin..].find('/').map(|slash| begin + slash) else {
        return (Some(url.clone()), sse, mcp);
    };
    let (origin, path) = (url[..slash].to_owned(), url[slash..].to_owned());
    match path.as_str() {
        "/" => (Some(origin), sse, mcp),
        path if path.trim_end_matches('/').ends_with("/sse") => (Some(origin), path.to_owned(), mcp),
        path => (Some(origin), sse, path.to_owned()),
    }
}

fn kind_hub(args: &RunArgs, run_name: &str) -> Result<KindHub, CommandError> {
    let (manifests, ready_path, env) = of_pods(args)?;
    let keep = if args.keep { Keep::Cluster } else { Keep::Found };
    let hub =
        KindHub::new(manifests, args.image.clone(), ready_path.as_deref(), env, run_name.to_owned(), keep);
    Ok(hub.map_err(rig_error)?.on(&args.place.cluster))
}

fn kube_hub(args: &RunArgs, run_name: &str) -> Result<KubeHub, CommandError> {
    let (manifests, ready_path, env) = of_pods(args)?;
    let Some(name) = args.context.clone() else {
        return Err(CommandError::usage("`--backend kube` runs only on a cluster that is named").hint(
            "give `--context NAME`, one of `kubectl config get-contexts`: the current one is not taken for granted",
        ));
    };
    let given = KubeGiven {
        context: Context { kubeconfig: args.kubeconfig.clone(), name },
        manifests,
        image: args.image.clone(),
        relay_image: args.relay_image.clone(),
        ready_path,
        env,
    };
    KubeHub::new(given, run_name.to_owned()).map_err(rig_error)
}

type OfPods = (Option<Manifests>, Option<String>, Vec<(String, String)>);

/// The manifests, the ready path and the environment of a hub whose replicas are pods.
fn of_pods(args: &RunArgs) -> Result<OfPods, CommandError> {
    if args.hub.command.is_some() || !args.hub.image_command.is_empty() {
        let backend =
            args.backend.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        return Err(CommandError::usage(format!("`--backend {backend}` runs images, not command lines"))
            .hint(format!("give `--image IMAGE`, or leave out `--backend {backend}`")));
    }
    let manifests = args.hub.manifests.as_ref().map(|folder| Manifests::read(std::slice::from_ref(folder)));
    let manifests = manifests.transpose().map_err(|error| CommandError::usage(error.to_string()))?;
    let ready_path = args.hub.ready_path.as_deref().map(|path| path_arg("--ready-path", path)).transpose()?;
    let env = args.hub.env.iter().map(|given| name_value("--env", given)).collect::<Result<Vec<_>, _>>()?;
    Ok((manifests, ready_path, env))
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
    let manifests = match &args.manifests {
        Some(folder) => Some(
            Manifests::read(std::slice::from_ref(folder))
                .map_err(|error| CommandError::usage(error.to_string()))?,
        ),
        None => None,
    };
    let env = args.env.iter().map(|given| name_value("--env", given)).collect::<Result<Vec<_>, _>>()?;
    let supervisor = std::env::current_exe()
        .map_err(|error| CommandError::inconclusive(format!("finding this executable: {error}")))?;
    let hub = LocalHub::new(manifests, command, launches, ready_path, env, supervisor).map_err(rig_error)?;
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
    let (need, name) = name_value("--tool", given)?;
    let tool =
        need.parse::<Tool>().map_err(|error| CommandError::usage(format!("`--tool {given}`: {error}")))?;
    Ok((tool, name))
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
    let ours = args.hub.command.is_none() && args.hub.manifests.is_none() && args.url.is_none();
    if ours {
        JOBS_REFERENCE
    } else {
        std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * JOBS_PER_CORE
    }
}

pub(super) fn rig_error(error: RigError) -> CommandError {
    let code = if error.is_usage() { exit::USAGE } else { exit::INCONCLUSIVE };
    CommandError { message: error.to_string(), hint: error.hint(), code }
}

// === around the run ===

type Failed = Arc<std::sync::Mutex<Option<String>>>;

fn sinks(reports: &[String]) -> Result<(Fan, Option<Failed>), CommandError> {
    let mut sinks: Vec<Box<dyn Sink + Send>> = vec![Box::new(Terminal::on_stderr())];
    let mut failed = None;
    for report in reports {
        match report.split_once('=') {
            Some(("json", path)) if !path.is_empty() => {
                let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
                if folder.is_some_and(|folder| !folder.is_dir()) {
                    return Err(CommandError::usage(format!(
                        "`--report json={path}`: its folder does not exist"
                    )));
                }
                let (json, lost) = Json::new(path.into());
                sinks.push(Box::new(json));
                failed = Some(lost);
            }
            _ => {
                return Err(CommandError::usage(format!("`--report {report}` is not known"))
                    .hint("write `--report json=FILE`"));
            }
        }
    }
    Ok((Fan(sinks), failed))
}

/// A short name that no other run is likely to have.
pub(super) fn run_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}", (since.as_millis() as u64 ^ (u64::from(std::process::id()) << 20)) & 0xffff_ffff)
}

/// What a rerun line begins with: this command line without its filters and without the values of headers.
fn rerun() -> String {
    let mut words = Vec::new();
    let mut args = std::env::args().skip(1);
    let from_cargo = std::env::var_os("CARGO").is_some();
    words.push(if from_cargo { "cargo run --release --".to_owned() } else { "hubcheck".to_owned() });
    words.extend(args.next());
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--") else { continue };
        let (name, inline) =
            flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let takes_value = !matches!(name, "shell" | "strict" | "keep");
        let value = if takes_value { inline.or_else(|| args.next()) } else { None };
        match (name, value) {
            // A new run writes its own report, and runs one cell.
            ("report" | "expected" | "transport" | "affinity", _) => {}
            ("header", Some(value)) => {
                let name = value.split('=').next().unwrap_or_default();
                words.push(format!("--header {name}=<redacted>"));
            }
            ("env", Some(value)) => {
                let name = value.split('=').next().unwrap_or_default();
                words.push(format!("--env {name}=<redacted>"));
            }
            (_, Some(value)) => words.push(format!("--{name} {}", shell_words::quote(&value))),
            (_, None) => words.push(format!("--{name}")),
        }
    }
    words.join(" ")
}

pub(super) async fn interrupted() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(term) => term,
            Err(_) => return ctrl_c.await,
        };
        tokio::select! {
            () = ctrl_c => {}
            _ = term.recv() => {}
        }
    }
    #[cfg(not(unix))]
    ctrl_c.await;
}
