//! What a hub needs beside it, on `local`: a process that is started for each cell, or an address. Like a Service in a cluster, each
//! has an address of the cell's own, at which the ports of its Service lead to it.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::accept;
use super::environment::harness_environment;
use super::lease::{Lease, LeaseError};
use super::manifest::{Manifests, ServicePorts};
use super::passing::both_ways;
use super::process::{Launching, Process, plain_order};
use super::reach::Reach;
use super::supervisor::{News, Place};
use crate::transcript::{Recorder, What};

mod given;
mod resolve;

pub use given::{GivenCompanion, Runs};
pub(crate) use resolve::{Entry, Resolver};

/// How long a companion may take until it accepts connections: a database initialises its files first.
const ACCEPTS: Duration = Duration::from_secs(60);

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(20);

/// Where connections to companions come from: some servers trust this address alone.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How many of its last lines are kept.
const LINES: usize = 5;

/// The companions of one cell. Dropping them ends them.
#[derive(Debug, Default)]
pub(crate) struct Companions {
    running: Vec<Running>,
    doors: Vec<AbortOnDropHandle<()>>,
    resolver: Arc<Resolver>,
}

/// A companion that is a process.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: AbortOnDropHandle<()>,
}

/// Why a companion is not there.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// It has no address.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It does not come up.
    #[error("the companion `{name}` {why}{said}")]
    NotUp {
        /// Its name.
        name: String,
        /// What happened.
        why: String,
        /// The end of its output, if there was any.
        said: Said,
    },
}

/// The last lines of a process.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<VecDeque<String>>>);

/// Where connections to a companion are passed on to.
#[derive(Clone)]
enum Target {
    /// A process of ours.
    Own(Reach),
    /// What the user named.
    Named(String, u16),
}

// === impl Companions ===

impl Companions {
    /// Starts the companions one after another, as they were given, and waits until each accepts connections.
    ///
    /// # Errors
    ///
    /// [`CompanionError`], which names the companion.
    pub(crate) async fn up(
        given: &[GivenCompanion],
        manifests: &Manifests,
        env: &[(String, String)],
        supervisor: &Path,
        lease: &mut Lease,
        recorder: &Recorder,
    ) -> Result<Self, CompanionError> {
        let mut companions = Self::default();
        let mut entries = Vec::new();
        for companion in given {
            let own = lease.companion()?;
            let target = match &companion.runs {
                Runs::Command(argv) => {
                    let (running, reach) = start(companion, argv, own, supervisor, recorder).await?;
                    companions.running.push(running);
                    Target::Own(reach)
                }
                Runs::At { host, port } => {
                    let target = Target::Named(host.clone(), *port);
                    let why = |why: String| not_up(companion, why, &Said::default());
                    let connected = timeout(ACCEPTS, target.connect()).await;
                    let connected =
                        connected.map_err(|_| why(format!("does not answer at {host}:{port}")))?;
                    connected.map_err(|error| why(format!("cannot be reached at {host}:{port}: {error}")))?;
                    target
                }
            };
            let services = manifests.services_of(&companion.name);
            let mut ports: Vec<u16> = services.iter().flat_map(ServicePorts::numbers).collect();
            if ports.is_empty() {
                let given = env.iter().map(|(_, value)| value.clone());
                ports = resolve::ports_named(&companion.name, manifests.values().chain(given));
            }
            // Served at the ports that the hub's settings name, as in a cluster. A port may be for root alone, or taken.
            ports.retain(|port| *port != own.port());
            ports.retain(|port| companions.open(SocketAddr::new(own.ip(), *port), &target));
            if let Target::Named(..) = target {
                companions.open(own, &target);
            }
            let names = match services.is_empty() {
                true => vec![companion.name.clone()],
                false => services.iter().map(|service| service.name.clone()).collect(),
            };
            let at = companion_address(&target, own, &ports);
            entries.push(Entry { names, services, at, ports });
        }
        companions.resolver = Arc::new(Resolver::new(entries, manifests.namespace()));
        Ok(companions)
    }

    /// What the hub's environment says of them.
    pub(crate) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Ends them, and returns when they are gone.
    pub(crate) async fn down(self) {
        for running in self.running {
            let _ = running.stop.send(());
            let _ = running.task.await;
        }
    }

    /// Passes on what comes in at this address; whether it could be had.
    fn open(&mut self, addr: SocketAddr, target: &Target) -> bool {
        let listener = match accept::listen(addr) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::debug!("a companion's port {addr}: {error}");
                return false;
            }
        };
        let target = target.clone();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = accept::next(&listener).await;
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut companion) = target.connect().await {
                        both_ways(client.split(), companion.split()).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        self.doors.push(AbortOnDropHandle::new(passing));
        true
    }
}

// === impl Target ===

impl Target {
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = match self {
            Target::Own(reach) => reach.connect(HERE, reach.own().port()).await?,
            Target::Named(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

// === impl Said ===

impl Said {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return Ok(());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        write!(f, ": {}", lines.join(" | "))
    }
}

// === helpers ===

fn not_up(companion: &GivenCompanion, why: String, said: &Said) -> CompanionError {
    CompanionError::NotUp { name: companion.name.clone(), why, said: said.clone() }
}

/// Where a hub that names no port reaches it.
fn companion_address(target: &Target, own: SocketAddr, ports: &[u16]) -> SocketAddr {
    match (ports.first(), target) {
        (Some(port), _) => SocketAddr::new(own.ip(), *port),
        (None, Target::Own(reach)) => reach.address(),
        (None, Target::Named(..)) => own,
    }
}

/// Starts a process, and waits until it accepts connections.
async fn start(
    companion: &GivenCompanion,
    argv: &[String],
    own: SocketAddr,
    supervisor: &Path,
    recorder: &Recorder,
) -> Result<(Running, Reach), CompanionError> {
    let (host, port) = (own.ip().to_string(), own.port().to_string());
    let argv: Vec<String> =
        argv.iter().map(|word| word.replace("{host}", &host).replace("{port}", &port)).collect();
    let mut env = harness_environment();
    env.extend([("HOST".to_owned(), host), ("PORT".to_owned(), port)]);
    let launching = Launching {
        supervisor: supervisor.to_owned(),
        order: plain_order(&argv, Place::Shared),
        env,
        cwd: None,
    };
    let said = Said::default();
    let (lines, masks) = (said.clone(), recorder.clone());
    let process = Process::start(&launching, move |line| lines.push(masks.mask(&line)));
    let mut process =
        process.map_err(|error| not_up(companion, format!("cannot be started: {error}"), &said))?;
    let reach = Reach::new(own);
    let trying = reach.clone();
    let accepts = async move {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            if trying.connect(HERE, own.port()).await.is_ok() {
                return;
            }
        }
    };
    let up = async {
        tokio::pin!(accepts);
        loop {
            tokio::select! {
                () = &mut accepts => return Ok(()),
                news = process.news() => if let Some(why) = ended(news) { return Err(why) },
            }
        }
    };
    let late = || {
        let seconds = ACCEPTS.as_secs();
        format!(
            "does not accept connections at {own} (HOST and PORT, or `{{host}}` and `{{port}}`) after {seconds} s"
        )
    };
    if let Err(why) = timeout(ACCEPTS, up).await.unwrap_or_else(|_| Err(late())) {
        process.finish().await;
        return Err(not_up(companion, why, &said));
    }
    let (stop, stopped) = oneshot::channel();
    let task = watch(companion.name.clone(), process, stopped, said, recorder.clone());
    Ok((Running { stop, task: AbortOnDropHandle::new(tokio::spawn(task)) }, reach))
}

/// Why a process is over; nothing when it is not.
fn ended(news: Option<News>) -> Option<String> {
    match news {
        Some(News::Started { .. }) => None,
        Some(News::Failed(why)) => Some(format!("cannot be started: {why}")),
        Some(News::Exited(exit)) => Some(format!("ended with exit code {}", exit.code)),
        None => Some("lost its supervisor".to_owned()),
    }
}

/// Waits for the end of a companion. One that ends by itself leaves the hub without it: the hub is not to blame for what follows.
async fn watch(
    name: String,
    mut process: Process,
    mut stopped: oneshot::Receiver<()>,
    said: Said,
    recorder: Recorder,
) {
    let why = loop {
        tokio::select! {
            _ = &mut stopped => return process.finish().await,
            news = process.news() => if let Some(why) = ended(news) { break why },
        }
    };
    process.finish().await;
    recorder.record(What::Broken { reason: format!("the companion `{name}` {why}{said}") });
}
