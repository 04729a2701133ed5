//! What defects make of many clients at a time: places that are never given back, locks around every write, tools that block.
//!
//! Without `--defect` nothing here has an effect. Knows no session and no tools.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::defect::{Defect, Defects};
use crate::lock;
use crate::reply::Reply;
use crate::tools::wait_until;

/// How many places `keeps-vanished-clients` has.
const PLACES: usize = 200;

/// How many connections `serves-few-connections` serves at a time.
const CONNECTIONS: usize = 50;

/// How many requests `limits-per-address` serves that come from one address.
const REQUESTS: usize = 30;

/// A place for each client that has vanished.
static VANISHED: AtomicUsize = AtomicUsize::new(0);

/// Whom an answer is written to at the moment.
static TURN: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// What `serves-few-connections` serves.
static SERVED: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(CONNECTIONS)));

/// How many requests came from each address.
static ASKED: LazyLock<std::sync::Mutex<HashMap<IpAddr, usize>>> = LazyLock::new(Default::default);

/// Counts a request from this address; whether there were too many (`limits-per-address`).
pub(crate) fn is_over(address: IpAddr) -> bool {
    let mut asked = lock(&ASKED);
    let count = asked.entry(address).or_default();
    *count += 1;
    *count > REQUESTS
}

/// Holds a call for so many milliseconds; `tool-blocks-process` holds the whole process.
pub(crate) async fn hold(defects: Defects, ms: u64) {
    let time = Duration::from_millis(ms);
    if defects.has(Defect::ToolBlocksProcess) {
        let (_stays, never) = std::sync::mpsc::channel::<()>();
        // Nothing comes.
        let _ = never.recv_timeout(time);
    } else {
        wait_until(Instant::now(), time).await;
    }
}

/// A place among the connections that are served; waits until there is one.
pub(crate) async fn connection() -> Option<OwnedSemaphorePermit> {
    SERVED.clone().acquire_owned().await.ok()
}

/// Whether there is still a place for a client (`keeps-vanished-clients`).
pub(crate) fn has_place() -> bool {
    VANISHED.load(Ordering::Relaxed) < PLACES
}

/// The same answer; its place is kept when its client goes before its end.
pub(crate) fn keeping_place(reply: Reply) -> Reply {
    reply.map(|inner| Body::new(Placed { inner, has_ended: false }))
}

/// The same answer, a part at a time in turn with all others (`waits-for-slow-readers`).
pub(crate) fn in_turn(reply: Reply) -> Reply {
    reply.map(|inner| Body::new(InTurn { inner, turn: None, waiting: None }))
}

/// An answer that takes a place when it is dropped before its end.
struct Placed {
    inner: Body,
    has_ended: bool,
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        self.has_ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if !self.has_ended && !self.inner.is_end_stream() {
            VANISHED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Waiting = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

/// An answer that has its turn from one part until the connection asks for the next, which it does when there is room.
struct InTurn {
    inner: Body,
    turn: Option<OwnedMutexGuard<()>>,
    waiting: Option<Waiting>,
}

impl http_body::Body for InTurn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.turn = None;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(TURN.clone().lock_owned()));
        let turn = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        // While there is nothing to write, others may.
        self.turn = matches!(frame, Poll::Ready(Some(Ok(_)))).then_some(turn);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
