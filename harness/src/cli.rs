//! The command line: what users type, and what exit codes mean.

pub mod bad_input;
mod catalogue;
mod expected;
mod explain;
mod given;
mod help;
mod interrupt;
mod kind;
mod parity;
mod run;
mod serve;
mod warnings;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::check::{Check, Strictness, Unchecked};
use crate::cluster::manifest::CompanionKind;
use crate::cluster::supervisor;
use crate::plan::{Affinity, Outline, Transport};
use crate::report::console::Console;
use crate::run::Scenario;

use bad_input::CommandError;
pub use expected::{Expected, ExpectedFailure, ExpectedVerdict};

/// Exit codes: part of the interface.
pub mod exit {
    /// The hub conforms; there may be warnings.
    pub const CONFORMS: u8 = 0;
    /// The hub does not conform, or an expected failure is stale; or hub or proxy answer and cannot be used.
    pub const DOES_NOT_CONFORM: u8 = 1;
    /// The input is wrong: the command line, a file, a program that is missing, an address where nothing listens; or a report
    /// cannot be written.
    pub const USAGE: u8 = 2;
    /// It was not decided: too slow, or the harness or the cluster could not tell.
    pub const INCONCLUSIVE: u8 = 3;
    /// No cell was selected, or none applies.
    pub const NOTHING_SELECTED: u8 = 4;
    /// The user interrupted the run.
    pub const INTERRUPTED: u8 = 130;
}

/// Where transcripts are written, unless said otherwise.
const EVIDENCE: &str = "target/hubcheck";

/// How many seconds replicas have to become ready, unless said otherwise.
const READY_TIMEOUT: u64 = 60;

/// Does this MCP hub still work as several replicas behind a load balancer, when its pods are killed, starved,
/// misconfigured or rolled?
#[derive(Debug, Parser)]
#[command(name = "hubcheck", version, max_term_width = 100, after_help = help::COMMANDS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cells: start replicas, drive them, inject faults, judge
    #[command(after_help = help::RUN)]
    Run(Box<RunArgs>),
    /// Run replicas behind the embedded balancer until Ctrl-C, to try a client of your own
    Serve(Box<ServeArgs>),
    /// Make the KIND cluster and bring the hub's image into it, for `run --backend kind`
    Up(KindArgs),
    /// Remove the KIND cluster and everything else that hubcheck left in Docker
    Down(Place),
    /// List the scenarios and their cells
    List(ListArgs),
    /// Say what a scenario does, why, which sentence it enforces and what mends a failure; or what a cause is
    Explain {
        /// A scenario, such as `routing/owner-killed` or `owner-killed`, or the cause of a finding, such as `sessions-in-one-process`
        scenario: String,
    },
    /// Judge a transcript again, offline
    Check {
        /// A file that a run wrote
        transcript: PathBuf,
        /// Fail also for a MUST that the servers in the field ignore
        #[arg(long)]
        strict: bool,
    },
    /// Compare what two runs on different backends made of the same cells
    Parity(ParityArgs),
}

/// Which runs to compare.
#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// A folder of transcripts that a run wrote
    pub(crate) left: PathBuf,
    /// A folder of another run's transcripts
    pub(crate) right: PathBuf,
    /// A TOML file of accepted differences; a listed cell that does not differ is an error
    #[arg(long, value_name = "FILE")]
    pub(crate) accepted: Option<PathBuf>,
}

/// What the KIND cluster is for.
#[derive(Debug, Args)]
pub(crate) struct KindArgs {
    /// The hub's image in place of the reference hub's
    #[arg(long)]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Which KIND cluster.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The KIND cluster's name
    #[arg(
        long,
        value_name = "NAME",
        env = "HUBCHECK_CLUSTER",
        default_value = crate::cluster::kind::CLUSTER,
        value_parser = kind::cluster_name,
        help_heading = "Where"
    )]
    pub(crate) cluster: String,
}

/// Which cells to list.
#[derive(Debug, Args)]
struct ListArgs {
    /// Families, scenarios or cells; all when there is none
    filters: Vec<String>,
    /// Only this family, with a table of its checks: level, sentence, source, scenarios, remedy
    #[arg(long)]
    family: Option<String>,
    /// List every cell instead of every scenario
    #[arg(long)]
    cells: bool,
    /// Print the whole catalogue as Markdown: docs/CONFORMANCE.md
    #[arg(long, conflicts_with_all = ["filters", "family", "cells"])]
    markdown: bool,
}

/// What to run, on which hub, where.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The hub: a URL, or manifests (a file, a folder, `-`); and which cells to run: families, scenarios or cells (`routing`,
    /// `owner-killed`, `routing/owner-killed@off-sse`), all when there is none. A word with a slash, or that ends with .yaml, .yml or
    /// .json, is a path, unless it names cells
    #[arg(value_name = "HUB|CELLS")]
    pub(crate) filters: Vec<String>,
    /// Set where the command line names no subcommand
    #[arg(long, hide = true)]
    pub(crate) without_subcommand: bool,
    /// Only the quick profile: the cells that decide whether several replicas are safe, and that need no long wait. `hubcheck HUB`
    /// without `run` does that by itself
    #[arg(long, conflicts_with = "full", help_heading = "What")]
    pub(crate) quick: bool,
    /// Every cell, where `hubcheck HUB` without `run` would run the quick profile
    #[arg(long, help_heading = "What")]
    pub(crate) full: bool,

    /// Where the replicas run
    #[arg(long, value_enum, default_value_t = BackendArg::Local, env = "HUBCHECK_BACKEND", help_heading = "Where")]
    pub(crate) backend: BackendArg,
    /// A hub that is already running; only cells that need no control of its cluster apply. Its path may be that of one
    /// transport (`/sse`, else it is taken for Streamable HTTP). User, password and the values of a query are sent, and
    /// shown nowhere
    #[arg(long, conflicts_with_all = ["command", "manifests", "kustomize", "chart", "image_command"], help_heading = "Where")]
    pub(crate) url: Option<String>,
    /// Leave the KIND cluster that the run made
    #[arg(long, help_heading = "Where")]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The hub's image, for the backends whose replicas are pods
    #[arg(long, help_heading = "Where")]
    pub(crate) image: Option<String>,
    /// A folder with a Dockerfile: the image that `docker build` (or podman) makes of it is the hub's, on `kind`
    #[arg(long, value_name = "DIR", conflicts_with = "image", help_heading = "Where")]
    pub(crate) build: Option<PathBuf>,
    /// The pods behind `--url`, which are read and never changed: `deployment/NAME`, `statefulset/NAME`, `service/NAME` or a label
    /// selector. Tells which replicas answer where their answers do not, and which restart meanwhile
    #[arg(long, value_name = "WHAT", requires = "url", help_heading = "Where")]
    pub(crate) observe: Option<String>,
    /// The namespace of `--observe` [default: that of the context]
    #[arg(long, value_name = "NAME", requires = "observe", help_heading = "Where")]
    pub(crate) namespace: Option<String>,
    /// The cluster of `--backend kube`, or of `--observe`: a context of the kubeconfig
    #[arg(long, value_name = "NAME", env = "HUBCHECK_CONTEXT", help_heading = "Where")]
    pub(crate) context: Option<String>,
    /// The kubeconfig, in place of those that KUBECONFIG names and of the user's own
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The image that wire clients run as in a cluster: it must have `/relay`, as the reference hub's has. On `kind` it is built where
    /// there is Linux and none is given
    #[arg(long, value_name = "IMAGE", help_heading = "Where")]
    pub(crate) relay_image: Option<String>,
    /// What of the manifests is applied beside the hub on `kube` (repeatable, or separated by commas), in each cell's own namespace: on
    /// `kind` everything is
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        value_delimiter = ',',
        ignore_case = true,
        help_heading = "Where"
    )]
    pub(crate) apply: Vec<CompanionKind>,
    /// How many replicas a cell begins with [default: those of the manifests, at most 3; without manifests 2]; with `--url`, how many
    /// must be seen behind it [default: as many as answer]
    #[arg(long, help_heading = "Where")]
    pub(crate) replicas: Option<usize>,
    /// How many cells run at once [default: 16 with the reference hub, 2 per core with another one, 4 on `kube`]
    #[arg(long, help_heading = "Where")]
    pub(crate) jobs: Option<usize>,

    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Only this transport (repeatable); the hub must speak it. `http` is another name of `streamable`; the revision of 2026-07-28 is
    /// `stateless`
    #[arg(long, value_enum, value_delimiter = ',', help_heading = "What")]
    pub(crate) transport: Vec<Transport>,
    /// Only this affinity (repeatable), whatever the manifests say [default: every one; with manifests, others than the Service's are
    /// shown and not counted]
    #[arg(long, value_enum, value_delimiter = ',', help_heading = "What")]
    pub(crate) affinity: Vec<Affinity>,
    /// Where the hub offers HTTP+SSE
    #[arg(long, value_name = "PATH", default_value = "/sse", help_heading = "What")]
    pub(crate) sse_path: String,
    /// Where the hub offers Streamable HTTP
    #[arg(long, value_name = "PATH", default_value = "/mcp", help_heading = "What")]
    pub(crate) mcp_path: String,
    /// A header for every request, redacted everywhere; from the environment one per line
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "HUBCHECK_HEADER",
        hide_env_values = true,
        value_delimiter = '\n',
        help_heading = "What"
    )]
    pub(crate) header: Vec<String>,
    /// An origin whose pages may call the hub from a browser, such as https://app.example: then what browsers need is checked too
    #[arg(long, value_name = "URL", help_heading = "What")]
    pub(crate) origin: Option<String>,
    /// Fail also for a MUST that the servers in the field ignore with their defaults; without it that is a warning
    #[arg(long, help_heading = "What")]
    pub(crate) strict: bool,
    /// A tool of the hub that may be called (repeatable), and its name there where that is another one: whoami, echo, count, tally,
    /// work, allocate, sleep or ask. Tools that the hub marks as read-only are called without it, others never
    #[arg(long, value_name = "TOOL[=NAME]", help_heading = "What")]
    pub(crate) tool: Vec<String>,
    /// A tool of the hub that may be called, with the arguments that may be sent (repeatable): `search {"query": "x"}`, or NAME alone. `@FILE`
    /// holds a call per line. Cells use it for what it does: answer at once, take seconds, report progress
    #[arg(long, value_name = "CALL", help_heading = "What")]
    pub(crate) call: Vec<String>,
    /// How many seconds `session/idle-stream` leaves a stream silent: give more than every proxy on the way allows (60 s with
    /// ingress-nginx) to see whether one of them ends it [default: 1.5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "What")]
    pub(crate) idle: Option<u64>,

    /// Print only the answer
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Reports")]
    pub(crate) quiet: bool,
    /// Print every cell, its findings and its remedies
    #[arg(short, long, help_heading = "Reports")]
    pub(crate) verbose: bool,
    /// Print also the cells that are not applicable, and why
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', help_heading = "Reports")]
    pub(crate) show: Vec<Show>,
    /// Write a report, `json=FILE` or `junit=FILE` (repeatable)
    #[arg(long, value_name = "FORMAT=FILE", help_heading = "Reports")]
    pub(crate) report: Vec<String>,
    /// A TOML file of expected failures (see below); a listed cell that passes or warns is an error
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) expected: Option<PathBuf>,
    /// Where transcripts are written, in a folder per run
    #[arg(long, value_name = "DIR", default_value = EVIDENCE, help_heading = "Reports")]
    pub(crate) evidence: PathBuf,
}

/// The hub whose replicas are run, and what they need.
#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// The hub's command line; `{host}` and `{port}` are replaced, HOST and PORT set
    #[arg(long, help_heading = "The hub")]
    pub(crate) command: Option<String>,
    /// Run the command line with `sh -c` instead of splitting it into words
    #[arg(long, requires = "command", help_heading = "The hub")]
    pub(crate) shell: bool,
    /// Kubernetes manifests (repeatable): a file, a folder as `kubectl apply -f` takes it, or `-` for standard input. A Deployment or
    /// StatefulSet, its Service, Secrets and ConfigMaps are used
    #[arg(short = 'f', long, value_name = "FILE|DIR|-", help_heading = "The hub")]
    pub(crate) manifests: Vec<PathBuf>,
    /// A kustomization in place of manifests, built by the installed `kubectl` or `kustomize`
    #[arg(short = 'k', long, value_name = "DIR", conflicts_with = "manifests", help_heading = "The hub")]
    pub(crate) kustomize: Option<PathBuf>,
    /// A Helm chart in place of manifests, rendered by the installed `helm`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["manifests", "kustomize"], help_heading = "The hub")]
    pub(crate) chart: Option<PathBuf>,
    /// Values for the chart (repeatable)
    #[arg(long, value_name = "FILE", requires = "chart", help_heading = "The hub")]
    pub(crate) values: Vec<PathBuf>,
    /// The hub's Deployment or StatefulSet, where the manifests have several
    #[arg(long, value_name = "NAME", help_heading = "The hub")]
    pub(crate) deployment: Option<String>,
    /// The hub's Service, where several select its pods
    #[arg(long, value_name = "NAME", help_heading = "The hub")]
    pub(crate) service: Option<String>,
    /// The hub's container, where its pods have several [default: the one whose image is named, else the first]
    #[arg(long, value_name = "NAME", help_heading = "The hub")]
    pub(crate) container: Option<String>,
    /// What to run for an image of the manifests, `IMAGE=COMMAND`
    #[arg(long, value_name = "IMAGE=COMMAND", help_heading = "The hub")]
    pub(crate) image_command: Vec<String>,
    /// What the hub needs beside it on `local` (repeatable), by the name of its Service: a command line, which is started for each cell
    /// (`redis='redis-server --port {port}'`), or an address (`redis=127.0.0.1:6379`). Where the hub's environment names that host, it gets
    /// the companion's address
    #[arg(long, value_name = "NAME=COMMAND|HOST:PORT", help_heading = "The hub")]
    pub(crate) companion: Vec<String>,
    /// An environment variable for every replica (repeatable). Its value is shown nowhere when a word of the name ends with
    /// KEY, TOKEN, SECRET, PASSWORD, PASSWD, PASSPHRASE or CREDENTIAL, or the name with _PASS, _PWD, _DSN, _AUTH, _PAT or
    /// _CONNECTION_STRING (but not one that ends with _NAME, _FILE, _PATH, _DIR, _URL, _URI, _HEADER, _PREFIX, _TYPE or
    /// _ALGORITHM); nor is the password of a value that is a URL
    #[arg(long, value_name = "NAME=VALUE", help_heading = "The hub")]
    pub(crate) env: Vec<String>,
    /// A replica is ready when a GET of this path answers 2xx; without it, as the manifests' `readinessProbe` says, or when
    /// its port accepts connections
    #[arg(long, value_name = "PATH", help_heading = "The hub")]
    pub(crate) ready_path: Option<String>,
    /// How many seconds the replicas have to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = READY_TIMEOUT, help_heading = "The hub")]
    pub(crate) ready_timeout: u64,
    /// The hub's command line, as `--command` takes it
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) words: Vec<String>,
}

impl HubArgs {
    /// Whether no manifests are given, in any form.
    pub(crate) fn has_no_manifests(&self) -> bool {
        self.manifests.is_empty() && self.kustomize.is_none() && self.chart.is_none()
    }
}

/// Which hub to serve, and how.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where clients connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000", help_heading = "Where")]
    pub(crate) listen: SocketAddrV4,
    /// How many replicas stand behind it
    #[arg(long, default_value_t = 2, help_heading = "Where")]
    pub(crate) replicas: usize,
    /// How a connection gets its replica
    #[arg(long, value_enum, default_value = "off", help_heading = "Where")]
    pub(crate) affinity: Affinity,

    #[command(flatten)]
    pub(crate) hub: HubArgs,
    /// Where the hub offers HTTP+SSE
    #[arg(long, value_name = "PATH", default_value = "/sse", help_heading = "What")]
    pub(crate) sse_path: String,
    /// Where the hub offers Streamable HTTP
    #[arg(long, value_name = "PATH", default_value = "/mcp", help_heading = "What")]
    pub(crate) mcp_path: String,
}

/// What is printed beside the failing cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Show {
    /// Cells that are not applicable
    Na,
}

/// The backends that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BackendArg {
    /// An embedded cluster of processes (Linux)
    Local,
    /// A KIND cluster on this machine's Docker
    Kind,
    /// Any cluster, of a context that is named: in namespaces of our own
    Kube,
}

/// What judges transcripts of a scenario that is not in the catalogue, because nobody can run it by name.
pub struct Rules {
    /// The scenario's id, as it stands in the header of its transcripts.
    pub scenario: &'static str,
    /// What judges them, beside the ambient checks.
    pub checks: &'static [&'static Check],
}

/// Runs `hubcheck` with this catalogue, with the names of the quick profile's cells, and with what its checks leave out. The rules are
/// for `hubcheck check` alone.
pub fn main(
    catalog: &'static [&'static Scenario],
    quick: &[&str],
    unchecked: &[Unchecked],
    rules: &[Rules],
) -> ExitCode {
    // The supervisor must stay small and synchronous: it is told apart before anything else is set up.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|command| command == "supervise") {
        return supervisor::main(args);
    }
    let console = Console::stderr();
    let outlines: Vec<Outline> = catalog.iter().map(|scenario| scenario.outline).collect();
    let cli = match Cli::try_parse_from(given::command_line(&outlines, std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let code = if error.use_stderr() { exit::USAGE } else { exit::CONFORMS };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let done = warnings::show(console.clone())
        .and_then(|()| execute(cli.command, catalog, quick, unchecked, rules, &console));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            bad_input::print(&error);
            ExitCode::from(error.code)
        }
    }
}

fn execute(
    command: Command,
    catalog: &'static [&'static Scenario],
    quick: &[&str],
    unchecked: &[Unchecked],
    rules: &[Rules],
    console: &Console,
) -> Result<u8, CommandError> {
    match command {
        Command::Run(args) => {
            let outlines: Vec<Outline> = catalog.iter().map(|scenario| scenario.outline).collect();
            run::run(catalog, quick, &args.sorted(&outlines)?, console)
        }
        Command::Serve(mut args) => {
            args.hub.take_words()?;
            serve::serve(&args)
        }
        Command::Up(args) => kind::up(&args),
        Command::Down(place) => kind::down(&place),
        Command::List(args) if args.markdown => catalogue::markdown(catalog, unchecked),
        Command::List(args) => explain::list(catalog, &args.filters, args.family.as_deref(), args.cells),
        Command::Explain { scenario } => explain::explain(catalog, &scenario),
        Command::Check { transcript, strict } => {
            explain::check(catalog, rules, &transcript, strictness(strict))
        }
        Command::Parity(args) => parity::parity(catalog, &args),
    }
}

fn strictness(strict: bool) -> Strictness {
    if strict { Strictness::Strict } else { Strictness::Ordinary }
}
