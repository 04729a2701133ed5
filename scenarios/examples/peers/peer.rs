//! A peer: a server that nobody here wrote, with its versions pinned, installed once into a cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A server SDK, and how the hub below `scenarios/peers/` is run with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its name on the command line, and of its lock below `scenarios/peers/`.
    pub(crate) name: &'static str,
    /// What it is, as users know it.
    pub(crate) title: &'static str,
    /// Where it comes from.
    pub(crate) registry: Registry,
    /// What is run: arguments of its hub, and the transports that it then speaks, comma-separated.
    pub(crate) runs: &'static [(&'static str, &'static str)],
}

/// Where a peer comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Registry {
    /// PyPI: `NAME.txt` is a list of pinned requirements, this file the hub.
    PyPi(&'static str),
    /// npm: `NAME/` holds `package.json`, its lock and this hub, unless its packages are hubs themselves.
    Npm(Option<&'static str>),
}

/// A peer that could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("{peer} WAS NOT TESTED: this needs {what}, which failed: {why}")]
pub(crate) struct NotInstalled {
    peer: &'static str,
    what: String,
    why: String,
}

/// The flags that allow the tools of every hub below `scenarios/peers/` to be called: we wrote them, and their servers do not mark them
/// as read-only.
pub(crate) const ALLOWED: [&str; 14] = [
    "--tool", "whoami", "--tool", "echo", "--tool", "count", "--tool", "tally", "--tool", "work", "--tool",
    "sleep", "--tool", "allocate",
];

/// Every peer.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "fastmcp2",
        title: "PyPI `fastmcp` 2",
        registry: Registry::PyPi("hub_fastmcp.py"),
        runs: &[("sse", "sse"), ("streamable-http", "streamable")],
    },
    Peer {
        name: "fastmcp4",
        title: "PyPI `fastmcp` 4",
        registry: Registry::PyPi("hub_fastmcp.py"),
        runs: &[("sse", "sse"), ("streamable-http", "streamable,stateless")],
    },
    Peer {
        name: "mcp1",
        title: "PyPI `mcp` 1",
        registry: Registry::PyPi("hub_mcp1.py"),
        runs: &[("sse", "sse"), ("streamable-http", "streamable")],
    },
    Peer {
        name: "mcp2",
        title: "PyPI `mcp` 2",
        registry: Registry::PyPi("hub_mcp2.py"),
        runs: &[("sse", "sse"), ("streamable-http", "streamable,stateless")],
    },
    Peer {
        name: "ts1",
        title: "npm `@modelcontextprotocol/sdk` 1",
        registry: Registry::Npm(Some("hub.mjs")),
        runs: &[("", "sse,streamable")],
    },
    Peer {
        name: "ts2",
        title: "npm `@modelcontextprotocol/server` 2",
        registry: Registry::Npm(Some("hub.mjs")),
        runs: &[("", "sse,streamable,stateless")],
    },
];

// === impl Peer ===

impl Peer {
    /// Installs it below this cache folder, unless just that is there.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`] without Python or Node, or when the registry cannot be reached.
    pub(crate) fn install(&self, cache: &Path) -> Result<(), NotInstalled> {
        let home = cache.join(self.name);
        // Another run may be installing it.
        let locked = std::fs::create_dir_all(cache)
            .and_then(|()| std::fs::File::create(cache.join(format!("{}.lock", self.name))))
            .and_then(|file| file.lock().map(|()| file));
        let _locked = locked.map_err(|error| self.lacks("a cache that can be locked", error))?;
        self.copy_to(&home).map_err(|error| self.lacks("a cache that can be written", error))?;
        let complete = home.join("complete");
        let lock = std::fs::read_to_string(self.lock()).map_err(|error| self.lacks("its lock", error))?;
        if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == lock) {
            return Ok(());
        }
        match self.registry {
            Registry::PyPi(_) => self.install_from_pypi(&home)?,
            Registry::Npm(_) => self.install_from_npm(&home)?,
        }
        std::fs::write(complete, lock).map_err(|error| self.lacks("a cache that can be written", error))
    }

    /// The command line of its hub, for `hubcheck run --command`.
    pub(crate) fn command(&self, cache: &Path, args: &str) -> String {
        let home = cache.join(self.name);
        let (runtime, hub) = match self.registry {
            Registry::PyPi(hub) => (home.join("bin/python").display().to_string(), folder().join(hub)),
            Registry::Npm(hub) => ("node".to_owned(), home.join(hub.unwrap_or_default())),
        };
        format!("{runtime} {} {args}", hub.display())
    }

    fn lock(&self) -> PathBuf {
        match self.registry {
            Registry::PyPi(_) => folder().join(format!("{}.txt", self.name)),
            Registry::Npm(_) => folder().join(self.name).join("package-lock.json"),
        }
    }

    fn install_from_pypi(&self, home: &Path) -> Result<(), NotInstalled> {
        let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(home).output();
        self.must(venv, "`python3 -m venv` (Debian: apt-get install python3-venv)")?;
        let installed = Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(self.lock())
            .output();
        self.must(installed, "`pip install` from PyPI")
    }

    fn install_from_npm(&self, home: &Path) -> Result<(), NotInstalled> {
        let installed =
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(home).output();
        self.must(installed, "`npm ci` (Node 20 or newer, and the npm registry)")
    }

    /// Node looks for modules beside the file that names them: the hub stands where they are installed.
    fn copy_to(&self, home: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(home)?;
        let Registry::Npm(hub) = self.registry else { return Ok(()) };
        for file in ["package.json", "package-lock.json"].into_iter().chain(hub) {
            std::fs::copy(folder().join(self.name).join(file), home.join(file))?;
        }
        if hub.is_some() {
            std::fs::copy(folder().join("tools.mjs"), home.join("tools.mjs"))?;
        }
        Ok(())
    }

    fn must(&self, done: std::io::Result<std::process::Output>, what: &str) -> Result<(), NotInstalled> {
        match done {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(self.lacks(what, String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(self.lacks(what, error)),
        }
    }

    fn lacks(&self, what: &str, why: impl std::fmt::Display) -> NotInstalled {
        NotInstalled { peer: self.name, what: what.to_owned(), why: why.to_string() }
    }
}

// === helpers ===

/// The folder of the hubs and locks.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
