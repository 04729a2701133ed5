//! Whether replicas can be PID 1 of namespaces of their own on this machine, as containers are, and have a network of their own.

use std::path::Path;
use std::sync::OnceLock;

use super::supervisor::Place;

/// What was found out; the machine stays the same for as long as this process lives.
static TRIED: OnceLock<Result<(), String>> = OnceLock::new();

/// The same of a network.
static TRIED_NETWORK: OnceLock<Result<(), String>> = OnceLock::new();

/// Tries it once with this supervisor: why it cannot be had, where it cannot. Blocks for a few milliseconds.
pub(crate) fn tried(supervisor: &Path) -> Result<(), &'static str> {
    TRIED.get_or_init(|| attempt(supervisor, Place::Own)).as_ref().copied().map_err(String::as_str)
}

/// The same of a network.
pub(crate) fn network_tried(supervisor: &Path) -> Result<(), &'static str> {
    TRIED_NETWORK.get_or_init(|| attempt(supervisor, Place::Apart)).as_ref().copied().map_err(String::as_str)
}

/// Starts a command that does nothing in namespaces of its own.
#[cfg(target_os = "linux")]
fn attempt(supervisor: &Path, place: Place) -> Result<(), String> {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::supervisor::{Exit, NOTHING, News, Order};

    let argv = vec![supervisor.into(), "supervise".into(), NOTHING.into()];
    let order = Order { place, argv, ..Order::default() };
    let mut child = Command::new(supervisor)
        .arg("supervise")
        .args(order.to_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut said = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut said).map_err(|error| error.to_string())?;
    }
    // Only now: when its input closes, a supervisor ends what it started.
    child.wait().map_err(|error| error.to_string())?;
    match said.lines().last().map(str::parse) {
        Some(Ok(News::Exited(Exit { code: 0, .. }))) => Ok(()),
        Some(Ok(News::Failed(why))) => Err(why),
        _ => Err(format!("a process in namespaces of its own did not start: {}", said.trim_end())),
    }
}

#[cfg(not(target_os = "linux"))]
fn attempt(_: &Path, _: Place) -> Result<(), String> {
    Err("this is not Linux".to_owned())
}
