//! The folder where we keep what outlives a run, and the locks by which runs on this machine know each other.
//!
//! Several runs may use one cluster, and one Docker, at the same time: none removes what another one uses.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::KindError;

/// Held as long as a run lives, however it ends: the operating system lets go of it.
#[derive(Debug)]
pub struct RunLock {
    run: String,
    cluster: String,
    _held: Held,
}

/// A run that is going on, on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its name.
    pub run: String,
    /// The KIND cluster that it uses; empty when it did not say.
    pub cluster: String,
    /// The images that it uses.
    pub images: Vec<String>,
}

/// A turn at something that one run does at a time.
#[derive(Debug)]
pub(super) struct Turn {
    _held: Held,
}

/// What runs take turns at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Matter<'c> {
    /// Making and removing the cluster of this name.
    Cluster(&'c str),
    /// Saying which image is used, and removing those that are not.
    Images,
}

/// A file whose lock is held. It goes with the lock.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    _file: File,
}

// === impl RunLock ===

impl RunLock {
    /// Takes the lock of a run that will use this cluster.
    ///
    /// # Errors
    ///
    /// [`KindError::File`].
    pub fn take(run: &str, cluster: &str) -> Result<Self, KindError> {
        let held = Held::wait(below("runs", run)?)?;
        let lock = Self { run: run.to_owned(), cluster: cluster.to_owned(), _held: held };
        lock.write(&[])?;
        Ok(lock)
    }

    /// The run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The cluster that it uses.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Says that the run uses this image, before it looks whether the image is there: nobody removes it from then on.
    ///
    /// # Errors
    ///
    /// [`KindError::File`].
    pub(super) async fn uses(&self, image: &str) -> Result<(), KindError> {
        let _turn = Turn::take(Matter::Images).await?;
        let mut images = read(&self.run).images;
        if !images.iter().any(|known| known == image) {
            images.push(image.to_owned());
        }
        self.write(&images)
    }

    /// Says that the run does not use this image any more.
    ///
    /// # Errors
    ///
    /// [`KindError::File`].
    pub(super) async fn uses_no_more(&self, image: &str) -> Result<(), KindError> {
        let _turn = Turn::take(Matter::Images).await?;
        let mut images = read(&self.run).images;
        images.retain(|known| known != image);
        self.write(&images)
    }

    /// The other runs that are going on.
    pub fn others(&self) -> Vec<Live> {
        Self::live().into_iter().filter(|live| live.run != self.run).collect()
    }

    /// The runs that are going on. Forgets those that are not.
    pub fn live() -> Vec<Live> {
        let Ok(runs) = folder().map(|folder| folder.join("runs")) else { return Vec::new() };
        let runs = std::fs::read_dir(runs).into_iter().flatten();
        let names = runs.filter_map(|run| run.ok()?.file_name().into_string().ok());
        names.filter(|run| Self::is_held(run)).map(|run| read(&run)).collect()
    }

    /// Whether the run of this name is going on, on this machine.
    pub fn is_held(run: &str) -> bool {
        let Ok(path) = below("runs", run) else { return false };
        let Ok(file) = File::open(&path) else { return false };
        if file.try_lock().is_err() {
            return true;
        }
        // Locked by nobody: its process is over.
        forget(run);
        drop(Held { path, _file: file });
        false
    }

    fn write(&self, images: &[String]) -> Result<(), KindError> {
        let path = below("uses", &self.run)?;
        let lines = [self.cluster.clone()].into_iter().chain(images.iter().cloned());
        let text: String = lines.map(|line| line + "\n").collect();
        std::fs::write(&path, text).map_err(|error| KindError::File { path, error })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        forget(&self.run);
    }
}

// === impl Turn ===

impl Turn {
    /// Takes a turn when there is one; waits for it.
    pub(super) async fn take(matter: Matter<'_>) -> Result<Self, KindError> {
        let path = matter.path()?;
        let waited = tokio::task::spawn_blocking(move || Held::wait(path)).await;
        let held = waited.map_err(|error| KindError::File {
            path: PathBuf::from("turns"),
            error: io::Error::other(error.to_string()),
        })??;
        Ok(Self { _held: held })
    }

    /// Whether somebody else has it now.
    pub(super) fn is_taken(matter: Matter<'_>) -> bool {
        let file = matter.path().ok().and_then(|path| File::open(path).ok());
        file.is_some_and(|file| file.try_lock().is_err())
    }
}

impl Matter<'_> {
    fn path(self) -> Result<PathBuf, KindError> {
        match self {
            Matter::Cluster(name) => below("turns", &format!("cluster-{name}")),
            Matter::Images => below("turns", "images"),
        }
    }
}

// === impl Held ===

impl Held {
    fn wait(path: PathBuf) -> Result<Self, KindError> {
        let locked = || loop {
            let file = File::create(&path)?;
            file.lock()?;
            // Who had it before us removed the file, and another may have made it anew.
            if is_at(&file, &path) {
                return Ok(file);
            }
        };
        match locked() {
            Ok(file) => Ok(Self { path, _file: file }),
            Err(error) => Err(KindError::File { path, error }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Elsewhere a file that another process has open does not go, and is found by the next one.
        if cfg!(unix) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

// === helpers ===

/// Whether this is the file that stands at this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    let (file, path) = (id(file.metadata()), id(std::fs::metadata(path)));
    file.is_some() && file == path
}

/// Whether this is the file that stands at this path: files that are open do not go.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// What a run said that it uses.
fn read(run: &str) -> Live {
    let text = below("uses", run).and_then(|path| {
        std::fs::read_to_string(&path).map_err(|error| KindError::File { path: path.clone(), error })
    });
    let text = text.unwrap_or_default();
    let mut lines = text.lines().map(str::to_owned);
    Live { run: run.to_owned(), cluster: lines.next().unwrap_or_default(), images: lines.collect() }
}

fn forget(run: &str) {
    if let Ok(path) = below("uses", run) {
        let _ = std::fs::remove_file(path);
    }
}

/// A file of a folder of ours.
fn below(part: &str, name: &str) -> Result<PathBuf, KindError> {
    let part = folder()?.join(part);
    std::fs::create_dir_all(&part).map_err(|error| KindError::File { path: part.clone(), error })?;
    Ok(part.join(name))
}

/// The folder of one cluster.
pub(super) fn cluster_folder(name: &str) -> Result<PathBuf, KindError> {
    let folder = below("clusters", name)?;
    std::fs::create_dir_all(&folder).map_err(|error| KindError::File { path: folder.clone(), error })?;
    Ok(folder)
}

/// Names this machine and user to clusters that others use too: made once, and kept.
///
/// # Errors
///
/// [`KindError::File`].
pub(in crate::cluster) fn home() -> Result<String, KindError> {
    let path = folder()?.join("home");
    let read = || std::fs::read_to_string(&path).ok().filter(|home| !home.trim().is_empty());
    if read().is_none() {
        let mut bytes = [0; 8];
        let failed = |error: io::Error| KindError::File { path: path.clone(), error };
        getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        let made: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Whole or not at all: another run may make one at the same time, and then the first one counts.
        let whole = path.with_extension(std::process::id().to_string());
        std::fs::write(&whole, made).map_err(failed)?;
        let linked = std::fs::hard_link(&whole, &path);
        std::fs::remove_file(&whole).map_err(failed)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(read().unwrap_or_default().trim().to_owned())
}

/// Our own folder below the user's folder for state.
fn folder() -> Result<PathBuf, KindError> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = var("XDG_STATE_HOME")
        .or_else(|| var("LOCALAPPDATA"))
        .or_else(|| var("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("hubcheck");
    std::fs::create_dir_all(&folder).map_err(|error| KindError::File { path: folder.clone(), error })?;
    Ok(folder)
}

/// Removes the folders that hold nothing any more.
pub(super) fn tidy() {
    let Ok(folder) = folder() else { return };
    for part in ["clusters", "runs", "uses", "turns"] {
        let _ = std::fs::remove_dir(folder.join(part));
    }
    let _ = std::fs::remove_dir(folder);
}

/// Writes a file that only the user can read: a kubeconfig holds a key.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_went_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Held::wait(path.clone()).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Held::wait(path).unwrap()
        });
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(first);
        let second = second.join().unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err(), "the second holds the file that is there");
        drop(second);
        assert_eq!(path.exists(), !cfg!(unix));
    }
}
