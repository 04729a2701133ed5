//! Namespaces of process ids and mounts, as a container has them, and of networks where two replicas would want one port.
//!
//! The first process of a PID namespace is PID 1: the kernel has no default action for its signals, as in a pod. A
//! program that reads `/proc` needs the one of its own namespace, so there is a mount namespace beside it.
//!
//! A user without privileges gets both through a user namespace of its own, in which it keeps its own ids.
//! The steps are spread over two processes: only a child of the process that calls `unshare` or `setns` is inside.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, getegid, geteuid};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, UnshareFlags, capabilities, capability_is_in_ambient_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set, move_into_link_name_space,
    set_capabilities,
};

use super::netlink::start_loopback;

/// What it takes to mount, and to enter somebody else's mounts.
const NEEDED: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SYS_CHROOT];

/// Makes namespaces: the next child of this process is PID 1 in them. It must call [`mount_proc`].
pub(super) fn make(with_network: bool) -> io::Result<()> {
    let network = if with_network { UnshareFlags::NEWNET } else { UnshareFlags::empty() };
    let inner = UnshareFlags::NEWPID | UnshareFlags::NEWNS | network;
    match unshare(inner) {
        Err(Errno::PERM) => make_as_user(inner)?,
        done => done?,
    }
    if with_network { start_loopback() } else { Ok(()) }
}

fn make_as_user(inner: UnshareFlags) -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(inner | UnshareFlags::NEWUSER)?;
    // Without this the group's map may not be written.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1", user = user.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1", group = group.as_raw()))?;
    keep_capabilities()
}

/// Enters the user, network and PID namespaces of a process: the next child of this one is inside. It must call
/// [`enter_mounts`].
pub(super) fn enter(pid: Pid) -> io::Result<()> {
    let ids = File::open(link(pid, "pid"))?;
    let network = File::open(link(pid, "net"))?;
    let has_own_network = is_other(pid, "net")?;
    enter_user(pid)?;
    if has_own_network {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    Ok(move_into_link_name_space(ids.as_fd(), Some(LinkNameSpaceType::ProcessID))?)
}

/// Enters the user namespace of a process, where that is another one. This process must have one thread.
pub(super) fn enter_user(pid: Pid) -> io::Result<()> {
    if !is_other(pid, "user")? {
        return Ok(());
    }
    move_into_link_name_space(File::open(link(pid, "user"))?.as_fd(), Some(LinkNameSpaceType::User))?;
    keep_capabilities()
}

/// Enters the network namespace of a process, with this thread alone: sockets that it makes from now on are of that network.
pub(super) fn enter_network(pid: Pid) -> io::Result<()> {
    Ok(move_into_link_name_space(File::open(link(pid, "net"))?.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Gives this process, which is PID 1 of new namespaces, the `/proc` that belongs to them.
pub(super) fn mount_proc() -> io::Result<()> {
    // What is mounted in here must not be seen outside.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)?;
    give_up_capabilities()
}

/// Enters the mounts of a process, by the id that it has outside, and stays in its own folder.
pub(super) fn enter_mounts(pid: Pid) -> io::Result<()> {
    let folder = std::env::current_dir();
    move_into_link_name_space(File::open(link(pid, "mnt"))?.as_fd(), Some(LinkNameSpaceType::Mount))?;
    if let Ok(folder) = folder {
        std::env::set_current_dir(folder)?;
    }
    give_up_capabilities()
}

#[expect(deprecated, reason = "the other name is unsafe for a flag that is not used here (`FILES`)")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

/// Whether a process has another namespace of this kind than this one.
fn is_other(pid: Pid, name: &str) -> io::Result<bool> {
    Ok(fs::read_link(link(pid, name))? != fs::read_link(Path::new("/proc/self/ns").join(name))?)
}

fn link(pid: Pid, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("ns").join(name)
}

/// Lets what is needed of a new user namespace's capabilities outlive the next `exec`.
fn keep_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable |= NEEDED[0] | NEEDED[1];
    set_capabilities(None, sets)?;
    for capability in NEEDED {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Takes back what [`keep_capabilities`] gave: the container's command must not have more than its user.
fn give_up_capabilities() -> io::Result<()> {
    if !capability_is_in_ambient_set(NEEDED[0])? {
        return Ok(());
    }
    clear_ambient_capability_set()?;
    let mut sets = capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, sets)?)
}
