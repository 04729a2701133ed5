//! One TCP connection to a hub, from the client's own source address, speaking HTTP/1.1 through hyper.
//!
//! There is no pool. A [`Link`] belongs to one exchange, or waits in the one place that a [`Kept`] has.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::{convert::Infallible, io};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::spelling::{Speller, Spelling};
use super::tls::{self, TlsError};
use crate::source::Source;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The hub, or the network to it, does not take the connection.
    #[error("{0}")]
    Refused(String),
    /// This machine has no socket or address for it.
    #[error("{0}")]
    Ours(String),
}

/// A connection and what drives it; closed when dropped.
#[derive(Debug)]
pub(super) struct Link {
    /// The client's end.
    pub(super) from: SocketAddr,
    /// The hub's end.
    pub(super) to: SocketAddr,
    /// Where requests go in.
    pub(super) sender: SendRequest<Outgoing>,
    written: WrittenSlot,
    _driver: AbortOnDropHandle<()>,
}

/// The connection that a session's POSTs share, when it keeps one.
#[derive(Debug, Default)]
pub(super) struct Kept {
    wanted: AtomicBool,
    generation: AtomicU64,
    place: tokio::sync::Mutex<Option<Link>>,
}

/// A request's body, which tells when it has been handed to the operating system.
#[derive(Debug)]
pub(super) struct Outgoing {
    data: Option<Bytes>,
    written: Option<oneshot::Sender<()>>,
    slot: WrittenSlot,
}

/// Whom to tell at the next flush.
type WrittenSlot = Arc<Mutex<Option<oneshot::Sender<()>>>>;

/// A byte stream, plain or TLS.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A byte stream that tells at its first flush after a body was taken.
struct Watched {
    io: TokioIo<Box<dyn Duplex>>,
    slot: WrittenSlot,
    speller: Option<Speller>,
}

// === impl Link ===

impl Link {
    /// Connects from `source`, when it is of the same family as `to`; shakes hands when `tls` names a server. The first
    /// request on it has its header names in this spelling.
    pub(super) async fn connect(
        source: Option<&Source>,
        to: SocketAddr,
        tls: Option<&str>,
        spelling: Spelling,
    ) -> Result<Self, ConnectError> {
        let ours = |doing: &str, error: io::Error| ConnectError::Ours(format!("cannot {doing}: {error}"));
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
            .map_err(|error| ours("make a socket", error))?;
        if let Some(source) = source.filter(|source| source.ip().is_ipv4() == to.is_ipv4()) {
            source.bind(&socket).map_err(|error| ours(&format!("bind to {}", source.ip()), error))?;
        }
        let stream = socket.connect(to).await.map_err(|error| ConnectError::Refused(error.to_string()))?;
        let from = stream.local_addr().map_err(|error| ours("read the local address", error))?;
        stream.set_nodelay(true).map_err(|error| ConnectError::Refused(error.to_string()))?;
        let io: Box<dyn Duplex> = match tls {
            Some(name) => Box::new(tls::wrap(stream, name).await?),
            None => Box::new(stream),
        };
        let written = WrittenSlot::default();
        let speller = Speller::new(spelling);
        let io = Watched { io: TokioIo::new(io), slot: Arc::clone(&written), speller };
        let (sender, connection) =
            http1::handshake(io).await.map_err(|error| ConnectError::Refused(error.to_string()))?;
        // Its errors reach whoever waits for the answer.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { from, to, sender, written, _driver: AbortOnDropHandle::new(driver) })
    }

    /// A body for a request on this connection; `written` is told once it is on its way.
    pub(super) fn body(&self, data: Bytes, written: Option<oneshot::Sender<()>>) -> Outgoing {
        let data = Some(data).filter(|data| !data.is_empty());
        Outgoing { data, written, slot: Arc::clone(&self.written) }
    }
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Setup(_) => Self::Ours(error.to_string()),
            TlsError::Handshake(_) => Self::Refused(error.to_string()),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Whether connections are kept from now on; `false` closes the one that waits.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
        if !wanted {
            self.forget();
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Closes the connection: at once when it waits, else when its exchange is over.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if let Ok(mut place) = self.place.try_lock() {
            drop(place.take());
        }
    }

    /// The number that tells whether [`Kept::forget`] was called meanwhile.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Waits until no other exchange uses the connection.
    pub(super) async fn lock(&self) -> tokio::sync::MutexGuard<'_, Option<Link>> {
        self.place.lock().await
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// Takes back whom to tell, from a body that was not sent.
    pub(super) fn into_written(self) -> Option<oneshot::Sender<()>> {
        self.written
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take();
        if let Some(written) = self.written.take() {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

// === impl Watched ===

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, speller, .. } = &mut *self;
        let Some(speller) = speller else { return Pin::new(io).poll_write(cx, buf) };
        let written = ready!(Pin::new(io).poll_write(cx, &speller.spelled(buf)));
        if let Ok(written) = written {
            speller.wrote(&buf[..written]);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        if flushed.is_ok()
            && let Some(written) = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // Nobody may be waiting.
            let _ = written.send(());
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.speller.is_none() && self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.speller.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[], |buf| &**buf));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
