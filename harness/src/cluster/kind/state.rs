//! The folder where we keep what outlives a run, and the locks by which runs know each other.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::KindError;

/// Held as long as a run lives, however it ends: the operating system lets go of it.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    _file: File,
}

impl RunLock {
    /// Takes the lock of a run.
    ///
    /// # Errors
    ///
    /// [`KindError::File`].
    pub fn take(run: &str) -> Result<Self, KindError> {
        let path = lock_path(run)?;
        let locked = File::create(&path).and_then(|file| {
            file.try_lock().map_err(io::Error::from)?;
            Ok(file)
        });
        match locked {
            Ok(file) => Ok(Self { path, _file: file }),
            Err(error) => Err(KindError::File { path, error }),
        }
    }

    /// The name of a run that is going on, when there is one.
    pub fn any() -> Option<String> {
        let runs = std::fs::read_dir(folder().ok()?.join("runs")).ok()?;
        let names = runs.filter_map(|run| run.ok()?.file_name().into_string().ok());
        names.into_iter().find(|run| Self::is_held(run))
    }

    /// Whether the run of this name is going on, on this machine. Forgets those that are not.
    pub fn is_held(run: &str) -> bool {
        let Ok(path) = lock_path(run) else { return false };
        let Ok(file) = File::open(&path) else { return false };
        if file.try_lock().is_err() {
            return true;
        }
        let _ = std::fs::remove_file(&path);
        false
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lock_path(run: &str) -> Result<PathBuf, KindError> {
    let runs = folder()?.join("runs");
    std::fs::create_dir_all(&runs).map_err(|error| KindError::File { path: runs.clone(), error })?;
    Ok(runs.join(run))
}

/// Our own folder below the user's folder for state.
pub(super) fn folder() -> Result<PathBuf, KindError> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = var("XDG_STATE_HOME")
        .or_else(|| var("LOCALAPPDATA"))
        .or_else(|| var("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("hubcheck");
    std::fs::create_dir_all(&folder).map_err(|error| KindError::File { path: folder.clone(), error })?;
    Ok(folder)
}

/// Writes a file that only the user can read: a kubeconfig holds a key.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
