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
//! Where it has namespaces of its own ([`Place`]), a process that makes them starts the second stage inside, tells its id
//! and ends: the second stage then is the supervisor's child, as it is without them.
//! Into a network namespace a third process passes connections (`carrier`).

#[cfg(target_os = "linux")]
mod carrier;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod platform;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
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
    /// Which namespaces it runs in.
    pub(crate) place: Place,
    /// How connections come into its network namespace, where it has one.
    pub(crate) door: Option<Door>,
    /// The command.
    pub(crate) argv: Vec<OsString>,
}

/// The way from the harness's network to a container's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// Where it is reached. It was asked to listen there, and may do so in its own network.
    pub(crate) outside: SocketAddr,
    /// The port at which it listens instead.
    pub(crate) fixed: u16,
}

/// The namespaces of process ids and of mounts that a command runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Those of the harness.
    #[default]
    Shared,
    /// New ones: it is PID 1.
    Own,
    /// The same, and a new one of networks, in which there is a loopback interface and nothing else.
    Apart,
    /// Those of the process with this id, as `kubectl exec` does it.
    Beside(u32),
}

/// How far a command that is started in two stages is.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is supervised elsewhere"))]
enum Stage {
    /// Before its namespaces.
    Outside(Place),
    /// In them.
    Inside(Place),
}

/// The hidden subcommand `supervise`; `args` are those after its name.
///
/// Returns when nothing of the container is left.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().peekable();
    if args.next_if(|arg| arg == EXEC).is_some() {
        return platform::become_command(&args.collect::<Vec<_>>());
    }
    if args.next_if(|arg| arg == CARRY).is_some() {
        return platform::carry(args);
    }
    if args.next_if(|arg| arg == NOTHING).is_some() {
        return ExitCode::SUCCESS;
    }
    match Order::from_args(args) {
        Some(order) => platform::supervise(&order),
        None => ExitCode::from(2),
    }
}

/// Marks the second stage.
const EXEC: &str = "--exec";

/// Does nothing, and succeeds at it: what is started to try whether anything can be.
pub(crate) const NOTHING: &str = "--nothing";

/// Asks for [`Place::Own`].
const OWN: &str = "--own-namespaces";

/// Asks for [`Place::Apart`].
const APART: &str = "--own-network";

/// Asks for a [`Door`]; its address and its port follow.
const DOOR: &str = "--door";

/// Marks the process that passes connections through a [`Door`]; the id of the main process follows, then the door.
const CARRY: &str = "--carry";

/// Asks for [`Place::Beside`]; the process id follows.
const BESIDE: &str = "--namespaces-of";

/// Begins the arguments of the process that makes or enters namespaces.
const OUTSIDE: &str = "--outside";

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
        args.extend(self.place.to_args());
        if let Some(door) = self.door {
            args.push(DOOR.into());
            args.extend(door.to_args());
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
                OWN => order.place = Place::Own,
                APART => order.place = Place::Apart,
                DOOR => order.door = Some(Door::from_args(&mut args)?),
                BESIDE => order.place = Place::Beside(args.next()?.to_str()?.parse().ok()?),
                "--" => break,
                _ => return None,
            }
        }
        order.argv = args.collect();
        (!order.argv.is_empty()).then_some(order)
    }
}

// === impl Door ===

impl Door {
    fn to_args(self) -> [OsString; 2] {
        [self.outside.to_string().into(), self.fixed.to_string().into()]
    }

    fn from_args(args: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let outside = args.next()?.to_str()?.parse().ok()?;
        Some(Self { outside, fixed: args.next()?.to_str()?.parse().ok()? })
    }
}

// === impl Place ===

impl Place {
    /// Whether the command is PID 1, as in a pod.
    pub(crate) fn is_pid_1(self) -> bool {
        matches!(self, Place::Own | Place::Apart)
    }

    fn to_args(self) -> Vec<OsString> {
        match self {
            Place::Shared => Vec::new(),
            Place::Own => vec![OWN.into()],
            Place::Apart => vec![APART.into()],
            Place::Beside(pid) => vec![BESIDE.into(), pid.to_string().into()],
        }
    }

    /// What the arguments of the first stage begin with; the command follows.
    fn first_stage(self) -> Vec<OsString> {
        let outside = (self != Place::Shared).then(|| OUTSIDE.into());
        outside.into_iter().chain(self.second_stage()).collect()
    }

    /// What the arguments of the second stage begin with; the command follows.
    fn second_stage(self) -> Vec<OsString> {
        let mut args = self.to_args();
        args.push("--".into());
        args
    }
}

// === impl Stage ===

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is supervised elsewhere"))]
impl Stage {
    /// The stage that these arguments ask for, and the command.
    fn from_args(args: &[OsString]) -> Option<(Self, Vec<OsString>)> {
        let mut args = args.iter().cloned().peekable();
        let is_outside = args.next_if(|arg| arg == OUTSIDE).is_some();
        let Order { place, argv, .. } = Order::from_args(args)?;
        Some((if is_outside { Stage::Outside(place) } else { Stage::Inside(place) }, argv))
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

    pub(super) fn carry(_: impl Iterator<Item = OsString>) -> ExitCode {
        ExitCode::from(2)
    }
}
