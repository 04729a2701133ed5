//! A process for each session, as a hub has it that wraps a stdio server.
//!
//! Without `--defect` there is none. Knows no HTTP and no tools.

use std::process::{Child, Command, Stdio};

use crate::defect::{Defect, Defects};
use crate::log;
use crate::session::Session;

/// Starts a process for a new session, where a defect has one. `keeps-children` lets it run on, and `leaves-zombies` ends it with the
/// session.
pub(crate) fn accompany(defects: Defects, session: &Session) {
    if defects.has(Defect::KeepsChildren) {
        drop(start());
    } else if defects.has(Defect::LeavesZombies) {
        let ended = session.ended().clone();
        let Some(mut child) = start() else { return };
        tokio::spawn(async move {
            ended.cancelled().await;
            // It is not waited for.
            let _ = child.kill();
        });
    }
}

/// A process that does nothing for days: this executable, before it listens.
fn start() -> Option<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--start-delay", "100h", "--sessions", "memory"]);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.inspect_err(|error| log!("a session's process cannot be started: {error}")).ok()
}
