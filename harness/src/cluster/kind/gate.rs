//! A cell's way into the cluster: takes wire clients' connections and sends each through the client's own relay.
//!
//! The source address that a client binds says which client it is; the node's kernel says which replica it got.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::node::{Node, Tracker};
use super::relay::{Relays, Through};
use crate::transcript::{Recorder, What};

const CHUNK: usize = 16 * 1024;

/// The second octet of clients' addresses on the loopback network.
const CLIENTS: u8 = 77;

/// How many clients have an address.
const MOST: usize = 250;

type NameOf = Box<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// A listener for the clients of one cell. Dropping it closes every connection.
pub struct Gate {
    addr: SocketAddr,
    to: SocketAddr,
    node: String,
    relays: Arc<Relays>,
    _task: AbortOnDropHandle<()>,
}

/// Why there is no way into the cluster.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The cluster has no node with an address.
    #[error("the cluster has no node to enter it by")]
    NoNode,
    /// The operating system refused.
    #[error("cannot listen for wire clients: {0}")]
    Listen(#[from] io::Error),
}

struct Ways {
    to: SocketAddr,
    relays: Arc<Relays>,
    tracker: Arc<Tracker>,
    recorder: Recorder,
    name_of: NameOf,
}

// === impl Gate ===

impl Gate {
    pub(super) async fn open(
        node: &Node,
        node_port: u16,
        relays: Arc<Relays>,
        tracker: Arc<Tracker>,
        recorder: Recorder,
        name_of: NameOf,
    ) -> Result<Self, GateError> {
        let to = SocketAddr::new(node.ip.ok_or(GateError::NoNode)?, node_port);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let ways = Ways { to, relays: Arc::clone(&relays), tracker, recorder, name_of };
        let task = AbortOnDropHandle::new(tokio::spawn(serve(listener, Arc::new(ways))));
        Ok(Self { addr, to, node: node.name.clone(), relays, _task: task })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where their connections enter the cluster.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// The node by which they enter it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The source address of the client of this number, whose relay is started.
    pub fn client_address(&self, number: usize) -> IpAddr {
        let number = number % MOST;
        self.relays.prepare(number);
        Ipv4Addr::new(127, CLIENTS, 0, u8::try_from(number).unwrap_or(0) + 2).into()
    }
}

async fn serve(listener: TcpListener, ways: Arc<Ways>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    let ways = Arc::clone(&ways);
                    connections.spawn(async move { ways.serve(client, from).await });
                }
                Err(error) => tracing::debug!("accepting a wire client: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

// === impl Ways ===

impl Ways {
    async fn serve(&self, client: TcpStream, from: SocketAddr) {
        let _ = client.set_nodelay(true);
        let through = match self.relays.connect(client_number(from.ip()), self.to).await {
            Ok(through) => through,
            Err(why) => {
                tracing::debug!("connecting {from} to {}: {why}", self.to);
                return reset(&client);
            }
        };
        pass(client, through, |seen| async move {
            // Said before the first byte of an answer, so that whoever reads the answer can know.
            if let Some(replica) = self.tracker.routed(seen).await.and_then(|pod| (self.name_of)(pod)) {
                self.recorder.record(What::Routed { from, replica });
            }
        })
        .await;
    }
}

/// Passes bytes both ways until both directions have ended or one broke.
async fn pass<F: Future<Output = ()>>(
    mut client: TcpStream,
    through: Through,
    route: impl FnOnce(SocketAddr) -> F,
) {
    let Through { stream, from } = through;
    let (early, mut server) = (stream.buffer().to_vec(), stream);
    let broken = {
        let (mut from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.get_mut().split();
        let back = async {
            let mut from_server = BufReader::with_capacity(CHUNK, from_server);
            if early.is_empty() {
                from_server.fill_buf().await?;
            }
            route(from).await;
            to_client.write_all(&early).await?;
            loop {
                let chunk = from_server.fill_buf().await?;
                if chunk.is_empty() {
                    return to_client.shutdown().await;
                }
                let length = chunk.len();
                to_client.write_all(chunk).await?;
                from_server.consume(length);
            }
        };
        let forth = async {
            let mut chunk = vec![0; CHUNK];
            loop {
                let length = from_client.read(&mut chunk).await?;
                if length == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&chunk[..length]).await?;
            }
        };
        tokio::try_join!(forth, back).is_err()
    };
    if broken {
        reset(&client);
        reset(server.get_ref());
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
