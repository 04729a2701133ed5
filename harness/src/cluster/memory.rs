//! How a memory limit is enforced: by a cgroup where one can be made, else by watching the process tree.
//!
//! Rlimits are not used: they make allocations fail, which is not what a container sees.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, getpid};

/// How often the watcher looks.
const LOOK: Duration = Duration::from_millis(5);

/// How many looks the watcher keeps the list of processes for.
const LOOKS_PER_LIST: u32 = 10;

/// What the names of our cgroups begin with; the harness's process id follows.
pub(crate) const PREFIX: &str = "hubcheck-";

/// A memory cgroup of our own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: PathBuf,
    unified: bool,
}

/// Sums the memory of this process's descendants and tells once when it exceeds the limit.
#[derive(Debug)]
pub(crate) struct Watcher {
    peak: Arc<AtomicU64>,
    /// Ends the thread when dropped.
    _stop: Sender<()>,
}

// === impl Cgroup ===

impl Cgroup {
    /// Makes a group with this limit in bytes, when this process may.
    pub(crate) fn make(name: &str, limit: u64) -> Option<Self> {
        parents().into_iter().find_map(|(parent, unified)| {
            let group = Self { dir: parent.join(name), unified };
            fs::create_dir(&group.dir).ok()?;
            group.limit(limit).ok()?;
            Some(group)
        })
    }

    fn limit(&self, limit: u64) -> io::Result<()> {
        let limit = limit.to_string();
        if self.unified {
            self.set("memory.max", &limit)?;
            // As Kubernetes does: a limit holds for memory and swap together, and ends the whole container.
            let _ = self.set("memory.swap.max", "0");
            let _ = self.set("memory.oom.group", "1");
        } else {
            self.set("memory.limit_in_bytes", &limit)?;
            let _ = self.set("memory.memsw.limit_in_bytes", &limit);
        }
        Ok(())
    }

    /// Moves a process into the group.
    pub(crate) fn join(&self, pid: Pid) -> io::Result<()> {
        self.set("cgroup.procs", &pid.as_raw_nonzero().to_string())
    }

    /// Whether the kernel killed a process of the group for want of memory.
    pub(crate) fn killed(&self) -> bool {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count.trim() != "0")
    }

    /// The most memory that the group used, in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        let file = if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.dir.join(file)).ok()?.trim().parse().ok()
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.dir.join(file), value)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel may hold the group for a moment after its last process was reaped.
        for _ in 0..200 {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::park_timeout(LOOK),
                _ => return,
            }
        }
    }
}

/// Removes the empty groups of harnesses that are gone (their supervisor was killed).
pub(crate) fn remove_stale_cgroups() {
    for (parent, _) in parents() {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Where groups may be made, and whether it is the unified hierarchy.
fn parents() -> Vec<(PathBuf, bool)> {
    let root = Path::new("/sys/fs/cgroup");
    let mut parents = vec![(root.join("memory"), false)];
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // A group with processes cannot have children with limits, but its siblings can.
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    if let Some(sibling) = own.and_then(|own| Path::new(own).parent()) {
        parents.push((root.join(sibling), true));
    }
    parents.push((root.to_owned(), true));
    parents.retain(|(dir, unified)| {
        let has = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        if *unified {
            has("cgroup.subtree_control").split_whitespace().any(|controller| controller == "memory")
        } else {
            dir.join("memory.limit_in_bytes").exists()
        }
    });
    parents
}

// === impl Watcher ===

impl Watcher {
    /// Starts looking; `overdrawn` is called once.
    pub(crate) fn start(limit: u64, overdrawn: impl FnOnce() + Send + 'static) -> Self {
        let peak = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = channel::<()>();
        let seen = Arc::clone(&peak);
        let page = rustix::param::page_size() as u64;
        thread::spawn(move || {
            let mut tree = Vec::new();
            let mut overdrawn = Some(overdrawn);
            for look in 0_u32.. {
                if look % LOOKS_PER_LIST == 0 {
                    tree = descendants();
                }
                let used = tree.iter().filter_map(|pid| private_pages(*pid)).sum::<u64>() * page;
                seen.fetch_max(used, Ordering::Relaxed);
                if used > limit
                    && let Some(overdrawn) = overdrawn.take()
                {
                    overdrawn();
                }
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { peak, _stop: stop }
    }

    /// The most memory that was seen, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// The resident pages of a process that no file backs.
///
/// A cgroup counts pages of a shared library once, and gives them back under pressure; summing all resident
/// pages would count them once per process.
fn private_pages(pid: Pid) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = statm.split(' ').skip(1).map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()?, fields.next()?);
    Some(resident.saturating_sub(shared))
}

// === processes ===

/// Every process that descends from this one, parents before children.
pub(crate) fn descendants() -> Vec<Pid> {
    descendants_of(getpid())
}

/// Every process that descends from this one, parents before children.
pub(crate) fn descendants_of(pid: Pid) -> Vec<Pid> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

/// A process's children, of all its threads.
fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")));
    let mut found = Vec::new();
    for list in lists {
        match list {
            Ok(list) => found.extend(list.split_whitespace().filter_map(parse_pid)),
            // A kernel without these files; a thread that just ended has them no more.
            Err(_) if !Path::new("/proc/thread-self/children").exists() => return scan(pid),
            Err(_) => {}
        }
    }
    found
}

/// The same from every process's own word about its parent.
fn scan(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let of_parent = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The command's name, in parentheses, may contain anything.
        let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        field.and_then(parse_pid) == Some(parent)
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(parse_pid))
        .filter(of_parent)
        .collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}
