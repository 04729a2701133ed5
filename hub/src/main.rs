//! The `hub` binary: reads the command line, listens, and stops when it is told to.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use hub::app::App;
use hub::cli::{Args, Sessions, replica_name};
use hub::defect::Defect;
use hub::drain::Drain;
use hub::guard::Guard;
use hub::log;
use hub::origin::Origins;
use hub::replica::Replica;
use hub::serve::serve;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// It could not listen.
const CANNOT_SERVE: u8 = 1;
/// The command line or the environment is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list_defects {
        for defect in Defect::value_variants() {
            #[expect(clippy::print_stdout, reason = "this is what the user asked for")]
            {
                println!("{}\t{}", defect.name(), defect.what());
            }
        }
        return ExitCode::SUCCESS;
    }
    let is_silent = args.defects().is_ok_and(|defects| defects.has(Defect::DiesSilently));
    // One thread: a hub waits for the network, and each further thread costs memory that every replica pays.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err((CANNOT_SERVE, format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, line)) => {
            if !is_silent {
                log!("{line}");
            }
            ExitCode::from(code)
        }
    }
}

async fn run(args: Args) -> Result<(), (u8, String)> {
    let usage = |line| (USAGE, line);
    let env = |name: &str| std::env::var_os(name);
    let defects = args.defects().map_err(usage)?;
    let lacks = args.check_secrets(env).err();
    if !defects.has(Defect::StartsWithoutSecret) && !defects.has(Defect::HangsWithoutSecret) {
        lacks.clone().map_or(Ok(()), Err).map_err(usage)?;
    }
    let keyring = args.keyring(env).map_err(usage)?;
    // As PID 1 a process without handlers ignores SIGTERM.
    let mut stop = Stop::new().map_err(|error| (CANNOT_SERVE, format!("cannot handle signals: {error}")))?;
    let cannot_listen =
        |error| (CANNOT_SERVE, format!("cannot listen on {}:{}: {error}", args.host, args.port));
    if !args.start_delay.0.is_zero() {
        log!("starting takes {} ms", args.start_delay.0.as_millis());
        if let Ok(code) = tokio::time::timeout(args.start_delay.0, stop.next()).await {
            std::process::exit(code);
        }
    }
    let listener = TcpListener::bind((args.host.as_str(), args.port)).await.map_err(cannot_listen)?;
    let bound = listener.local_addr().map_err(cannot_listen)?;
    let replica = Arc::new(Replica {
        name: replica_name(env),
        defects,
        drain: Arc::new(Drain::default()),
        sessions: Arc::default(),
        ids: args.ids(keyring, bound, env).map_err(usage)?,
        limits: args.limits(),
        lacks,
        begun: Default::default(),
        // In memory nobody is told, so a wrong POD_IP is no error there.
        address: args.address(bound, env).unwrap_or(bound),
        issued: Default::default(),
        first_id: Default::default(),
    });
    let mode = if args.sessions == Sessions::Forward { "forward" } else { "memory" };
    log!("listening on {bound} as {} (sessions: {mode})", replica.name);
    let app = Arc::new(App::new(
        replica.clone(),
        args.toolset,
        Origins::new(args.allow_origin),
        Guard::new(args.token.as_deref()),
    ));
    tokio::spawn(app.forwarder.clone().sweep());
    tokio::spawn(replica.clone().sweep());
    if defects.has(Defect::ForgetsAfterPause) {
        tokio::spawn(replica.clone().forget_after_pauses());
    }
    tokio::spawn(stopped(stop, replica, args.drain_delay.0, args.grace.0));
    serve(app, listener).await;
    log!("stopped");
    Ok(())
}

/// The signals that stop the process.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one, and gives the exit code of a process that it ends at once.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.term.recv() => 143,
            _ = self.int.recv() => 130,
        }
    }
}

async fn stopped(
    mut stop: Stop,
    replica: Arc<Replica>,
    delay: std::time::Duration,
    grace: std::time::Duration,
) {
    stop.next().await;
    if replica.defects.has(Defect::IgnoresSigterm) {
        return std::future::pending().await;
    }
    if replica.defects.has(Defect::DropsCallsOnStop) {
        std::process::exit(0);
    }
    let drain = &replica.drain;
    log!("stopping: {} sessions, {} calls in flight", replica.sessions.count(), drain.calls());
    tokio::select! {
        () = drain.run(delay, grace) => {}
        code = stop.next() => std::process::exit(code),
    }
    if drain.calls() > 0 {
        log!("{} calls were still running after {} ms", drain.calls(), grace.as_millis());
    }
    std::process::exit(stop.next().await);
}
