//! One TCP connection to a hub, from the client's own source address, speaking HTTP/1.1 through hyper.
//!
//! There is no pool. A [`Link`] belongs to one exchange, or waits in the one place that a [`Kept`] has.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{convert::Infallible, io};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::manners::Manners;
use super::spelling::{Speller, Spelling};
use super::tls::{self, TlsError};
use crate::source::Source;

/// The pause between two pieces of a request that are to arrive apart: far longer than a server takes to read what is there.
const APART: Duration = Duration::from_millis(100);

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
    /// What is left of it; each piece leaves in a segment of its own.
    pieces: VecDeque<Bytes>,
    /// What is waited for before the next piece.
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether there is a pause before the next piece.
    is_paused: bool,
    written: Option<oneshot::Sender<()>>,
    slot: WrittenSlot,
}

/// Whom to tell at the next flush.
type WrittenSlot = Arc<Mutex<Option<oneshot::Sender<()>>>>;

/// A byte stream, plain or TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
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
        manners: &Manners,
        spelling: Spelling,
    ) -> Result<Self, ConnectError> {
        let (io, from) = open(source, to, tls, manners).await?;
        let written = WrittenSlot::default();
        let speller = Speller::new(spelling);
        let io = Watched { io: TokioIo::new(io), slot: Arc::clone(&written), speller };
        let (sender, connection) =
            http1::handshake(io).await.map_err(|error| ConnectError::Refused(error.to_string()))?;
        // Its errors reach whoever waits for the answer.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { from, to, sender, written, _driver: AbortOnDropHandle::new(driver) })
    }

    /// A body for a request on this connection, with a pause before each of these places in it; `written` is told once it is on
    /// its way.
    pub(super) fn body(
        &self,
        data: Bytes,
        pauses: &[usize],
        written: Option<oneshot::Sender<()>>,
    ) -> Outgoing {
        let slot = Arc::clone(&self.written);
        Outgoing { pieces: pieces(data, pauses), pause: None, is_paused: pauses.contains(&0), written, slot }
    }
}

/// A byte stream to a hub, and the client's end of it.
pub(super) async fn open(
    source: Option<&Source>,
    to: SocketAddr,
    tls: Option<&str>,
    manners: &Manners,
) -> Result<(Box<dyn Duplex>, SocketAddr), ConnectError> {
    let ours = |doing: &str, error: io::Error| ConnectError::Ours(format!("cannot {doing}: {error}"));
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
        .map_err(|error| ours("make a socket", error))?;
    manners.prepare(&socket).map_err(|error| ours("prepare a socket", error))?;
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
    Ok((io, from))
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
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_paused && !self.pieces.is_empty() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + APART)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let piece = self.pieces.pop_front();
        self.is_paused = true;
        if self.pieces.is_empty()
            && let Some(written) = self.written.take()
        {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A body cut at these places.
fn pieces(mut data: Bytes, cuts: &[usize]) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::new();
    let mut gone = 0;
    for cut in cuts {
        let length = cut.saturating_sub(gone).min(data.len());
        if length > 0 {
            pieces.push_back(data.split_to(length));
            gone += length;
        }
    }
    if !data.is_empty() {
        pieces.push_back(data);
    }
    pieces
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_where_it_is_to_pause() {
        let cut = |cuts: &[usize]| {
            let pieces = pieces(Bytes::from_static(b"hello"), cuts);
            pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[]), ["hello"]);
        assert_eq!(cut(&[0]), ["hello"]);
        assert_eq!(cut(&[0, 2]), ["he", "llo"]);
        assert_eq!(cut(&[1, 3, 99]), ["h", "el", "lo"]);
    }
}
