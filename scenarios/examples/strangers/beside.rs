//! Servers that a row starts itself, for hubs that are checked where they run (`--url`).

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// A server accepts connections within this.
const STARTS: Duration = Duration::from_secs(30);

/// Between two looks at whether it does.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Servers that run beside a row, and end with this value.
pub(crate) struct Beside {
    servers: Vec<Child>,
    /// The port of the last one, which clients use.
    pub(crate) port: u16,
}

impl Beside {
    /// Starts these command lines, one after another. Each has an address in `HOST` and `PORT`, and the port of the one before in
    /// `UPSTREAM`.
    ///
    /// # Errors
    ///
    /// When one does not start, or does not accept connections.
    pub(crate) fn start(lines: &[String]) -> anyhow::Result<Self> {
        let mut beside = Self { servers: Vec::new(), port: 0 };
        for line in lines {
            let words = shell_words::split(line)?;
            let (program, arguments) = words.split_first().context("a command line names a program")?;
            let upstream = beside.port;
            beside.port = free_port()?;
            let server = Command::new(program)
                .args(arguments)
                .env("HOST", "127.0.0.1")
                .env("PORT", beside.port.to_string())
                .env("UPSTREAM", upstream.to_string())
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("starting `{line}`"))?;
            beside.servers.push(server);
            beside.until_it_accepts().with_context(|| format!("waiting for `{line}`"))?;
        }
        Ok(beside)
    }

    fn until_it_accepts(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            anyhow::ensure!(began.elapsed() < STARTS, "nothing accepts on port {}", self.port);
            if let Some(ended) = self.servers.last_mut().map(Child::try_wait).transpose()?.flatten() {
                anyhow::bail!("it ended: {ended}");
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        for server in &mut self.servers {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
