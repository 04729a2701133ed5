//! What is asked of the kernel about a network namespace: <https://man7.org/linux/man-pages/man7/netlink.7.html>.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The family of these sockets.
const NETLINK: i32 = 16;

/// A question that wants an answer.
const REQUEST: u16 = 1;

/// What its flags say besides: tell when it is done; tell everything.
const ACK: u16 = 4;
const DUMP: u16 = 0x300;

/// The types of messages that end an answer.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The length of what every message begins with: length, type, flags, number, sender.
const HEAD: usize = 16;

/// How long the kernel may take to answer.
const ANSWERS: Duration = Duration::from_secs(1);

/// Starts the loopback interface of this thread's network, by `RTM_NEWLINK`:
/// <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>.
pub(super) fn start_loopback() -> io::Result<()> {
    const ROUTE: i32 = 0;
    const NEW_LINK: u16 = 16;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    // Family and type are any; then the interface's number, its flags, and which of them change.
    let mut body = vec![0; 4];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    ask(&socket(ROUTE)?, NEW_LINK, ACK, &body, |_| {})
}

/// What tells which sockets listen in the network of the thread that makes it.
pub(super) struct Listening(Socket);

impl Listening {
    pub(super) fn new() -> io::Result<Self> {
        const SOCK_DIAG: i32 = 4;
        socket(SOCK_DIAG).map(Self)
    }

    /// The ports at which anything listens: <https://man7.org/linux/man-pages/man7/sock_diag.7.html>. Unlike `/proc/net/tcp` it does not
    /// go through the table of connections, which takes a large machine 50 ms.
    pub(super) fn ports(&self) -> io::Result<BTreeSet<u16>> {
        const BY_FAMILY: u16 = 20;
        const FAMILIES: [u8; 2] = [2, 10];
        const TCP: u8 = 6;
        const LISTEN: u32 = 1 << 10;
        let mut ports = BTreeSet::new();
        for family in FAMILIES {
            let mut body = vec![family, TCP, 0, 0];
            body.extend(LISTEN.to_ne_bytes());
            // Any socket.
            body.extend([0; 48]);
            ask(&self.0, BY_FAMILY, DUMP, &body, |told| {
                // Family, state, timer and retransmissions stand before it.
                if let Some([high, low]) = told.get(4..6) {
                    ports.insert(u16::from_be_bytes([*high, *low]));
                }
            })?;
        }
        Ok(ports)
    }
}

fn socket(protocol: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(NETLINK), Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_read_timeout(Some(ANSWERS))?;
    Ok(socket)
}

/// Sends a question, and hands over each message of the answer, without its head.
fn ask(
    mut socket: &Socket,
    kind: u16,
    flags: u16,
    body: &[u8],
    mut told: impl FnMut(&[u8]),
) -> io::Result<()> {
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let mut question = Vec::with_capacity(HEAD + body.len());
    question.extend(length.to_ne_bytes());
    question.extend(kind.to_ne_bytes());
    question.extend((REQUEST | flags).to_ne_bytes());
    question.extend([0; 8]);
    question.extend(body);
    socket.write_all(&question)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = socket.read(&mut buffer)?;
        let mut rest = &buffer[..length];
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return error(body),
                _ => told(body),
            }
            rest = after;
        }
    }
}

/// The type and body of the first message, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEAD..length)?;
    // Messages begin at multiples of four.
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// What an error message says; 0 stands for success.
fn error(body: &[u8]) -> io::Result<()> {
    match body.get(..4).map(<[u8; 4]>::try_from) {
        Some(Ok([0, 0, 0, 0])) => Ok(()),
        Some(Ok(code)) => Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(code))),
        _ => Err(io::Error::other("an answer of the kernel that says nothing")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_are_told_for_as_long_as_something_listens() {
        let listening = Listening::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening.ports().unwrap().contains(&port));
        drop(listener);
        assert!(!listening.ports().unwrap().contains(&port));
    }
}
