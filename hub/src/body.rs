//! Bodies on their way in and out: one read whole and bounded, one that counts a call until it ended.
//!
//! Knows no path and no session.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::middleware::Next;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::drain::Call;
use crate::replica::Limits;
use crate::reply::{self, Reply};
use crate::session::Use;

/// How much more than the limit is read and dropped, and for how long: a client that is still sending when the connection
/// closes may never see the 413.
const DISCARD: usize = 16 << 20;
const DISCARD_LIMIT: Duration = Duration::from_secs(2);

/// How long the headers of an answer wait for its first frame. It saves a packet per hop, and nobody notices.
const SETTLE: Duration = Duration::from_millis(1);

/// Reads a whole request body within the limits on its bytes, declared or chunked, and on its time.
///
/// # Errors
/// The 413, 408 or 400 to answer.
pub async fn read(body: Body, limits: &Limits) -> Result<Bytes, Reply> {
    match timeout(limits.body_time, whole(body, limits.body)).await {
        Ok(read) => read,
        Err(_) => Err(reply::too_slow()),
    }
}

async fn whole(mut body: Body, limit: usize) -> Result<Bytes, Reply> {
    let mut read = BytesMut::new();
    let declared = body.size_hint().lower();
    let mut fits = usize::try_from(declared).is_ok_and(|declared| declared <= limit);
    while fits {
        match body.frame().await {
            None => return Ok(read.freeze()),
            Some(Err(error)) => {
                return Err(reply::text(
                    StatusCode::BAD_REQUEST,
                    format!("Could not read the body: {error}"),
                ));
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                fits = data.len() <= limit - read.len();
                if fits && read.is_empty() && body.is_end_stream() {
                    return Ok(data);
                }
                if fits {
                    read.extend_from_slice(&data);
                }
            }
        }
    }
    drop(read);
    discard(body).await;
    Err(reply::too_large(limit))
}

/// Reads and drops what is left of a body, within limits.
async fn discard(mut body: Body) {
    let rest = async {
        let mut rest = DISCARD;
        while let Some(Ok(frame)) = body.frame().await {
            rest = rest.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if rest == 0 {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_LIMIT, rest).await;
}

/// Stands around every path: a request that is refused without a look at its body has that read and dropped before the answer
/// leaves. Otherwise the connection would be reset under a client that is still sending, which may then never see the answer.
pub async fn unread(request: Request<Body>, next: Next) -> Reply {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (back, mut left) = oneshot::channel();
    let reply = next.run(request.map(|inner| Body::new(Lent { inner, back: Some(back) }))).await;
    let is_refused = reply.status().is_client_error() || reply.status().is_server_error();
    if is_refused && let Ok(body) = left.try_recv() {
        discard(body).await;
    }
    reply
}

/// A request's body that is given back when nobody has looked at it.
struct Lent {
    inner: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.back = None;
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody waits for it when the connection is gone.
            let _ = back.send(std::mem::take(&mut self.inner));
        }
    }
}

/// A response body that keeps its call in flight, and its session in use, until it ended or was dropped.
pub struct Counted {
    first: Option<Frame<Bytes>>,
    inner: Body,
    held: (Option<Call>, Option<Use>),
}

impl Counted {
    /// Wraps `inner`.
    pub fn new(inner: Body, call: Option<Call>, session: Option<Use>) -> Self {
        Self { first: None, inner, held: (call, session) }
    }

    /// Waits a moment for the first frame, so that the answer to a fast call leaves in one piece with its headers.
    pub async fn settle(mut self) -> Self {
        if let Ok(Some(Ok(frame))) = timeout(SETTLE, self.inner.frame()).await {
            self.first = Some(frame);
        }
        self
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.held = (None, None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.first {
            Some(first) => {
                let taken = first.data_ref().map_or(0, Bytes::len) as u64;
                self.inner
                    .size_hint()
                    .exact()
                    .map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest + taken))
            }
            None => self.inner.size_hint(),
        }
    }
}
