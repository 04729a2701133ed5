//! Passes connections from a replica's address outside to its server in a network namespace.
//!
//! A socket belongs to the network in which it was made, whichever thread uses it. So one thread goes inside and makes sockets, and
//! the other one listens outside and passes bytes. Nothing listens outside unless something listens inside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::netlink::Listening;
use super::{Door, namespaces};
use crate::cluster::accept;
use crate::cluster::passing::both_ways;

/// Between two looks at what listens inside.
const LOOK: Duration = Duration::from_millis(20);

/// Makes sockets of the network inside.
#[derive(Clone)]
struct Inside(mpsc::Sender<oneshot::Sender<io::Result<Socket>>>);

/// Passes connections to this process's network until it has ended and all that was said is passed on. This process must have one
/// thread.
pub(super) fn run(main: Pid, door: Door) -> io::Result<()> {
    namespaces::enter_user(main)?;
    let (inside, listening) = Inside::start(main)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(main.as_raw_nonzero().get().unsigned_abs(), door, inside, &listening));
    Ok(())
}

// === impl Inside ===

impl Inside {
    /// Goes inside; also what tells what listens there.
    fn start(main: Pid) -> io::Result<(Self, Listening)> {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<io::Result<Socket>>>();
        let (enter, entered) = mpsc::channel();
        thread::spawn(move || {
            let is_inside = namespaces::enter_network(main).and_then(|()| Listening::new());
            let _ = enter.send(is_inside);
            for reply in asked {
                let _ = reply.send(Socket::new(Domain::IPV4, Type::STREAM, None));
            }
        });
        let listening = entered.recv().map_err(|_| gone())??;
        Ok((Self(ask), listening))
    }

    /// Connects from this address, which the server sees.
    async fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
        let (reply, made) = oneshot::channel();
        self.0.send(reply).map_err(|_| gone())?;
        let socket = made.await.map_err(|_| gone())??;
        socket.set_nonblocking(true)?;
        let socket = TcpSocket::from_std_stream(socket.into());
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await
    }
}

async fn serve(main: u32, door: Door, inside: Inside, listening: &Listening) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener: Option<TcpListener> = None;
    let mut port = door.fixed;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = look.tick() => {
                if has_ended(main) {
                    break;
                }
                let ports = listening.ports().unwrap_or_default();
                // A server that listens where it was asked to is reached there.
                let found = [door.outside.port(), door.fixed].into_iter().find(|port| ports.contains(port));
                port = found.unwrap_or(port);
                if found.is_none() {
                    listener = None;
                } else if listener.is_none() {
                    listener = accept::listen(door.outside).ok();
                }
            }
            (client, from) = accept::next_if_any(listener.as_ref()) => {
                connections.spawn(pass(client, from.ip(), door.outside.ip(), port, inside.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn gone() -> io::Error {
    io::Error::other("the thread inside has ended")
}

/// Whether a process has ended; it may still wait for its parent.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold any character.
    matches!(stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()), Some('Z' | 'X') | None)
}

/// Passes one connection on. A server that listens at 127.0.0.1 only is reached, too, as it is without a network of its own.
async fn pass(mut client: TcpStream, from: IpAddr, own: IpAddr, port: u16, inside: Inside) {
    let mut replica = inside.connect(from, SocketAddr::new(own, port)).await;
    if replica.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        replica = inside.connect(from, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await;
    }
    let Ok(mut replica) = replica else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = replica.set_nodelay(true);
    if !both_ways(client.split(), replica.split()).await {
        let _ = client.set_zero_linger();
        let _ = replica.set_zero_linger();
    }
}
