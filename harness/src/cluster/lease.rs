//! Addresses and ports that no other cluster on this machine has.
//!
//! A lease is a loopback /24, `127.A.B.0`, and a block of ports. Both are held by bound sockets, so that two
//! harness processes never share one and a lease ends with its process, however it ends.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

/// Where the balancer listens, in the range.
const BALANCER: u8 = 1;
/// Where probes come from, in the range.
const PROBER: u8 = 2;
/// The first address of a companion, in the range.
const FIRST_COMPANION: u8 = 3;
/// How many addresses companions have.
const COMPANIONS: u8 = 7;
/// The first address of a replica, in the range.
const FIRST_REPLICA: u8 = 10;
/// How many addresses replicas have.
const REPLICAS: u8 = 90;
/// The first address of a wire client, in the range.
const FIRST_CLIENT: u8 = 100;
/// How many wire clients have an address in one range.
const CLIENTS: usize = 150;
/// How many ranges the wire clients of one cell may have.
const CLIENT_RANGES: usize = 16;
/// The address whose socket holds the range.
const HOLDER: u8 = 254;
/// The port of the socket that holds the range.
const RANGE_PORT: u16 = 10_009;

/// The first port of the first block.
const FIRST_PORT: u16 = 10_240;
/// Ports of blocks end below this even when ephemeral ports begin higher: NodePorts begin here.
const LAST_PORT: u16 = 30_000;
/// How many ports a block has. The first is never served: its socket holds the block.
const BLOCK: u16 = 64;

/// How often another range or block is tried.
const ATTEMPTS: usize = 512;

/// A leased range and block; they are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    range: Range,
    first_port: u16,
    next_port: u16,
    next_address: u8,
    companions: u8,
    _range: UdpSocket,
    _block: UdpSocket,
}

/// The addresses `127.A.B.0` to `127.A.B.255`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    a: u8,
    b: u8,
}

/// Why there is no lease or no port in it.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Every range that was tried is taken.
    #[error("no free loopback range among {ATTEMPTS} tried: {0}")]
    Range(io::Error),
    /// Every port block that was tried is taken.
    #[error("no free block of {BLOCK} ports: {0}")]
    Block(io::Error),
    /// No port of the block is free.
    #[error("every port from {0} on is taken by something else")]
    Port(u16),
    /// There are more companions than addresses.
    #[error("a cell has addresses for {COMPANIONS} companions")]
    Companions,
    /// There are more wire clients than addresses.
    #[error("a cell has source addresses for {most} wire clients, and this is client number {}", number + 1)]
    Clients {
        /// How many there are.
        most: usize,
        /// Which client has none, from 0.
        number: usize,
    },
}

/// The source addresses of a cell's wire clients: those of its own range, then those of further ranges that it holds as well.
#[derive(Debug)]
pub(crate) struct Clients {
    first: Range,
    more: Mutex<Vec<(Range, UdpSocket)>>,
}

// === impl Lease ===

impl Lease {
    /// Takes a range and a block, beginning somewhere at random.
    pub(crate) fn take() -> Result<Self, LeaseError> {
        let (range, holder) = hold_range()?;
        let (first_port, block) = hold_block()?;
        Ok(Self {
            range,
            first_port,
            next_port: first_port + 1,
            next_address: FIRST_REPLICA,
            companions: 0,
            _range: holder,
            _block: block,
        })
    }

    /// An address for the balancer.
    pub(crate) fn balancer(&mut self) -> Result<SocketAddr, LeaseError> {
        Ok(SocketAddr::new(self.range.host(BALANCER), self.free_port()?))
    }

    /// An address for a new replica. An earlier one comes again only when the whole block was used.
    pub(crate) fn replica(&mut self) -> Result<SocketAddr, LeaseError> {
        let port = self.free_port()?;
        let host = self.range.host(self.next_address);
        let next = (self.next_address - FIRST_REPLICA + 1) % REPLICAS;
        self.next_address = FIRST_REPLICA + next;
        Ok(SocketAddr::new(host, port))
    }

    /// An address for a new companion.
    pub(crate) fn companion(&mut self) -> Result<SocketAddr, LeaseError> {
        if self.companions == COMPANIONS {
            return Err(LeaseError::Companions);
        }
        let host = self.range.host(FIRST_COMPANION + self.companions);
        self.companions += 1;
        Ok(SocketAddr::new(host, self.free_port()?))
    }

    /// The range.
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    fn free_port(&mut self) -> Result<u16, LeaseError> {
        for _ in 1..BLOCK {
            let port = self.next_port;
            self.next_port = if port + 1 == self.first_port + BLOCK { self.first_port + 1 } else { port + 1 };
            if is_free(port) {
                return Ok(port);
            }
        }
        Err(LeaseError::Port(self.first_port))
    }
}

/// Whether nothing listens at this port. On any address counts: some servers bind all of them.
///
/// Bound and not listened at: a process that is started at this moment inherits the socket until it runs its own
/// program, and a listening one would take the port that is given out here.
fn is_free(port: u16) -> bool {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())
    });
    bound.is_ok()
}

// === impl Clients ===

impl Clients {
    /// The clients of a cell with this range.
    pub(crate) fn new(first: Range) -> Self {
        Self { first, more: Mutex::default() }
    }

    /// The source address of the wire client with this number, which no other client has.
    pub(crate) fn address(&self, number: usize) -> Result<IpAddr, LeaseError> {
        let (idx, within) = (number / CLIENTS, number % CLIENTS);
        if idx >= CLIENT_RANGES {
            return Err(LeaseError::Clients { most: CLIENT_RANGES * CLIENTS, number });
        }
        // Fits: there are fewer than 256.
        let last = FIRST_CLIENT + u8::try_from(within).unwrap_or_default();
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        while more.len() < idx {
            more.push(hold_range()?);
        }
        let range = idx.checked_sub(1).and_then(|idx| more.get(idx)).map_or(self.first, |(range, _)| *range);
        Ok(range.host(last))
    }
}

// === impl Range ===

impl Range {
    /// Where probes come from.
    pub(crate) fn prober(&self) -> IpAddr {
        self.host(PROBER)
    }

    fn host(&self, last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.a, self.b, last))
    }
}

fn hold_range() -> Result<(Range, UdpSocket), LeaseError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let random = random();
        // 127.0.0.0/16 is where everything else on a machine listens.
        let a = 1 + (random % 254) as u8;
        let b = (random >> 8) as u8;
        let holder = Ipv4Addr::new(127, a, b, HOLDER);
        match UdpSocket::bind((holder, RANGE_PORT)) {
            Ok(socket) => return Ok((Range { a, b }, socket)),
            Err(error) => last = error,
        }
    }
    Err(LeaseError::Range(last))
}

fn hold_block() -> Result<(u16, UdpSocket), LeaseError> {
    let blocks = (end_of_ports() - FIRST_PORT) / BLOCK;
    let start = (random() % u32::from(blocks)) as u16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for number in 0..blocks {
        let first = FIRST_PORT + (start + number) % blocks * BLOCK;
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, first)) {
            Ok(socket) => return Ok((first, socket)),
            Err(error) => last = error,
        }
    }
    Err(LeaseError::Block(last))
}

/// Where ephemeral ports begin, or earlier.
fn end_of_ports() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral: Option<u16> = range.split_whitespace().next().and_then(|port| port.parse().ok());
    // A machine that hands out all ports leaves no block alone; each port is tried before it is used.
    let ephemeral = ephemeral.filter(|port| *port >= FIRST_PORT + 16 * BLOCK);
    ephemeral.unwrap_or(LAST_PORT).min(LAST_PORT)
}

/// A random number, for choices where any will do.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn two_leases_share_nothing() {
        let (mut one, mut two) = (Lease::take().unwrap(), Lease::take().unwrap());
        assert_ne!(one.range, two.range);
        let ports =
            |lease: &mut Lease| (0..40).map(|_| lease.replica().unwrap().port()).collect::<BTreeSet<_>>();
        let (ports_one, ports_two) = (ports(&mut one), ports(&mut two));
        assert_eq!((ports_one.len(), ports_two.len()), (40, 40));
        assert!(ports_one.is_disjoint(&ports_two));
    }

    #[test]
    fn each_client_has_an_address_that_no_other_has_until_there_are_no_more() {
        let lease = Lease::take().unwrap();
        let clients = Clients::new(lease.range());
        let addresses: BTreeSet<IpAddr> = (0..1000).map(|number| clients.address(number).unwrap()).collect();
        assert_eq!(addresses.len(), 1000);
        assert_eq!(clients.address(400).unwrap(), clients.address(400).unwrap());
        let told = clients.address(2400).unwrap_err().to_string();
        assert_eq!(told, "a cell has source addresses for 2400 wire clients, and this is client number 2401");
    }

    #[test]
    fn a_taken_port_is_skipped() {
        let mut lease = Lease::take().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.next_port)).unwrap();
        let given = lease.replica().unwrap().port();
        assert_ne!(given, taken.local_addr().unwrap().port());
    }
}
