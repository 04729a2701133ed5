//! What can be seen of a container's processes from outside: what they are, and where they listen.

use std::fmt;
use std::net::SocketAddr;

use super::ProcessCount;
use crate::transcript::ProcessSeen;

/// The longest command line that is shown, in characters.
const COMMAND: usize = 120;

/// How many processes of a container are shown.
const SHOWN: usize = 4;

/// The main process of a container, and the first of those below it, parents before children; `None` when it is gone.
pub(crate) fn processes(main: u32) -> Option<(ProcessSeen, Vec<ProcessSeen>)> {
    let first = platform::process(main)?;
    let below = platform::below(main).into_iter().filter_map(platform::process);
    Some((first, below.take(SHOWN).collect()))
}

/// How many processes a container has, by its main process; `None` when that is gone.
pub(crate) fn count(main: u32) -> Option<ProcessCount> {
    let stats = platform::stats(main)?;
    Some(ProcessCount::of_stats(stats.iter().map(String::as_str)))
}

/// Where a replica listens.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// Where it was asked to listen.
    pub(crate) own: SocketAddr,
    /// Where its processes do.
    pub(crate) at: Vec<SocketAddr>,
}

// === impl Listening ===

impl Listening {
    /// Where this container's processes listen. In a network of its own a container may listen at another port than it was asked to.
    pub(crate) fn of(main: u32, own: SocketAddr, fixed: Option<u16>) -> Self {
        let at = platform::listening(main);
        let is_as_asked = at.iter().any(|at| at.port() == own.port());
        let port = fixed.filter(|_| !is_as_asked).unwrap_or(own.port());
        Self { own: SocketAddr::new(own.ip(), port), at }
    }

    /// The port at which it listens in place of the one that it was asked to listen at: the only one, or the one that its manifests
    /// declare.
    pub(crate) fn fixed_port(&self, declared: Option<u16>) -> Option<u16> {
        let mut ports: Vec<u16> = self.at.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        match ports.as_slice() {
            ports if ports.contains(&self.own.port()) => None,
            [port] => Some(*port),
            ports => declared.filter(|port| ports.contains(port)),
        }
    }

    /// Whether it can be reached at its own address.
    pub(crate) fn is_reachable(&self) -> bool {
        self.at_own_port().any(|at| at.ip() == self.own.ip() || !at.ip().is_loopback())
    }

    /// Whether it listens at its own port, but only for this machine. Its own address stands for a pod's.
    pub(crate) fn is_at_loopback_only(&self) -> bool {
        self.at_own_port().next().is_some() && !self.is_reachable()
    }

    fn at_own_port(&self) -> impl Iterator<Item = &SocketAddr> {
        self.at.iter().filter(|at| at.port() == self.own.port())
    }
}

/// The addresses, as a list.
impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Vec<String> = self.at.iter().map(SocketAddr::to_string).collect();
        f.write_str(&at.join(", "))
    }
}

// === helpers ===

/// A command line as a person would type it, not too long.
fn shown(words: &[u8]) -> String {
    let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    let line = shell_words::join(&words);
    match line.char_indices().nth(COMMAND) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// Whether a process does something of its own on SIGTERM, by its `/proc/PID/status`: it catches the signal, or blocks it
/// to fetch it when it likes. As PID 1 any other process ignores it.
fn heeds_sigterm(status: &str) -> bool {
    const SIGTERM: u32 = 15;
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let has = |name| mask(name).is_some_and(|mask| mask >> (SIGTERM - 1) & 1 == 1);
    has("SigCgt:") || has("SigBlk:")
}

/// The listening sockets of a `/proc/net/tcp` or `tcp6`: inode and address.
fn listeners(table: &str) -> Vec<(u64, SocketAddr)> {
    const LISTEN: &str = "0A";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (*fields.get(1)?, *fields.get(3)?, fields.get(9)?.parse().ok()?);
        (state == LISTEN).then_some((inode, address(local)?))
    };
    table.lines().filter_map(listener).collect()
}

/// `0100007F:1F90` as an address: words of four bytes in the machine's order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..words.len()).step_by(8) {
        let word = u32::from_str_radix(words.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some((four, port).into());
    }
    <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|sixteen| (sixteen, port).into())
}

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::BTreeSet;
    use std::fs;
    use std::net::SocketAddr;

    use rustix::process::Pid;

    use super::{ProcessSeen, heeds_sigterm, listeners, shown};
    use crate::cluster::memory::descendants_of;

    pub(super) fn process(pid: u32) -> Option<ProcessSeen> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let command = shown(&fs::read(format!("/proc/{pid}/cmdline")).ok()?);
        // Of a process that has ended and was not waited for it is empty.
        (!command.is_empty()).then(|| ProcessSeen { command, heeds_sigterm: heeds_sigterm(&status) })
    }

    pub(super) fn below(pid: u32) -> Vec<u32> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Vec::new() };
        let below = descendants_of(pid).into_iter();
        below.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect()
    }

    /// The `/proc/PID/stat` of each process. What lost its parent became a child of the supervisor, unless the main process is PID 1.
    pub(super) fn stats(main: u32) -> Option<Vec<String>> {
        let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let own = stat(main)?;
        let supervisor = own.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some(below(supervisor).into_iter().filter_map(stat).collect())
    }

    pub(super) fn listening(main: u32) -> Vec<SocketAddr> {
        let mut sockets = BTreeSet::new();
        for pid in [main].into_iter().chain(below(main)) {
            for file in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let link = fs::read_link(file.path()).unwrap_or_default();
                let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
                sockets.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
            }
        }
        let mut found = BTreeSet::new();
        for table in ["tcp", "tcp6"] {
            let table = fs::read_to_string(format!("/proc/{main}/net/{table}")).unwrap_or_default();
            let own = listeners(&table).into_iter().filter(|(inode, _)| sockets.contains(inode));
            found.extend(own.map(|(_, address)| address));
        }
        found.into_iter().collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::net::SocketAddr;

    use super::ProcessSeen;

    pub(super) fn process(_: u32) -> Option<ProcessSeen> {
        None
    }

    pub(super) fn below(_: u32) -> Vec<u32> {
        Vec::new()
    }

    pub(super) fn stats(_: u32) -> Option<Vec<String>> {
        None
    }

    pub(super) fn listening(_: u32) -> Vec<SocketAddr> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_ended_and_were_not_waited_for_are_counted_apart() {
        let stats = ["7 (hub) S 1 7", "8 (a) Z (b) R 7 7", "9 (sh) Z 7 7", ""];
        assert_eq!(ProcessCount::of_stats(stats), ProcessCount { running: 2, unreaped: 1 });
    }

    #[test]
    fn sigterm_is_heeded_by_those_that_catch_or_fetch_it() {
        let status = |blocked: &str, ignored: &str, caught: &str| {
            heeds_sigterm(&format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n"))
        };
        let (none, term, int) = ("0000000000000000", "0000000000004000", "0000000000000002");
        assert!(status(none, none, term));
        assert!(status(term, none, none), "with `signalfd` or `sigwait`");
        assert!(!status(none, none, none));
        assert!(!status(none, term, int));
    }

    #[test]
    fn tables_of_sockets_tell_who_listens_where() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n   \
                     1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0\n";
        assert_eq!(listeners(table), [(77, "127.0.0.1:8080".parse().unwrap())]);
        let of = |text| address(text).map(|address| address.to_string());
        assert_eq!(of("00000000:0050").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(of("00000000000000000000000001000000:1F90").as_deref(), Some("[::1]:8080"));
        assert_eq!(of("00000000:"), None);
    }

    #[test]
    fn an_address_of_its_own_stands_for_a_pods() {
        let at = |at: &[&str]| {
            let at: Vec<SocketAddr> = at.iter().map(|at| at.parse().unwrap()).collect();
            let listening = Listening { own: "127.9.0.2:4000".parse().unwrap(), at };
            (listening.is_reachable(), listening.is_at_loopback_only())
        };
        assert_eq!(at(&["127.9.0.2:4000"]), (true, false));
        assert_eq!(at(&["0.0.0.0:4000", "127.0.0.1:9229"]), (true, false));
        assert_eq!(at(&["[::]:4000"]), (true, false));
        assert_eq!(at(&["127.0.0.1:4000"]), (false, true));
        assert_eq!(at(&["[::1]:4000"]), (false, true));
        assert_eq!(at(&["0.0.0.0:8000"]), (false, false), "another port");
    }

    #[test]
    fn a_port_is_fixed_when_it_is_the_only_one_and_another_than_the_wanted() {
        let declared = |declared: Option<u16>, at: &[&str]| {
            let at: Vec<SocketAddr> = at.iter().map(|at| at.parse().unwrap()).collect();
            Listening { own: "127.9.0.2:4000".parse().unwrap(), at }.fixed_port(declared)
        };
        let fixed = |at: &[&str]| declared(None, at);
        assert_eq!(fixed(&["0.0.0.0:8000", "[::]:8000"]), Some(8000));
        assert_eq!(fixed(&["127.9.0.2:4000"]), None);
        assert_eq!(fixed(&["0.0.0.0:8000", "127.0.0.1:9229"]), None);
        assert_eq!(fixed(&[]), None);
        assert_eq!(declared(Some(8000), &["0.0.0.0:8000", "127.0.0.1:9229"]), Some(8000));
        assert_eq!(declared(Some(80), &["0.0.0.0:8000", "127.0.0.1:9229"]), None);
        assert_eq!(declared(Some(8000), &["0.0.0.0:8000", "127.9.0.2:4000"]), None);
    }

    #[test]
    fn long_command_lines_are_cut_between_characters() {
        assert_eq!(shown(b"sh\0-c\0sleep 1; true\0"), "sh -c 'sleep 1; true'");
        let long = "é".repeat(200);
        assert_eq!(shown(long.as_bytes()).chars().count(), COMMAND + 2);
    }
}
