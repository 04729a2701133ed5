//! Bodies that a defect makes, changes, holds or cuts.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::reply::{self, Reply};
use crate::sse::stream_reply;

/// An event stream that says nothing.
pub(super) fn silent_stream() -> Reply {
    stream_reply(never_ending(Body::empty()))
}

/// The same, and then no end.
pub(super) fn never_ending(inner: Body) -> Body {
    Body::from_stream(inner.into_data_stream().chain(stream::pending()))
}

/// The same until the token fires; then its end, whatever is left.
pub(super) fn cut_at(inner: Body, token: CancellationToken) -> Body {
    Body::from_stream(inner.into_data_stream().take_until(token.cancelled_owned()))
}

/// A subscription's stream that begins with a notification that nobody asked for, in place of its acknowledgement.
pub(super) fn without_acknowledgement(inner: Body) -> Body {
    let other = |data: Bytes| {
        let text = String::from_utf8_lossy(&data);
        Bytes::from(
            text.replace("notifications/subscriptions/acknowledged", "notifications/prompts/list_changed"),
        )
    };
    Body::from_stream(inner.into_data_stream().map(move |data| data.map(other)))
}

/// A subscription's stream that goes on with a notification that nobody asked for.
pub(super) fn with_prompts(inner: Body, subscription: &Value) -> Body {
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": subscription });
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/prompts/list_changed", "params": { "_meta": meta } });
    let more = move |data: Bytes| match String::from_utf8_lossy(&data) {
        text if text.contains("notifications/subscriptions/acknowledged") => {
            Bytes::from(format!("{text}data: {changed}\n\n"))
        }
        _ => data,
    };
    Body::from_stream(inner.into_data_stream().map(move |data| data.map(&more)))
}

/// A whole answer with each of its messages changed.
pub(super) async fn edited(reply: Reply, edit: impl Fn(&mut Value)) -> Reply {
    let changed = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(mut message) => {
            edit(&mut message);
            message.to_string()
        }
        Err(_) => text.to_owned(),
    };
    let is_stream = reply.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    rewritten(reply, |text| {
        if !is_stream {
            return changed(text);
        }
        text.split_inclusive('\n')
            .map(|line| match line.trim_end().strip_prefix("data: ") {
                Some(data) => format!("data: {}\n", changed(data)),
                None => line.to_owned(),
            })
            .collect()
    })
    .await
}

/// A whole event stream that begins with this message.
pub(super) async fn with_message_first(reply: Reply, message: &Value) -> Reply {
    rewritten(reply, |text| format!("data: {message}\n\n{text}")).await
}

async fn rewritten(reply: Reply, rewrite: impl FnOnce(&str) -> String) -> Reply {
    let (mut parts, body) = reply.into_parts();
    let Ok(whole) = body.collect().await else {
        return reply::no_session();
    };
    let text = rewrite(&String::from_utf8_lossy(&whole.to_bytes()));
    parts.headers.remove(CONTENT_LENGTH);
    Reply::from_parts(parts, Body::from(text))
}

/// The same; when it is dropped before its end, `abandoned` is told.
pub(super) fn watched(inner: Body, abandoned: impl FnOnce() + Send + Unpin + 'static) -> Body {
    Body::from_stream(Watched { inner: inner.into_data_stream(), abandoned: Some(abandoned) })
}

struct Watched<F: FnOnce()> {
    inner: axum::body::BodyDataStream,
    abandoned: Option<F>,
}

impl<F: FnOnce() + Unpin> Stream for Watched<F> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.inner.poll_next_unpin(cx);
        if matches!(next, Poll::Ready(None)) {
            self.abandoned = None;
        }
        next
    }
}

impl<F: FnOnce()> Drop for Watched<F> {
    fn drop(&mut self) {
        if let Some(abandoned) = self.abandoned.take() {
            abandoned();
        }
    }
}

/// Handles a request to its end, whether or not its client stays.
pub(super) async fn detached(handling: impl Future<Output = Reply> + Send + 'static) -> Reply {
    let (head, answer) = oneshot::channel();
    tokio::spawn(async move {
        let (parts, body) = handling.await.into_parts();
        let (sender, receiver) = mpsc::unbounded_channel();
        // Whoever asked may be gone.
        let _ = head.send((parts, receiver));
        let mut data = body.into_data_stream();
        while let Some(Ok(piece)) = data.next().await {
            let _ = sender.send(piece);
        }
    });
    match answer.await {
        Ok((parts, receiver)) => {
            let pieces = stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|piece| (Ok::<_, Infallible>(piece), receiver))
            });
            Reply::from_parts(parts, Body::from_stream(pieces))
        }
        Err(_) => reply::never().await,
    }
}
