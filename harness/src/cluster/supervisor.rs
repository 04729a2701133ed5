//! The small process between the harness and one container: it ends what it started when the harness is gone.
//!
//! The harness starts one per container and holds the other end of its standard input. It is a child subreaper,
//! so that whatever the container leaves behind, double forks and new sessions too, becomes its child and is
//! found; when the input closes (the harness ended, however that came) it kills every descendant until none is
//! left. Synchronous, no runtime: it must stay small, because there is one per replica.
//!
//! Commands come as lines on standard input (`TERM`, `KILL`, `STOP`, `CONT`), news goes as lines to standard
//! output (see `News`), and standard error is the container's output.
//!
//! A container starts in two stages without `unsafe`: the supervisor runs itself as `supervise --exec`, puts that
//! process into the cgroup, and tells it to go on; only then does it become the container's command.

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

/// What a supervisor tells, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The container's command runs.
    Started {
        /// Its process id.
        pid: u32,
        /// What enforces its memory limit; `None` where it has none.
        limited: Option<Enforcer>,
    },
    /// The command cannot be started, in the words of a container runtime.
    Failed(String),
    /// The container ended and nothing of it is left.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code; 128 + the signal's number for a signal.
    pub(crate) code: i32,
    /// Who ended it for want of memory, when that was the reason.
    pub(crate) oom: Option<Enforcer>,
    /// The most memory it was seen to use, in bytes, where that is known.
    pub(crate) peak: Option<u64>,
}

/// What enforces a memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforcer {
    /// The kernel.
    Cgroup,
    /// The supervisor.
    Watcher,
}

/// How a supervisor was asked to run a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// The memory limit in bytes.
    pub(crate) limit: Option<u64>,
    /// The name of the cgroup to make for it.
    pub(crate) cgroup: Option<String>,
    /// The command.
    pub(crate) argv: Vec<OsString>,
}

/// The hidden subcommand `supervise`; `args` are those after its name.
///
/// Returns when nothing of the container is left.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    if args.next_if(|arg| arg == EXEC).is_some() {
        return platform::become_command(&args.collect::<Vec<_>>());
    }
    match Order::from_args(args) {
        Some(order) => platform::supervise(&order),
        None => ExitCode::from(2),
    }
}

/// Marks the second stage.
const EXEC: &str = "--exec";

// === impl Order ===

impl Order {
    /// The arguments after `supervise`.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(limit) = self.limit {
            args.extend(["--memory".into(), limit.to_string().into()]);
        }
        if let Some(cgroup) = &self.cgroup {
            args.extend(["--cgroup".into(), cgroup.into()]);
        }
        args.push("--".into());
        args.extend(self.argv.iter().cloned());
        args
    }

    fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut order = Self::default();
        loop {
            let arg = args.next()?;
            match arg.to_str()? {
                "--memory" => order.limit = Some(args.next()?.to_str()?.parse().ok()?),
                "--cgroup" => order.cgroup = Some(args.next()?.into_string().ok()?),
                "--" => break,
                _ => return None,
            }
        }
        order.argv = args.collect();
        (!order.argv.is_empty()).then_some(order)
    }
}

// === impl News ===

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Started { pid, limited } => write!(f, "started {pid} {}", word(*limited)),
            News::Failed(why) => write!(f, "failed {}", why.replace('\n', " ")),
            News::Exited(Exit { code, oom, peak }) => {
                let peak = peak.map_or("-".to_owned(), |peak| peak.to_string());
                write!(f, "exited {code} {} {peak}", word(*oom))
            }
        }
    }
}

impl FromStr for News {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, rest) = line.split_once(' ').ok_or(())?;
        match word {
            "started" => {
                let (pid, limited) = rest.split_once(' ').ok_or(())?;
                Ok(News::Started { pid: pid.parse().map_err(|_| ())?, limited: enforcer(limited) })
            }
            "failed" => Ok(News::Failed(rest.to_owned())),
            "exited" => {
                let mut fields = rest.split(' ');
                let code = fields.next().and_then(|code| code.parse().ok()).ok_or(())?;
                let oom = fields.next().and_then(enforcer);
                let peak = fields.next().and_then(|peak| peak.parse().ok());
                Ok(News::Exited(Exit { code, oom, peak }))
            }
            _ => Err(()),
        }
    }
}

/// What enforces a limit, as a word of a line; `-` for nothing.
fn word(enforcer: Option<Enforcer>) -> String {
    enforcer.map_or("-".to_owned(), |enforcer| enforcer.to_string())
}

fn enforcer(word: &str) -> Option<Enforcer> {
    [Enforcer::Cgroup, Enforcer::Watcher].into_iter().find(|enforcer| enforcer.to_string() == word)
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Enforcer::Cgroup => "cgroup",
            Enforcer::Watcher => "watcher",
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::{ExitCode, Order, OsString};

    pub(super) fn supervise(_: &Order) -> ExitCode {
        ExitCode::from(2)
    }

    pub(super) fn become_command(_: &[OsString]) -> ExitCode {
        ExitCode::from(2)
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::ffi::{OsStr, OsString};
    use std::io::{self, BufRead, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, ExitCode, Stdio};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::thread;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, WaitOptions, kill_process};

    use super::super::memory::{Cgroup, Watcher, descendants};
    use super::{EXEC, Enforcer, Exit, News, Order};

    /// How long to wait for the dead to be reaped before looking for survivors again.
    const REAP: Duration = Duration::from_millis(5);

    /// What wakes the supervisor.
    enum Wake {
        Command(Signal),
        /// The harness is gone, or wants this container gone.
        Closed,
        Reaped(Pid, i32),
        /// No child is left.
        Childless,
        Overdrawn,
    }

    pub(super) fn supervise(order: &Order) -> ExitCode {
        if rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_err() {
            tell(&News::Failed("this kernel has no child subreaper".to_owned()));
            return ExitCode::FAILURE;
        }
        let cgroup =
            order.limit.zip(order.cgroup.as_deref()).and_then(|(limit, name)| Cgroup::make(name, limit));
        let (wake, woken) = channel();
        let (main, mut gate) = match first_stage(&order.argv) {
            Ok(started) => started,
            Err(why) => {
                tell(&News::Failed(why.to_string()));
                return ExitCode::FAILURE;
            }
        };
        // A group that cannot be joined is as good as none.
        let cgroup = cgroup.filter(|cgroup| cgroup.join(main).is_ok());
        let watcher = match order.limit {
            Some(limit) if cgroup.is_none() => {
                let wake = wake.clone();
                Some(Watcher::start(limit, move || drop(wake.send(Wake::Overdrawn))))
            }
            _ => None,
        };
        spawn_reader(wake.clone());
        spawn_reaper(wake);
        let mut refusal = String::new();
        // The second stage answers only when it cannot become the command; success closes its end.
        let answered = gate.write_all(b"!").and_then(|()| gate.read_to_string(&mut refusal));
        if answered.is_ok() && refusal.is_empty() {
            let limited =
                cgroup.as_ref().map(|_| Enforcer::Cgroup).or(watcher.as_ref().map(|_| Enforcer::Watcher));
            tell(&News::Started { pid: main.as_raw_nonzero().get().unsigned_abs(), limited });
        }
        let (code, overdrawn) = until_exit(main, &woken);
        end_all(&woken);
        let oom = if overdrawn {
            Some(Enforcer::Watcher)
        } else {
            cgroup.as_ref().is_some_and(Cgroup::killed).then_some(Enforcer::Cgroup)
        };
        let peak = cgroup.as_ref().and_then(Cgroup::peak).or_else(|| watcher.as_ref().map(Watcher::peak));
        drop(cgroup);
        tell(&if refusal.is_empty() {
            News::Exited(Exit { code, oom, peak })
        } else {
            News::Failed(refusal)
        });
        ExitCode::SUCCESS
    }

    /// Starts this executable again, which waits at the gate to become the command.
    fn first_stage(argv: &[OsString]) -> io::Result<(Pid, UnixStream)> {
        let (gate, theirs) = UnixStream::pair()?;
        let child = Command::new("/proc/self/exe")
            .args(["supervise", EXEC])
            .args(argv)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // Both of the container's outputs are one pipe, so that their lines keep their order.
            .stdout(Stdio::from(io::stderr()))
            .spawn()?;
        // Its end is waited for with everything else that becomes our child.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((pid.ok_or_else(|| io::Error::other("no process id"))?, gate))
    }

    /// The second stage.
    pub(super) fn become_command(argv: &[OsString]) -> ExitCode {
        let Ok(gate) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
        let mut gate = UnixStream::from(gate);
        let _ = rustix::process::setsid();
        let mut go = [0; 1];
        let Some((program, args)) = argv.split_first() else { return ExitCode::FAILURE };
        if gate.read_exact(&mut go).is_err() {
            return ExitCode::FAILURE;
        }
        let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
        let why = match error.kind() {
            _ if !is_on_path(program) => "executable file not found in $PATH".to_owned(),
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let _ = write!(gate, "exec: \"{}\": {why}", program.to_string_lossy());
        ExitCode::from(128)
    }

    /// Whether a command without a slash is found; the search also fails at a directory that may not be read.
    fn is_on_path(program: &OsStr) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        program.as_encoded_bytes().contains(&b'/')
            || std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
    }

    fn spawn_reader(wake: Sender<Wake>) {
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let signal = match line.as_deref() {
                    Ok("TERM") => Signal::TERM,
                    Ok("KILL") => Signal::KILL,
                    Ok("STOP") => Signal::STOP,
                    Ok("CONT") => Signal::CONT,
                    Ok(_) => continue,
                    Err(_) => break,
                };
                let _ = wake.send(Wake::Command(signal));
            }
            let _ = wake.send(Wake::Closed);
        });
    }

    fn spawn_reaper(wake: Sender<Wake>) {
        thread::spawn(move || {
            loop {
                match rustix::process::wait(WaitOptions::empty()) {
                    Ok(Some((pid, status))) => {
                        let signal = status.terminating_signal().map(|signal| 128 + signal);
                        let code = status.exit_status().or(signal).unwrap_or(255);
                        let _ = wake.send(Wake::Reaped(pid, code));
                    }
                    Ok(None) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            let _ = wake.send(Wake::Childless);
        });
    }

    /// Serves commands until the main process is gone; its exit code, and whether the watcher ended it.
    fn until_exit(main: Pid, woken: &Receiver<Wake>) -> (i32, bool) {
        let mut overdrawn = false;
        let mut reaped = false;
        while let Ok(wake) = woken.recv() {
            match wake {
                Wake::Command(signal) => drop(kill_process(main, signal)),
                Wake::Closed => drop(kill_process(main, Signal::KILL)),
                Wake::Overdrawn => {
                    overdrawn = true;
                    kill_descendants();
                }
                Wake::Reaped(pid, code) if pid == main => return (code, overdrawn),
                Wake::Reaped(..) => {}
                Wake::Childless => reaped = true,
            }
            if reaped {
                break;
            }
        }
        (255, overdrawn)
    }

    /// Kills until nothing is left: a process may fork while it is being killed.
    fn end_all(woken: &Receiver<Wake>) {
        kill_descendants();
        loop {
            match woken.recv_timeout(REAP) {
                Ok(Wake::Childless) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => kill_descendants(),
            }
        }
    }

    fn kill_descendants() {
        for pid in descendants() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn tell(news: &News) {
        // Nobody listens when the harness is gone.
        let _ = writeln!(io::stdout(), "{news}");
    }
}
