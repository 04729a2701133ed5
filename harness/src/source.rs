//! Where a wire client's connections come from, and how whoever takes them knows the client again.
//!
//! Each client has a loopback address of its own. Linux has all of 127.0.0.0/8, and Windows too; macOS has 127.0.0.1 alone.
//! There a connection comes from that address, and the client is known by the port.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpSocket;

/// The address of one client.
#[derive(Clone, Debug)]
pub struct Source {
    ip: IpAddr,
    /// What is told where it comes from instead; nobody where the address alone counts.
    ports: Option<Ports>,
}

/// From which ports clients came whose own address this machine lacks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ports(Arc<Mutex<HashMap<u16, IpAddr>>>);

// === impl Source ===

impl Source {
    /// A client of this address; `ports` are told where it comes from instead.
    pub fn new(ip: IpAddr, ports: &Ports) -> Self {
        Self { ip, ports: Some(ports.clone()) }
    }

    /// The client's own address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Binds a socket that is to be connected.
    ///
    /// # Errors
    ///
    /// What the operating system says. That this machine lacks the address is one only where nobody is told.
    pub fn bind(&self, socket: &TcpSocket) -> io::Result<()> {
        match (socket.bind(SocketAddr::new(self.ip, 0)), &self.ports) {
            (Err(error), Some(ports)) if error.kind() == ErrorKind::AddrNotAvailable => {
                socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
                // Known before the connection can be there.
                ports.note(socket.local_addr()?.port(), self.ip);
                Ok(())
            }
            (bound, _) => bound,
        }
    }
}

impl From<IpAddr> for Source {
    /// A client that is known by its address alone.
    fn from(ip: IpAddr) -> Self {
        Self { ip, ports: None }
    }
}

// === impl Ports ===

impl Ports {
    /// The address of the client whose connection comes from here.
    pub fn client(&self, from: SocketAddr) -> IpAddr {
        let ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ports.get(&from.port()).filter(|_| from.ip() == Ipv4Addr::LOCALHOST);
        known.copied().unwrap_or(from.ip())
    }

    fn note(&self, port: u16, client: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port, client);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// From where a client of this address came, and as whom it is known.
    async fn seen(client: &str) -> (String, String) {
        let ports = Ports::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        Source::new(client.parse().unwrap(), &ports).bind(&socket).unwrap();
        let _stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        (from.ip().to_string(), ports.client(from).to_string())
    }

    /// 192.0.2.0/24 is nobody's (RFC 5737), as 127.77.0.0/24 is on macOS.
    #[tokio::test]
    async fn a_client_whose_address_this_machine_lacks_is_known_by_its_port() {
        assert_eq!(seen("192.0.2.7").await, ("127.0.0.1".to_owned(), "192.0.2.7".to_owned()));
        assert_eq!(seen("127.0.0.1").await, ("127.0.0.1".to_owned(), "127.0.0.1".to_owned()));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_has_an_address_of_its_own_where_it_can() {
        assert_eq!(seen("127.77.0.7").await, ("127.77.0.7".to_owned(), "127.77.0.7".to_owned()));
    }
}
