//! From the command line to a rig: the hub that its flags name, and what they say of it.

use std::time::Duration;

use super::super::bad_input::CommandError;
use super::super::{BackendArg, HubArgs, RunArgs};
use super::pods::{kind_hub, kube_hub};
use super::{calls, deployed, manifests, observe, origin, rig_error};
use crate::cluster::local::Launch;
use crate::plan::Transport;
use crate::run::reference;
use crate::run::rig::{Hub, LocalHub, Rig, RunningHub};
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
pub(in crate::cli) const MOST_REPLICAS_LOCAL: usize = 8;

/// Beyond this a cell that scales up needs more clients than have a relay of their own on a real cluster.
const MOST_REPLICAS_OF_PODS: usize = 14;

/// The rig, and what it judges in lines for the user.
pub(super) fn rig(args: &RunArgs, run_name: &str) -> Result<(Rig, Vec<String>), CommandError> {
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
    let tools = args.tool.iter().map(|tool| calls::tool_name(tool)).collect::<Result<Vec<_>, _>>()?;
    let named_calls = calls::named_calls(&args.call)?;
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
    rig.allow_calls(named_calls);
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
pub(in crate::cli) fn replica_count(replicas: usize, most: Option<usize>) -> Result<usize, CommandError> {
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

pub(in crate::cli) fn local_hub(args: &HubArgs) -> Result<LocalHub, CommandError> {
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

pub(super) fn name_value(flag: &str, given: &str) -> Result<(String, String), CommandError> {
    match given.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        // The value may be a secret: it is not repeated.
        _ => Err(CommandError::usage(format!("`{flag}` needs NAME=VALUE"))
            .hint(format!("such as `{flag} NAME=VALUE`"))),
    }
}

pub(in crate::cli) fn path_arg(flag: &str, path: &str) -> Result<String, CommandError> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(CommandError::usage(format!("`{flag} {path}` is no path"))
            .hint(format!("write `{flag} /{path}`")))
    }
}

/// How many cells run at once, unless the user says so.
pub(super) fn default_jobs(args: &RunArgs) -> usize {
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
