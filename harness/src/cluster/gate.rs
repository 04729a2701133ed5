//! A cell's way into a real cluster: takes wire clients' connections and sends each through the client's own relay.
//!
//! The source that a client binds says which client it is; where a node's kernel can be asked, it says which
//! replica the connection got.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use super::accept;
use super::kind::{RelayContainers, Tracker};
use super::kubernetes::RelayPods;
use super::lease::LeaseError;
use super::passing::both_ways;
use crate::source::{Ports, Source};
use crate::transcript::{Recorder, What};

/// The second octet of clients' addresses on the loopback network.
const CLIENTS: u8 = 77;

/// How many clients have an address.
const MOST: usize = 250;

type NameOf = Box<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// A listener for the clients of one cell. Dropping it closes every connection.
pub(super) struct Gate {
    addr: SocketAddr,
    entry: Entry,
    relays: Relays,
    callers: Callers,
    _task: AbortOnDropHandle<()>,
}

/// What is known of a cell's clients, whichever of its gates they come to; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Callers {
    /// Those that have no address of their own.
    ports: Ports,
    /// The connections of which it is not yet known, and may still become known, which replica they got.
    untold: Arc<watch::Sender<HashSet<SocketAddr>>>,
}

/// Where the connections of a cell enter the cluster.
#[derive(Clone)]
pub(super) struct Entry {
    /// The Service's address: at a node, or its own within the cluster.
    pub(super) to: SocketAddr,
    /// The node whose rules decide, where it can be asked, and what hears from its kernel.
    pub(super) node: Option<(String, Arc<Tracker>)>,
}

/// What gives each client an address of its own on the cluster's network.
#[derive(Clone)]
pub(super) enum Relays {
    /// Containers beside the nodes.
    Containers(Arc<RelayContainers>),
    /// Pods.
    Pods(Arc<RelayPods>),
    /// One pod, which all clients share.
    OnePod(Arc<RelayPods>),
}

/// A connection through a relay.
pub(super) struct Through {
    /// The stream, from the server's first byte on.
    pub(super) stream: BufReader<Pipe>,
    /// The relay's end of the connection: the client's address as the cluster sees it.
    pub(super) from: SocketAddr,
}

/// A way to a relay: its own socket, or one that the API server forwards.
pub(super) type Pipe = Either<TcpStream, DuplexStream>;

/// Why there is no way into the cluster.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The cluster has no node with an address.
    #[error("the cluster has no node to enter it by")]
    NoNode,
    /// Nothing runs that clients could enter it through.
    #[error("no relay was started")]
    NoRelays,
    /// The operating system refused.
    #[error("cannot listen for wire clients: {0}")]
    Listen(#[from] io::Error),
}

/// Why a connection through a relay was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWay {
    /// The relay could not connect: there is nobody to connect to.
    #[error("{0}")]
    Refused(String),
    /// The relay itself was not reached, or broke: that is our own fault, and not the hub's.
    #[error("{0}")]
    NoRelay(String),
}

struct Ways {
    entry: Entry,
    relays: Relays,
    callers: Callers,
    recorder: Recorder,
    name_of: NameOf,
}

// === impl Gate ===

impl Gate {
    pub(super) async fn open(
        entry: Entry,
        relays: Relays,
        callers: Callers,
        recorder: Recorder,
        name_of: impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, GateError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let name_of = Box::new(name_of);
        let ways = Ways {
            entry: entry.clone(),
            relays: relays.clone(),
            callers: callers.clone(),
            recorder,
            name_of,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(serve(listener, Arc::new(ways))));
        Ok(Self { addr, entry, relays, callers, _task: task })
    }

    /// Where clients connect.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where their connections enter the cluster.
    pub(super) fn to(&self) -> SocketAddr {
        self.entry.to
    }

    /// The node by which they enter it, where that is known.
    pub(super) fn node(&self) -> Option<&str> {
        self.entry.node.as_ref().map(|(name, _)| name.as_str())
    }

    /// What another gate of the cell has to know.
    pub(super) fn callers(&self) -> &Callers {
        &self.callers
    }

    /// The source address of the client of this number, once its relay is there: that may take longer than any client waits
    /// for an answer. A relay that cannot be had is told when the client connects.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Clients`] when there are no more addresses.
    pub(super) async fn client_address(&self, number: usize) -> Result<Source, LeaseError> {
        let last = u8::try_from(number).ok().filter(|_| number < MOST);
        let last = last.ok_or(LeaseError::Clients { most: MOST, number })? + 2;
        self.relays.ready(number).await;
        Ok(Source::new(Ipv4Addr::new(127, CLIENTS, 0, last).into(), &self.callers.ports))
    }
}

// === impl Callers ===

impl Callers {
    /// Returns once it is known which replica each connection so far got, or that it will not be known: of this client, or
    /// of all.
    pub(super) async fn routes_told(&self, of: Option<IpAddr>) {
        let is_meant = |from: &SocketAddr| of.is_none_or(|client| self.ports.client(*from) == client);
        let mut untold = self.untold.subscribe();
        // The sender is ours, so that it cannot have gone.
        let _ = untold.wait_for(|untold| !untold.iter().any(is_meant)).await;
    }

    fn comes(&self, from: SocketAddr) {
        self.untold.send_if_modified(|untold| untold.insert(from));
    }

    fn is_told(&self, from: SocketAddr) {
        self.untold.send_if_modified(|untold| untold.remove(&from));
    }
}

// === impl Relays ===

impl Relays {
    /// Returns when the relay of the client of this number is there, or cannot be had.
    async fn ready(&self, number: usize) {
        match self {
            Relays::Containers(relays) => relays.ready(number).await,
            Relays::Pods(relays) => relays.ready(number).await,
            Relays::OnePod(relays) => relays.ready(0).await,
        }
    }

    /// Connects to an address of the cluster from the address of the client of this number.
    async fn connect(&self, number: usize, to: SocketAddr) -> Result<Through, NoWay> {
        let pipe = match self {
            Relays::Containers(relays) => relays.pipe(number).await.map(Either::Left),
            Relays::Pods(relays) => relays.pipe(number).await.map(Either::Right),
            Relays::OnePod(relays) => relays.pipe(0).await.map(Either::Right),
        };
        let told = ask(BufReader::new(pipe.map_err(NoWay::NoRelay)?), to).await;
        told.map_err(|no_way| no_way.at(&format!("relay {number}")))
    }
}

/// Tells the relay where to connect to, and hears its own end of that connection.
pub(super) async fn ask(mut stream: BufReader<Pipe>, to: SocketAddr) -> Result<Through, NoWay> {
    let broke = |error: io::Error| NoWay::NoRelay(error.to_string());
    stream.write_all(format!("{to}\n").as_bytes()).await.map_err(broke)?;
    let mut said = String::new();
    stream.read_line(&mut said).await.map_err(broke)?;
    let said = said.trim_end();
    match (said.strip_prefix('+').and_then(|from| from.parse().ok()), said.strip_prefix('-')) {
        (Some(from), _) => Ok(Through { stream, from }),
        (None, Some(why)) => Err(NoWay::Refused(why.to_owned())),
        (None, None) if said.is_empty() => Err(NoWay::NoRelay("it closed the connection".to_owned())),
        (None, None) => Err(NoWay::NoRelay(format!("it said `{said}`"))),
    }
}

// === impl NoWay ===

impl NoWay {
    /// The same, with who says it.
    pub(super) fn at(self, who: &str) -> Self {
        match self {
            NoWay::Refused(why) => NoWay::Refused(format!("{who}: {why}")),
            NoWay::NoRelay(why) => NoWay::NoRelay(format!("{who}: {why}")),
        }
    }

    /// Notes in the transcript that a client had no way to whoever serves, when that is what it is.
    pub(super) fn note(&self, recorder: &Recorder) {
        if let NoWay::NoRelay(why) = self {
            recorder
                .record(What::Broken { reason: format!("a wire client has no way into the cluster: {why}") });
        }
    }
}

async fn serve(listener: TcpListener, ways: Arc<Ways>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (client, from) = accept::next(&listener) => {
                let ways = Arc::clone(&ways);
                connections.spawn(async move { ways.serve(client, from).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

// === impl Through ===

impl Through {
    /// Ends with a reset, where it can.
    pub(super) fn reset(&self) {
        reset_pipe(&self.stream);
    }
}

// === impl Ways ===

impl Ways {
    async fn serve(&self, client: TcpStream, from: SocketAddr) {
        let _ = client.set_nodelay(true);
        // Before the client can have an answer.
        self.callers.comes(from);
        let number = client_number(self.callers.ports.client(from));
        match self.relays.connect(number, self.entry.to).await {
            Ok(through) => {
                let seen = through.from;
                tokio::join!(pass(client, through), self.tell(from, seen));
            }
            Err(why) => {
                tracing::debug!("connecting {from} to {}: {why}", self.entry.to);
                why.note(&self.recorder);
                self.callers.is_told(from);
                reset(&client);
            }
        }
    }

    /// Notes which replica a connection got, of which the node says so; also of one that carries no answer.
    async fn tell(&self, from: SocketAddr, seen: SocketAddr) {
        if let Some((_, tracker)) = &self.entry.node
            && let Some(replica) = tracker.routed(seen).await.and_then(|pod| (self.name_of)(pod))
        {
            self.recorder.record(What::Routed { from, replica });
        }
        self.callers.is_told(from);
    }
}

async fn pass(mut client: TcpStream, through: Through) {
    let mut server = through.stream;
    if !both_ways(client.split(), split(&mut server)).await {
        reset(&client);
        reset_pipe(&server);
    }
}

fn reset_pipe(pipe: &BufReader<Pipe>) {
    if let Either::Left(pipe) = pipe.get_ref() {
        reset(pipe);
    }
}

/// Closes with a reset instead of an end, when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

fn client_number(from: IpAddr) -> usize {
    match from {
        IpAddr::V4(ip) if ip.octets()[1] == CLIENTS => usize::from(ip.octets()[3]).saturating_sub(2),
        // Whoever binds no address of its own is the first.
        _ => 0,
    }
}
