//! The reference hub's binary: built from the workspace that this hubcheck was built from, or found beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The reference hub cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Where this executable is cannot be told.
    #[error("finding this executable: {0}")]
    NoExecutable(std::io::Error),
    /// Cargo could not be started.
    #[error("starting `{command}`: {error}")]
    NoCargo {
        /// What was to be run.
        command: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The build failed; cargo said why on standard error.
    #[error("`{command}` failed; its messages are above")]
    BuildFailed {
        /// What was run.
        command: String,
    },
    /// There is no workspace, and no hub beside the executable.
    #[error("there is no `hub` beside `{}`", .0.display())]
    Missing(PathBuf),
    /// The hub beside the executable is of another version.
    #[error("`{}` is {found}, this hubcheck needs `hub {wanted}`", hub.display())]
    Stale {
        /// The hub that was found.
        hub: PathBuf,
        /// What it says it is.
        found: String,
        /// The version it has to be of.
        wanted: &'static str,
    },
}

/// Whether cargo's own messages are shown while it builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// A user waits for it.
    Shown,
    /// Errors only.
    Quiet,
}

/// Builds the hub in the profile of this executable and returns the binary's path; without a workspace, finds the one
/// beside this executable and refuses one of another version.
///
/// # Errors
///
/// [`ReferenceError`]; a stale or missing binary is never used silently.
pub fn build(messages: Messages) -> Result<PathBuf, ReferenceError> {
    let executable = std::env::current_exe().map_err(ReferenceError::NoExecutable)?;
    let folder = executable.parent().unwrap_or(Path::new("."));
    // A test's executable is in `deps` below the profile's folder.
    let profile_dir = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    if is_of_workspace(profile_dir, workspace) {
        build_in(workspace, profile_dir, messages)
    } else {
        beside(folder)
    }
}

/// Whether this executable was built in a target folder of the workspace whose sources are still there.
fn is_of_workspace(profile_dir: &Path, workspace: &Path) -> bool {
    let sources = workspace.join("hub/Cargo.toml").is_file();
    // Cargo marks every target folder; an installed copy does not stand in one.
    let target = profile_dir.parent().is_some_and(|target| target.join("CACHEDIR.TAG").is_file());
    sources && target
}

fn build_in(workspace: &Path, profile_dir: &Path, messages: Messages) -> Result<PathBuf, ReferenceError> {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target_dir = profile_dir.parent().unwrap_or(profile_dir);
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--package", "hub", "--bin", "hub", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .args((messages == Messages::Quiet).then_some("--quiet"))
        .current_dir(workspace)
        .stdin(Stdio::null());
    let text = format!("cargo build --package hub --profile {profile}");
    let status =
        command.status().map_err(|error| ReferenceError::NoCargo { command: text.clone(), error })?;
    if !status.success() {
        return Err(ReferenceError::BuildFailed { command: text });
    }
    Ok(profile_dir.join("hub"))
}

fn beside(folder: &Path) -> Result<PathBuf, ReferenceError> {
    let hub = folder.join("hub");
    if !hub.is_file() {
        return Err(ReferenceError::Missing(folder.join("hubcheck")));
    }
    let wanted = env!("CARGO_PKG_VERSION");
    let said = Command::new(&hub).arg("--version").output();
    let found =
        said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if found == format!("hub {wanted}") { Ok(hub) } else { Err(ReferenceError::Stale { hub, found, wanted }) }
}
