//! The supervisor on Linux: starts the container in two stages, passes signals on, and leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};

use super::{CARRY, Door, EXEC, Enforcer, Exit, News, Order, Place, Stage, carrier, namespaces};
use crate::cluster::memory::{Cgroup, Watcher, descendants};

/// How long to wait for the dead to be reaped before looking for survivors again.
const REAP: Duration = Duration::from_millis(5);

/// How long what was said to or by a process that has ended may take to come out of its network namespace.
const CARRIED: Duration = Duration::from_millis(500);

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
    let cgroup = order.limit.zip(order.cgroup.as_deref()).and_then(|(limit, name)| Cgroup::make(name, limit));
    let (wake, woken) = channel();
    let (main, mut gate) = match first_stage(order) {
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
    // Before the main process goes on: once it has ended, its namespaces cannot be entered.
    let carrier = order.door.and_then(|door| start_carrier(main, door).ok());
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
    let is_empty = carrier.is_some_and(|carrier| is_all_carried(carrier, &woken));
    if !is_empty {
        end_all(&woken);
    }
    let oom = if overdrawn {
        Some(Enforcer::Watcher)
    } else {
        cgroup.as_ref().is_some_and(Cgroup::killed).then_some(Enforcer::Cgroup)
    };
    let peak = cgroup.as_ref().and_then(Cgroup::peak).or_else(|| watcher.as_ref().map(Watcher::peak));
    drop(cgroup);
    tell(&if refusal.is_empty() { News::Exited(Exit { code, oom, peak }) } else { News::Failed(refusal) });
    ExitCode::SUCCESS
}

/// Starts this executable again, which waits at the gate to become the command; its process id.
fn first_stage(order: &Order) -> io::Result<(Pid, UnixStream)> {
    let (mut gate, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .args(["supervise", EXEC])
        .args(order.place.first_stage())
        .args(&order.argv)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // Both of the container's outputs are one pipe, so that their lines keep their order.
        .stdout(Stdio::from(io::stderr()))
        .spawn()?;
    // Its end is waited for with everything else that becomes our child.
    let pid = match order.place {
        Place::Shared => i32::try_from(child.id()).ok(),
        // It has started another one inside, and is over.
        Place::Own | Place::Apart | Place::Beside(_) => {
            let said = read_line(&mut gate)?;
            Some(said.parse().map_err(|_| io::Error::other(said))?)
        }
    };
    let pid = pid.and_then(Pid::from_raw);
    Ok((pid.ok_or_else(|| io::Error::other("no process id"))?, gate))
}

/// One line, and no byte of what follows it.
fn read_line(gate: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0; 1];
    loop {
        gate.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
            [other] => line.push(other),
        }
    }
}

/// The second stage, or a step towards it.
pub(super) fn become_command(args: &[OsString]) -> ExitCode {
    let Ok(gate) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let gate = UnixStream::from(gate);
    match Stage::from_args(args) {
        Some((Stage::Outside(place), argv)) => go_inside(gate, place, &argv),
        Some((Stage::Inside(place), argv)) => wait_and_become(gate, place, &argv),
        None => ExitCode::FAILURE,
    }
}

/// Starts the process that passes connections to this one's network.
fn start_carrier(main: Pid, door: Door) -> io::Result<Pid> {
    let child = Command::new("/proc/self/exe")
        .args(["supervise", CARRY, &main.to_string()])
        .args(door.to_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    raw_pid(child.id())
}

/// Passes connections until the main process has ended and all that was said is passed on.
pub(super) fn carry(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let main = args.next().and_then(|main| main.to_str()?.parse().ok()).and_then(Pid::from_raw);
    match main.zip(Door::from_args(&mut args)) {
        Some((main, door)) if carrier::run(main, door).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Waits until the carrier has passed on what was said; whether no process at all is left.
fn is_all_carried(carrier: Pid, woken: &Receiver<Wake>) -> bool {
    let until = Instant::now() + CARRIED;
    loop {
        match woken.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Wake::Childless) => return true,
            Ok(Wake::Reaped(pid, _)) if pid == carrier => return false,
            Ok(Wake::Closed) | Err(_) => return false,
            Ok(Wake::Command(_) | Wake::Reaped(..) | Wake::Overdrawn) => {}
        }
    }
}

/// Makes or enters the namespaces, and starts the second stage in them.
fn go_inside(mut gate: UnixStream, place: Place, argv: &[OsString]) -> ExitCode {
    let went = match place {
        Place::Shared => Ok(()),
        Place::Own => namespaces::make(false),
        Place::Apart => namespaces::make(true),
        Place::Beside(pid) => raw_pid(pid).and_then(namespaces::enter),
    };
    let started = went.and_then(|()| {
        Command::new("/proc/self/exe").args(["supervise", EXEC]).args(place.second_stage()).args(argv).spawn()
    });
    let said = match &started {
        Ok(child) => child.id().to_string(),
        Err(why) => format!("namespaces: {why}"),
    };
    let is_told = writeln!(gate, "{said}").is_ok();
    if started.is_ok() && is_told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The second stage.
fn wait_and_become(mut gate: UnixStream, place: Place, argv: &[OsString]) -> ExitCode {
    let settled = match place {
        Place::Shared => Ok(()),
        Place::Own | Place::Apart => namespaces::mount_proc(),
        Place::Beside(pid) => raw_pid(pid).and_then(namespaces::enter_mounts),
    };
    let _ = rustix::process::setsid();
    let mut go = [0; 1];
    let Some((program, args)) = argv.split_first() else { return ExitCode::FAILURE };
    if gate.read_exact(&mut go).is_err() {
        return ExitCode::FAILURE;
    }
    if let Err(why) = settled {
        let _ = write!(gate, "namespaces: {why}");
        return ExitCode::from(128);
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

fn raw_pid(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("no process id"))
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
