//! Only with HUBCHECK_BACKEND=kind (needs Docker and `kind`; says so otherwise): what a run leaves on a KIND cluster, however it ends.
//!
//! On a cluster of its own, `hubcheck-cleanup`, which is made three times: about five minutes on an idle machine. It has
//! no test harness, so that what ran and what did not is printed always.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Level};
use harness::plan::Outline;
use harness::run::Scenario;
use scenarios::routing::spread::STATELESS_ANY_REPLICA;

/// The cluster that is made and removed here.
const CLUSTER: &str = "hubcheck-cleanup";

/// A cell that is over soon, and one that is not.
const SHORT: &str = "routing/stateless-any-replica@stateless";
const LONG: &str = "routing/rolling-update@off-sse";

/// How long any one step may take: a cluster is made in one, on a machine that does other things.
const STEP: Duration = Duration::from_secs(600);

/// How long the cluster may take to delete namespaces in the background.
const NAMESPACES: Duration = Duration::from_secs(180);

/// Set where this program is to be a `hubcheck` that panics: its scenarios are [`DOOMED`].
const IS_DOOMED: &str = "HUBCHECK_TEST_IS_DOOMED";

/// A panic while the cluster of a cell is up: of a scenario, and of what no cell should ever bring about.
const DOOMED: &[&Scenario] = &[&DOOMED_SCENARIO, &DOOMED_HARNESS];

const DOOMED_SCENARIO: Scenario = Scenario {
    outline: Outline { id: "doomed/scenario", affinities: &[], transports: &[], needs: &[] },
    checks: &[],
    drive: |_| async { panic!("as it was asked to") }.boxed(),
    ..STATELESS_ANY_REPLICA
};

const DOOMED_HARNESS: Scenario = Scenario {
    outline: Outline { id: "doomed/harness", ..DOOMED_SCENARIO.outline },
    checks: &[&Check {
        id: "panics",
        level: Level::Contract,
        sentence: "no check panics",
        source: HUB_CONTRACT,
        remedy: "none",
        transports: &[],
        needs: &[],
        judge: |_| panic!("as it was asked to"),
    }],
    drive: |_| async { Ok(()) }.boxed(),
    ..STATELESS_ANY_REPLICA
};

/// The exit codes of `hubcheck`, and of what panics.
const CONFORMS: i32 = 0;
const PANICKED: i32 = 101;
const INCONCLUSIVE: i32 = 3;
const INTERRUPTED: i32 = 130;

type Case = (&'static str, fn());

/// In this order: later ones use the cluster that earlier ones made.
const CASES: &[Case] = &[
    ("interrupted while the cluster is created", interrupted_in_creation),
    ("interrupted while the image is built", interrupted_in_build),
    ("a cluster that somebody else made is refused", not_ours),
    ("interrupted while the image is loaded, on a kept cluster", interrupted_in_load),
    ("interrupted in cells", interrupted_in_cells),
    ("a scenario panics", panicking_scenario),
    ("the harness panics", panicking_harness),
    ("killed in cells, then another run", killed_in_cells),
    ("a node that was stopped: the cluster is made anew", stopped_node),
    ("down leaves nothing", down),
];

fn main() -> ExitCode {
    if std::env::var_os(IS_DOOMED).is_some() {
        return harness::cli::main(DOOMED, &[], &[], &[]);
    }
    let backend = std::env::var("HUBCHECK_BACKEND").unwrap_or_default();
    if backend != "kind" {
        for (name, _) in CASES {
            say(&format!("not run: {name} (HUBCHECK_BACKEND is `{backend}`, not `kind`)"));
        }
        return ExitCode::SUCCESS;
    }
    for (name, case) in CASES {
        let began = Instant::now();
        say(&format!("{name} .."));
        if std::panic::catch_unwind(case).is_err() {
            say(&format!("FAILED: {name}"));
            hubcheck(&["down"]).end();
            return ExitCode::FAILURE;
        }
        say(&format!("ok: {name} ({:.0} s)", began.elapsed().as_secs_f64()));
    }
    ExitCode::SUCCESS
}

fn interrupted_in_creation() {
    let before = Leftovers::now();
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", SHORT]);
    run.until("creating cluster");
    let mut is_over = false;
    until("a node is there", STEP, || {
        is_over = run.is_over();
        is_over || !nodes().is_empty()
    });
    if is_over {
        panic!("it ended with {} before there was a node:\n{}", run.end(), run.told);
    }
    run.signal("INT");
    assert_eq!(run.end(), INTERRUPTED);
    assert_eq!(nodes(), Vec::<String>::new(), "no node is left");
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
}

fn interrupted_in_build() {
    let before = Leftovers::now();
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", SHORT]);
    run.until("cluster up after");
    run.signal("INT");
    assert_eq!(run.end(), INTERRUPTED);
    assert_eq!(nodes(), Vec::<String>::new(), "a cluster that the run made goes with it");
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
}

fn not_ours() {
    let name = format!("{CLUSTER}-theirs");
    let image = lines(&["docker", "images", "--quiet"]).into_iter().next().expect("Docker has an image");
    let label = format!("io.x-k8s.kind.cluster={name}");
    let id = lines(&["docker", "create", "--label", &label, &image, "sh"]);
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", "--cluster", &name, SHORT]);
    let code = run.end();
    let theirs = lines(&["docker", "ps", "-aq", "--filter", &format!("label={label}")]);
    lines(&["docker", "rm", "--force", id.first().map_or("", String::as_str)]);
    assert_eq!(code, INCONCLUSIVE, "{}", run.told);
    assert!(run.told.contains("hubcheck did not make"), "{}", run.told);
    assert_eq!(theirs.len(), 1, "it was not touched");
}

fn interrupted_in_load() {
    assert_eq!(hubcheck(&["up"]).end(), CONFORMS);
    let before = Leftovers::now();
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", "--keep", SHORT]);
    run.until("image built after");
    run.signal("INT");
    assert_eq!(run.end(), INTERRUPTED);
    assert_eq!(nodes().len(), 3, "the cluster was there before, and stays");
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
}

fn interrupted_in_cells() {
    let before = Leftovers::now();
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", "--keep", LONG]);
    run.until("Starting");
    until("the cell's namespace is there", STEP, || !namespaces().is_empty());
    run.signal("INT");
    assert_eq!(run.end(), INTERRUPTED);
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
    until("the namespaces are gone", NAMESPACES, || namespaces().is_empty());
}

fn panicking_scenario() {
    let before = Leftovers::now();
    let mut run = doomed(DOOMED_SCENARIO.outline.id);
    run.until("Starting");
    assert_eq!(run.end(), INCONCLUSIVE, "the cell ends, not the run: {}", run.told);
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
    assert_eq!(namespaces(), Vec::<String>::new());
}

fn panicking_harness() {
    let before = Leftovers::now();
    let mut run = doomed(DOOMED_HARNESS.outline.id);
    run.until("Starting");
    assert_eq!(run.end(), PANICKED, "a bug of ours is not swallowed: {}", run.told);
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default());
    assert_eq!(namespaces(), Vec::<String>::new());
}

fn killed_in_cells() {
    let before = Leftovers::now();
    let mut run = hubcheck(&["run", "-v", "--backend", "kind", "--keep", LONG]);
    run.until("Starting");
    until("the cell's namespace is there", STEP, || !namespaces().is_empty());
    run.signal("KILL");
    run.end();
    assert_ne!(Leftovers::now().beyond(&before), Leftovers::default(), "it could not clean up");
    let mut next = hubcheck(&["run", "-v", "--backend", "kind", "--keep", SHORT]);
    assert_eq!(next.end(), CONFORMS, "{}", next.told);
    assert_eq!(Leftovers::now().beyond(&before), Leftovers::default(), "the next run cleans up after it");
    assert_eq!(namespaces(), Vec::<String>::new());
}

fn stopped_node() {
    let worker = format!("{CLUSTER}-worker");
    lines(&["docker", "stop", "--time", "0", &worker]);
    let mut up = hubcheck(&["up"]);
    assert_eq!(up.end(), CONFORMS, "{}", up.told);
    assert!(
        up.told.contains(&format!("recreating cluster {CLUSTER}: node {worker} does not run")),
        "{}",
        up.told
    );
    assert_eq!(nodes().len(), 3);
}

fn down() {
    assert_eq!(hubcheck(&["down"]).end(), CONFORMS);
    assert_eq!(nodes(), Vec::<String>::new());
    assert_eq!(Leftovers::now(), Leftovers::default(), "no relay, run or image of ours that nobody uses");
    let folders = names(&state().join("clusters"));
    assert!(!folders.iter().any(|folder| folder == CLUSTER), "{folders:?}");
}

// === helpers ===

/// What runs on the cluster make beside it. Runs on other clusters go on at the same time: theirs does not count.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leftovers {
    relays: BTreeSet<String>,
    runs: BTreeSet<String>,
    /// Images of ours that no run says it uses.
    images: BTreeSet<String>,
}

impl Leftovers {
    fn now() -> Self {
        let label = format!("label=hubcheck/cluster={CLUSTER}");
        let relays = lines(&["docker", "ps", "--all", "--quiet", "--filter", &label]);
        let uses = state().join("uses");
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let uses: Vec<(String, String)> = names(&uses)
            .into_iter()
            .map(|run| {
                let used = read(uses.join(&run));
                (run, used)
            })
            .collect();
        let ours = "label=app.kubernetes.io/managed-by=hubcheck";
        let images = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", ours];
        let is_used = |image: &String| uses.iter().any(|(_, used)| used.lines().any(|line| line == image));
        Self {
            relays: relays.into_iter().collect(),
            images: lines(&images).into_iter().filter(|image| !is_used(image)).collect(),
            runs: uses
                .iter()
                .filter(|(_, used)| used.lines().next() == Some(CLUSTER))
                .map(|(run, _)| run.clone())
                .collect(),
        }
    }

    /// What is there now and was not before; an image that stays with a kept cluster is meant to.
    fn beyond(&self, before: &Self) -> Self {
        let new =
            |now: &BTreeSet<String>, before: &BTreeSet<String>| now.difference(before).cloned().collect();
        let images = if nodes().is_empty() { new(&self.images, &before.images) } else { BTreeSet::new() };
        Self { relays: new(&self.relays, &before.relays), runs: new(&self.runs, &before.runs), images }
    }
}

/// A running `hubcheck`, and what it has said so far.
struct Running {
    child: Child,
    lines: Receiver<String>,
    told: String,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let mut child = command
            .env("HUBCHECK_CLUSTER", CLUSTER)
            .env("HUBCHECK_LOG", "harness=info")
            .env_remove("HUBCHECK_BACKEND")
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hubcheck starts");
        let (sender, lines): (Sender<String>, _) = channel();
        let stderr = child.stderr.take().expect("it is piped");
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, told: String::new() }
    }

    /// Waits until it says this.
    fn until(&mut self, words: &str) {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(STEP.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    self.told += &format!("{line}\n");
                    if line.contains(words) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it did not say `{words}`:\n{}", self.told),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended and did not say `{words}`:\n{}", self.told)
                }
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        lines(&["kill", &format!("-{name}"), &pid]);
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Its exit code; -1 when a signal ended it.
    fn end(&mut self) -> i32 {
        let rest: Vec<String> = self.lines.iter().collect();
        self.told += &rest.join("\n");
        let status = self.child.wait().expect("it can be waited for");
        status.code().unwrap_or(-1)
    }
}

fn hubcheck(args: &[&str]) -> Running {
    Running::of(Command::new(env!("CARGO_BIN_EXE_hubcheck")).args(args))
}

/// A run of this program's own scenario.
fn doomed(scenario: &str) -> Running {
    let this = std::env::current_exe().expect("this program has a file");
    Running::of(Command::new(this).env(IS_DOOMED, "1").args([
        "run",
        "-v",
        "--backend",
        "kind",
        "--keep",
        scenario,
    ]))
}

/// The nodes of the cluster, running or not.
fn nodes() -> Vec<String> {
    let label = format!("label=io.x-k8s.kind.cluster={CLUSTER}");
    lines(&["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", &label])
}

/// The namespaces of cells.
fn namespaces() -> Vec<String> {
    let control_plane = format!("{CLUSTER}-control-plane");
    let kubectl = ["docker", "exec", &control_plane, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    let ours = "--selector=app.kubernetes.io/managed-by=hubcheck";
    lines(&[&kubectl[..], &["get", "namespaces", "--output=name", ours]].concat())
}

/// The folder in which runs know each other.
fn state() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || var("HOME").map(|home| home.join(".local/state"));
    var("XDG_STATE_HOME").or_else(home).expect("there is a home").join("hubcheck")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Runs a command and returns the lines that it prints.
fn lines(command: &[&str]) -> Vec<String> {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    // Nobody sends: what is waited for is the time between two looks.
    let (_sender, look) = channel::<()>();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        let _ = look.recv_timeout(Duration::from_millis(500));
    }
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "on_kind_cleanup: {line}");
}
