//! How long the head of a request may take: a client that never finishes one is no client.
//!
//! hyper has one limit for a head and for the silence before it. Silence is well: other replicas and proxies keep connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::reply::Reply;

/// From its first byte on a head has to be there within this.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// What is known of the requests of one connection.
#[derive(Default)]
pub(crate) struct Heads {
    /// How many heads have come.
    come: AtomicU64,
    /// How many answers are not over.
    open: AtomicUsize,
}

/// An answer that is not over.
pub(crate) struct Answering(Arc<Heads>);

/// A connection that ends when a head takes too long.
pub(crate) struct Prompt<S> {
    inner: S,
    heads: Arc<Heads>,
    limit: Duration,
    /// Until when the head has to be there that has begun, and how many had come before.
    due: Option<(Pin<Box<Sleep>>, u64)>,
}

// === impl Heads ===

impl Heads {
    /// A head has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Answering {
        self.come.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }
}

// === impl Answering ===

impl Answering {
    /// The answer, which is over when its body is.
    pub(crate) fn with(self, reply: Reply) -> Reply {
        reply.map(|inner| Body::new(Under { inner, _answering: self }))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Prompt ===

impl<S> Prompt<S> {
    pub(crate) fn new(inner: S, heads: Arc<Heads>, limit: Duration) -> Self {
        Self { inner, heads, limit, due: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let come = self.heads.come.load(Ordering::Relaxed);
        if self.due.as_ref().is_some_and(|(_, before)| *before != come) {
            self.due = None;
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => {
                let is_over = self.due.as_mut().is_some_and(|(due, _)| due.as_mut().poll(cx).is_ready());
                if is_over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
            }
            read => {
                // What comes during an answer is a body, or waits its turn.
                let is_head = buf.filled().len() > before && self.heads.open.load(Ordering::Relaxed) == 0;
                if is_head && self.due.is_none() {
                    self.due = Some((Box::pin(sleep_until(Instant::now() + self.limit)), come));
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }
}

/// The body of an answer that is not over.
struct Under {
    inner: Body,
    _answering: Answering,
}

impl http_body::Body for Under {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(5);

    /// Reads until something else than bytes comes; what that is.
    async fn read_on(mut prompt: Prompt<tokio::io::DuplexStream>) -> Option<io::ErrorKind> {
        let mut byte = [0];
        loop {
            match prompt.read(&mut byte).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error.kind()),
            }
        }
    }

    #[tokio::test]
    async fn a_head_that_never_ends_ends_the_connection_however_often_a_byte_comes() {
        let (mut client, server) = duplex(16);
        let reading = tokio::spawn(read_on(Prompt::new(server, Arc::default(), LIMIT)));
        let mut beat = tokio::time::interval(LIMIT / 10);
        let trickling = async {
            while client.write_all(b"x").await.is_ok() {
                beat.tick().await;
            }
        };
        timeout(LONG, trickling).await.expect("the connection ends");
        assert_eq!(reading.await.unwrap(), Some(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn silence_and_what_comes_during_an_answer_end_nothing() {
        let (mut client, server) = duplex(16);
        let heads = Arc::<Heads>::default();
        let mut prompt = Prompt::new(server, heads.clone(), LIMIT);
        client.write_all(b"h").await.unwrap();
        prompt.read_exact(&mut [0]).await.unwrap();
        let answering = heads.begin();
        client.write_all(b"b").await.unwrap();
        prompt.read_exact(&mut [0]).await.unwrap();
        drop(answering);
        assert!(timeout(3 * LIMIT, prompt.read(&mut [0])).await.is_err(), "the connection stays");
    }
}
