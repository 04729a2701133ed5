//! What tests of the command share: running it, a hub to check, and a look at processes.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a command that cannot work may take to say so.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Runs `hubcheck`, and shows code and both streams.
pub(crate) fn told(args: &[&str]) -> String {
    told_in(Path::new(env!("CARGO_TARGET_TMPDIR")), args)
}

pub(crate) fn told_in(folder: &Path, args: &[&str]) -> String {
    let output: Output = hubcheck(folder, args).output().expect("hubcheck starts");
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit code: {code}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}")
}

/// A run tells what it tells with `-v`, unless the test says how much.
pub(crate) fn hubcheck(folder: &Path, args: &[&str]) -> Command {
    let says = args.iter().any(|arg| ["-q", "-v"].contains(arg) || arg.starts_with("--show"));
    let args = match args {
        ["run", others @ ..] if !says => [&["run", "-v"], others].concat(),
        _ => args.to_vec(),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubcheck"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env_remove("HUBCHECK_BACKEND").env_remove("HUBCHECK_HEADER").env_remove("HUBCHECK_LOG");
    command
}

/// The same, and it must not take long.
pub(crate) fn soon(args: &[&str]) -> String {
    let began = Instant::now();
    let told = told(args);
    assert!(began.elapsed() < SOON, "it took {:?}: {told}", began.elapsed());
    told
}

/// The reference hub, running by itself; it ends with this.
pub(crate) struct RunningHub {
    pub(crate) addr: String,
    process: Child,
}

impl RunningHub {
    pub(crate) fn started() -> Self {
        let hub = harness::run::reference::build(harness::run::reference::Messages::Quiet)
            .expect("the reference hub builds");
        let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let addr = taken.local_addr().expect("it has an address");
        drop(taken);
        let process = Command::new(hub)
            .args(["--ephemeral-key", "--host", "127.0.0.1", "--port", &addr.port().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("the hub starts");
        until("the hub answers", SOON, || TcpStream::connect(addr).is_ok());
        Self { addr: addr.to_string(), process }
    }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many processes have this value in their environment.
pub(crate) fn marked(mark: &str) -> usize {
    marked_folders(mark).len()
}

fn marked_folders(mark: &str) -> Vec<PathBuf> {
    let wanted = format!("MARK={mark}").into_bytes();
    let is_marked = |process: &PathBuf| {
        let environ = std::fs::read(process.join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == wanted)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| process.path()).filter(is_marked).collect()
}

/// The process ids of hubs with this value in their environment; their supervisors are not meant.
pub(crate) fn pids_of_hub(mark: &str) -> Vec<String> {
    let is_hub = |process: &PathBuf| {
        std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "hub")
    };
    let hubs = marked_folders(mark).into_iter().filter(is_hub);
    hubs.filter_map(|process| Some(process.file_name()?.to_str()?.to_owned())).collect()
}

pub(crate) fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        // Nothing tells when a process of somebody else ends: look again soon.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
