//! JSON-RPC batches: revision 2025-03-26 alone demands that they are received.
//!
//! A batch is taken apart, each message goes the way of a single one, and the answers share one event stream. Knows no session.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use rmcp::model::{ClientJsonRpcMessage, ProtocolVersion};
use serde::Deserialize;
use serde_json::Value;

/// The header that names the revision.
const VERSION: &str = "mcp-protocol-version";

/// The messages of `body`, when it is a batch and `headers` are those of the revision that has batches; clients of that revision
/// send no version.
///
/// A batch is taken as a whole or not at all: `None` also when it is empty, or something in it is no message.
pub fn messages(headers: &HeaderMap, body: &[u8]) -> Option<Vec<Bytes>> {
    let is_of_revision =
        headers.get(VERSION).is_none_or(|version| version == ProtocolVersion::V_2025_03_26.as_str());
    if !is_of_revision || body.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    let messages: Vec<Value> = serde_json::from_slice(body).ok()?;
    let are_messages = !messages.is_empty()
        && messages.iter().all(|message| ClientJsonRpcMessage::deserialize(message).is_ok());
    are_messages.then(|| messages.iter().map(|message| message.to_string().into()).collect())
}

/// The answer to a batch of which each message was answered: the first refusal, all answers on one stream, or 202 when there is
/// none.
pub fn joined<B>(answers: Vec<Response<B>>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let mut streams = Vec::new();
    let mut head = None;
    for answer in answers {
        match answer.status() {
            StatusCode::ACCEPTED => {}
            StatusCode::OK => {
                let (parts, body) = answer.into_parts();
                head.get_or_insert(parts);
                streams.push(body.into_data_stream());
            }
            _ => return answer.map(Body::new),
        }
    }
    match head {
        Some(parts) => Response::from_parts(
            parts,
            Body::from_stream(stream::select_all(streams.into_iter().map(Box::pin))),
        ),
        None => {
            let mut accepted = Response::new(Body::empty());
            *accepted.status_mut() = StatusCode::ACCEPTED;
            accepted
        }
    }
}
