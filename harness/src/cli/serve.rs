//! The command `serve`: replicas behind the embedded balancer, for a client of the user's own.
//!
//! Addresses go to standard output, one a line; everything else to standard error.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use super::bad_input::CommandError;
use super::interrupt::Interrupts;
use super::{ServeArgs, exit, run};
use crate::cluster::backend::Cluster;
use crate::cluster::local::UpError;
use crate::plan::{Need, Transport};
use crate::run::Rig;
use crate::run::rig::{Hub, RigError};
use crate::timeouts::Timeouts;
use crate::transcript::{PodChange, Recorder, What};
use crate::wire::Dialect;

/// How often what happened is told.
const TELL: Duration = Duration::from_millis(100);

/// Serves until it is interrupted, which is its ordinary end.
pub(super) fn serve(args: &ServeArgs) -> Result<u8, CommandError> {
    let replicas = run::replica_count(args.replicas, Some(run::MOST_REPLICAS_LOCAL))?;
    // Tried before anything is built: the balancer says so too, should somebody take the port meanwhile.
    TcpListener::bind(args.listen).map_err(|error| cannot_listen(args, &error))?;
    let dialect = Dialect {
        sse_path: run::path_arg("--sse-path", &args.sse_path)?,
        mcp_path: run::path_arg("--mcp-path", &args.mcp_path)?,
        ..Dialect::default()
    };
    let timeouts = Timeouts { ready: Duration::from_secs(args.hub.ready_timeout), ..Timeouts::default() };
    let hub = Hub::Local(Box::new(run::local_hub(&args.hub)?));
    let mut rig =
        Rig::new(hub, replicas, dialect, timeouts, Vec::new(), PathBuf::new()).map_err(run::rig_error)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    let code = runtime.block_on(async {
        let mut interrupts = Interrupts::heard()?;
        let (cluster, recorder) = tokio::select! {
            served = up(&mut rig, args) => served?,
            () = interrupts.next() => return Ok(exit::INTERRUPTED),
        };
        told(&cluster, &recorder, &mut interrupts).await;
        tokio::select! {
            () = cluster.down() => Ok(exit::CONFORMS),
            () = interrupts.next() => Ok(exit::INTERRUPTED),
        }
    });
    // What is still up ends with its supervisors, which see their pipes close.
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

/// Starts the cluster and says where it is.
async fn up(rig: &mut Rig, args: &ServeArgs) -> Result<(Cluster, Recorder), CommandError> {
    say(&format!("Looking at {}", rig.hub));
    let surveyed = rig.survey(&Transport::ALL, false).await.map_err(run::rig_error)?;
    if let Some(error) = surveyed.nothing_spoken() {
        return Err(run::rig_error(error));
    }
    say(&format!("Starting {} replicas, affinity {}", rig.replicas, args.affinity));
    let recorder = Recorder::new(rig.secrets());
    let cluster =
        rig.serve(args.listen.into(), args.affinity, &recorder).await.map_err(|error| match error {
            RigError::Up(UpError::Balancer { error, .. }) => cannot_listen(args, &error),
            other => run::rig_error(other),
        })?;
    let mut stdout = io::stdout().lock();
    let speaks = |transport| rig.offers.meets(Need::Speaks(transport));
    let paths = [
        (speaks(Transport::Sse), &args.sse_path),
        (speaks(Transport::Streamable) || speaks(Transport::Stateless), &args.mcp_path),
    ];
    for (_, path) in paths.iter().filter(|(is_spoken, _)| *is_spoken) {
        // Without a reader there is nobody to tell.
        let _ = writeln!(stdout, "http://{}{path}", cluster.service().addr);
    }
    let _ = stdout.flush();
    Ok((cluster, recorder))
}

/// Tells what becomes of the replicas until the interrupt, and then which had how many connections.
async fn told(cluster: &Cluster, recorder: &Recorder, interrupts: &mut Interrupts) {
    say("Serving until Ctrl-C");
    let mut routed: BTreeMap<String, u64> = BTreeMap::new();
    let names = cluster.ready_replicas();
    routed.extend(names.into_iter().map(|name| (name, 0)));
    let mut tick = tokio::time::interval(TELL);
    let telling = async {
        loop {
            tick.tick().await;
            tell(recorder, &mut routed);
        }
    };
    tokio::select! {
        () = telling => {}
        () = interrupts.next() => {}
    }
    tell(recorder, &mut routed);
    say(&format!("connections at {}:", cluster.service().addr));
    for (replica, connections) in &routed {
        say(&format!("  {replica}  {connections}"));
    }
}

fn tell(recorder: &Recorder, routed: &mut BTreeMap<String, u64>) {
    for entry in recorder.take() {
        match entry.what {
            What::Routed { replica, .. } => *routed.entry(replica).or_default() += 1,
            What::Pod { pod, change } => {
                if let Some(words) = words(&change) {
                    say(&format!("  {pod}  {words}"));
                }
            }
            _ => {}
        }
    }
}

/// What is worth telling of a change.
fn words(change: &PodChange) -> Option<String> {
    match change {
        PodChange::Ready => Some("ready".to_owned()),
        PodChange::NotReady => Some("not ready".to_owned()),
        PodChange::Waiting { reason, message } => Some(format!("waiting: {reason} {message}")),
        PodChange::Terminated { reason, exit_code, .. } => {
            Some(format!("ended: {reason}, exit code {exit_code}"))
        }
        PodChange::Running { restarts } if *restarts > 0 => {
            Some(format!("running, restarted {restarts} times"))
        }
        _ => None,
    }
}

fn cannot_listen(args: &ServeArgs, error: &io::Error) -> CommandError {
    CommandError::usage(format!("cannot listen at {}: {error}", args.listen)).hint("give another `--listen`")
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
