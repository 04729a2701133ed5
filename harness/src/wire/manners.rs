//! Clients that behave badly: they do not read, they vanish, they never finish what they began to say.
//!
//! Any network has such clients. Nothing of them is recorded: what a hub does to the others is what counts.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::{self, Duplex};
use super::exchange::Exchange;
use super::{Client, Raw, Target};

/// The receive buffer of a client that does not read, in bytes.
const TINY: u32 = 4096;

/// The largest segment that such a client takes, in bytes, as on a network: on the loopback device segments are much larger, and so
/// is what a sender may keep for a reader.
const SMALL_SEGMENT: u32 = 1448;

/// An answer of so many declared bytes is read by any client: a 202, a refusal.
const SHORT: u64 = 4096;

/// How a client uses its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    /// Whether it closes with a reset.
    resets: bool,
    /// Whether it reads at the moment; `None` for a client that always does.
    reads: Option<watch::Receiver<bool>>,
}

/// What stops a client from reading, and lets it read again. A client reads again when this is dropped.
#[derive(Debug)]
pub struct Attention(watch::Sender<bool>);

/// A connection on which a client has said a part of a request. Dropping it closes the connection.
pub struct HalfSaid {
    io: Box<dyn Duplex>,
    rest: Vec<u8>,
}

// === impl Manners ===

impl Manners {
    /// Sets what a connection needs before it is made.
    pub(super) fn prepare(&self, socket: &TcpSocket) -> std::io::Result<()> {
        if self.reads.is_some() {
            socket.set_recv_buffer_size(TINY)?;
            // A system that refuses it only needs more to be sent.
            #[cfg(target_os = "linux")]
            let _ = SockRef::from(socket).set_tcp_mss(SMALL_SEGMENT);
        }
        if self.resets {
            SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Waits until the client reads. An answer that is short is read at any time.
    pub(super) async fn attend(&self, declared: Option<u64>) {
        if let Some(reads) = &self.reads
            && declared.is_none_or(|length| length > SHORT)
        {
            // An error says that it is not kept from reading any more.
            let _ = reads.clone().wait_for(|reads| *reads).await;
        }
    }
}

// === impl Attention ===

impl Attention {
    /// From now on the client reads no event stream and no long answer.
    pub fn stop(&self) {
        self.0.send_replace(false);
    }
}

// === impl Client ===

impl Client {
    /// The same client, of which nothing is recorded, whose connections end with a reset instead of a close.
    #[must_use]
    pub fn resetting(&self) -> Self {
        let mut client = self.unrecorded();
        client.manners.resets = true;
        client
    }

    /// The same client, of which nothing is recorded, with tiny receive buffers; it reads until it is stopped.
    pub fn inattentive(&self) -> (Self, Attention) {
        let (reading, reads) = watch::channel(true);
        let mut client = self.unrecorded();
        client.manners.reads = Some(reads);
        (client, Attention(reading))
    }

    /// Connects and sends the first bytes of a request, as many as `part` makes of their number; `None` when the hub does not take them
    /// within the limit for a connection.
    pub async fn half_say(
        &self,
        target: &Target,
        request: Raw,
        part: impl FnOnce(usize) -> usize + Send,
    ) -> Option<HalfSaid> {
        let limit = self.timeouts().connect;
        let exchange = Exchange { client: self, target, request, limit, kept: None, written: None };
        let mut said = exchange.bytes();
        let rest = said.split_off(part(said.len()).min(said.len()));
        let saying = async {
            let source = self.inner.source.as_ref();
            let (mut io, ..) =
                connection::open(source, target.addr, target.tls.as_deref(), &self.manners).await.ok()?;
            io.write_all(&said).await.ok()?;
            io.flush().await.ok()?;
            Some(HalfSaid { io, rest })
        };
        timeout(limit, saying).await.ok().flatten()
    }
}

// === impl HalfSaid ===

impl HalfSaid {
    /// Sends the next bytes of the request; false when there are no more, or the hub has closed the connection.
    pub async fn go_on(&mut self, length: usize) -> bool {
        let next: Vec<u8> = self.rest.drain(..length.min(self.rest.len())).collect();
        !next.is_empty() && self.io.write_all(&next).await.is_ok() && self.io.flush().await.is_ok()
    }
}
