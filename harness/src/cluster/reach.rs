//! Where a replica can be reached: at its own address, or at 127.0.0.1 when its server ignores HOST.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpSocket, TcpStream};

/// The two places a replica may listen at; its port is its own in both. Cheap to clone, shares what it learned.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    own: SocketAddr,
    elsewhere: Arc<AtomicBool>,
}

// === impl Reach ===

impl Reach {
    pub(crate) fn new(own: SocketAddr) -> Self {
        Self { own, elsewhere: Arc::default() }
    }

    /// The address that was leased for it.
    pub(crate) fn own(&self) -> SocketAddr {
        self.own
    }

    /// The address that answered last; its own when none has yet.
    pub(crate) fn address(&self) -> SocketAddr {
        if self.elsewhere.load(Ordering::Relaxed) { self.fallback() } else { self.own }
    }

    /// Connects from this source to the port, at the address that answered last, else at the other.
    pub(crate) async fn connect(&self, from: IpAddr, port: u16) -> io::Result<TcpStream> {
        let first = self.address();
        let second = if first == self.own { self.fallback() } else { self.own };
        match connect(from, SocketAddr::new(first.ip(), port)).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && port == self.own.port() => {
                let found = connect(from, second).await.map_err(|_| error)?;
                self.elsewhere.store(second != self.own, Ordering::Relaxed);
                Ok(found)
            }
            result => result,
        }
    }

    fn fallback(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.own.port())
    }
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // An address of another machine cannot be had here: its client reaches the replica from this one's.
    if from.is_loopback() && from.is_ipv4() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
