//! One supervised process, seen from the harness.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::supervisor::{Exit, News, Order, Place};

/// The longest line kept of a container's output, in bytes.
const LINE: u64 = 16 * 1024;

/// How long output may still come when its supervisor is gone.
const REST_OF_OUTPUT: Duration = Duration::from_secs(1);

/// How long a process may take to stop.
const STOP: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(1);

/// The environment variable that every process of a container inherits, whatever session it puts itself into.
const MARK: &str = "HUBCHECK_CONTAINER";

/// What to run.
#[derive(Clone)]
pub(crate) struct Launching {
    /// The executable that can supervise.
    pub(crate) supervisor: PathBuf,
    /// What the supervisor is asked for.
    pub(crate) order: Order,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Where it runs.
    pub(crate) cwd: Option<PathBuf>,
}

/// A supervisor and what it runs. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Process {
    supervisor: Child,
    commands: ChildStdin,
    news: tokio::io::Lines<BufReader<ChildStdout>>,
    output: JoinHandle<()>,
    pid: Option<u32>,
    /// What its [`MARK`] says.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "processes are looked for by it on Linux alone")
    )]
    mark: String,
}

/// What can be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

// === impl Process ===

impl Process {
    /// Starts a supervisor; `line` is called for each line of output.
    pub(crate) fn start(
        launching: &Launching,
        line: impl FnMut(String) + Send + 'static,
    ) -> io::Result<Self> {
        let mark = new_mark();
        let mut command = Command::new(&launching.supervisor);
        command
            .arg("supervise")
            .args(launching.order.to_args())
            .env_clear()
            .envs(launching.env.iter().map(|(name, value)| (name, value)))
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &launching.cwd {
            command.current_dir(cwd);
        }
        // Ctrl-C in a terminal goes to the harness's group only: the supervisor must outlive it to clean up.
        #[cfg(unix)]
        command.process_group(0);
        let mut supervisor = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let commands = supervisor.stdin.take().ok_or_else(missing)?;
        let news = BufReader::new(supervisor.stdout.take().ok_or_else(missing)?).lines();
        let output = supervisor.stderr.take().ok_or_else(missing)?;
        let output = tokio::spawn(read_lines(output, line));
        Ok(Self { supervisor, commands, news, output, pid: None, mark })
    }

    /// What the supervisor tells next; cancel-safe. `None` when it ended without a word.
    pub(crate) async fn news(&mut self) -> Option<News> {
        loop {
            let line = self.news.next_line().await.ok().flatten()?;
            if let Ok(news) = line.parse() {
                if let News::Started { pid, .. } = news {
                    self.pid = Some(pid);
                }
                return Some(news);
            }
        }
    }

    /// The process id of the main process, as it is seen from here, once it was started.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Sends a signal to the main process of the container.
    pub(crate) async fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let word: &[u8] = match signal {
            Signal::Term => b"TERM\n",
            Signal::Kill => b"KILL\n",
            Signal::Stop => b"STOP\n",
            Signal::Continue => b"CONT\n",
        };
        self.commands.write_all(word).await?;
        if signal == Signal::Stop { self.until_stopped().await } else { Ok(()) }
    }

    /// A signal takes effect in its own time, and a request that slips in before would be answered.
    async fn until_stopped(&self) -> io::Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        let stopped = async {
            let mut look = tokio::time::interval(LOOK);
            while !is_stopped(pid) {
                look.tick().await;
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it did not stop");
        tokio::time::timeout(STOP, stopped).await.map_err(late)
    }

    /// Waits until the supervisor is gone and every line of output was read.
    pub(crate) async fn finish(mut self) {
        drop(self.commands);
        let _ = self.supervisor.wait().await;
        // A supervisor that was killed may leave behind a process that holds the pipe.
        if tokio::time::timeout(REST_OF_OUTPUT, &mut self.output).await.is_err() {
            self.output.abort();
        }
    }

    /// Ends the container when its supervisor ended without telling: it was killed, and what it would have found as its
    /// own descendants is known by the mark alone.
    pub(crate) async fn abandon(&self) {
        #[cfg(target_os = "linux")]
        {
            let mut look = tokio::time::interval(LOOK);
            // A process may fork while it is being killed.
            let none_is_left = async {
                while kill_marked(&self.mark) {
                    look.tick().await;
                }
            };
            drop(tokio::time::timeout(STOP, none_is_left).await);
        }
    }
}

/// Runs a command to its end: its exit and what it printed, or why it cannot be started.
pub(crate) async fn run(launching: &Launching) -> Result<(Exit, String), String> {
    let (line, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let mut process =
        Process::start(launching, move |text| drop(line.send(text))).map_err(|error| error.to_string())?;
    let end = loop {
        match process.news().await {
            Some(News::Started { .. }) => {}
            Some(News::Failed(why)) => break Err(why),
            Some(News::Exited(exit)) => break Ok(exit),
            None => break Err("its supervisor ended".to_owned()),
        }
    };
    process.finish().await;
    let mut output = Vec::new();
    while let Ok(text) = lines.try_recv() {
        output.push(text);
    }
    end.map(|exit| (exit, output.join("\n")))
}

/// What a command prints until it ends, until a line of it is enough, or until its time is over; nothing of it is left then.
pub(crate) async fn printed(
    launching: &Launching,
    limit: Duration,
    is_enough: impl Fn(&str) -> bool + Send + 'static,
) -> String {
    let (line, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let Ok(mut process) = Process::start(launching, move |text| drop(line.send(text))) else {
        return String::new();
    };
    let mut output = Vec::new();
    let until_enough = async {
        while let Some(text) = lines.recv().await {
            let is_last = is_enough(&text);
            output.push(text);
            if is_last {
                return;
            }
        }
    };
    let until_ended = async { while let Some(News::Started { .. }) = process.news().await {} };
    let over = async {
        tokio::select! {
            () = until_enough => {}
            () = until_ended => {}
        }
    };
    // What was printed until then is what there is.
    let _ = tokio::time::timeout(limit, over).await;
    process.finish().await;
    while let Ok(text) = lines.try_recv() {
        output.push(text);
    }
    output.join("\n")
}

/// Makes an order for a command without a limit.
pub(crate) fn plain_order(argv: &[String], place: Place) -> Order {
    Order { argv: argv.iter().map(OsString::from).collect(), place, ..Order::default() }
}

/// A mark that no other container on this machine has.
fn new_mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Kills every process that bears this mark; false when there is none.
#[cfg(target_os = "linux")]
fn kill_marked(mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    let mut found = false;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { continue };
        // Of a process that has ended and was not waited for this is empty.
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            found = true;
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    found
}

/// Whether every thread of a process has stopped, or it is gone.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold any character.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('T' | 't' | 'Z' | 'X') | None)
    })
}

/// Hands over each line; the rest of a line that is too long is skipped.
async fn read_lines(output: impl AsyncRead + Unpin, mut line: impl FnMut(String)) {
    let mut output = BufReader::new(output);
    let mut bytes = Vec::new();
    let mut cut = false;
    loop {
        bytes.clear();
        match (&mut output).take(LINE).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let ended = bytes.last() == Some(&b'\n');
        if !cut {
            let text = String::from_utf8_lossy(&bytes);
            line(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        cut = !ended;
    }
}
