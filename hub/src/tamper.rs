//! What defects change of requests and answers as HTTP, before and after whatever handles them.
//!
//! Without `--defect` every request passes untouched. Knows no session and no tools.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, unfold};
use futures_util::{FutureExt, StreamExt};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, ORIGIN, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::app::App;
use crate::crowd;
use crate::defect::Defect;
use crate::reply::{self, Reply};
use crate::streamable::CUT_AFTER;

/// Stands around every path of MCP.
pub async fn around(State(app): State<Arc<App>>, mut request: Request<Body>, next: Next) -> Reply {
    let defects = app.replica.defects;
    if defects.has(Defect::CutsCharacters) {
        request = request.map(read_as_text);
    }
    if request.method() == Method::POST && defects.has(Defect::WantsBodyWithHead) {
        let (parts, mut body) = request.into_parts();
        let Some(Some(Ok(first))) = body.frame().now_or_never() else {
            return reply::text(StatusCode::BAD_REQUEST, "Could not read the body");
        };
        let first = stream::iter(first.into_data().ok().map(Ok));
        request = Request::from_parts(parts, Body::from_stream(first.chain(body.into_data_stream())));
    }
    if defects.has(Defect::DemandsOrigin) && !request.headers().contains_key(ORIGIN) {
        return reply::text(StatusCode::FORBIDDEN, "Origin is missing");
    }
    let posts_message = request.method() == Method::POST && request.uri().path().starts_with("/messages");
    if posts_message && defects.has(Defect::RedirectsMessages) {
        let mut answer = reply::text(StatusCode::TEMPORARY_REDIRECT, "Elsewhere");
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
        return answer;
    }
    if request.uri().path().ends_with('/') && defects.has(Defect::RedirectsSlashes) {
        let path = request.uri().path().trim_end_matches('/');
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut answer = reply::text(StatusCode::TEMPORARY_REDIRECT, "Elsewhere");
        if let Ok(location) = HeaderValue::try_from(format!("http://hub.internal:8000{path}{query}")) {
            answer.headers_mut().insert(LOCATION, location);
        }
        return answer;
    }
    let says_json = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if request.method() == Method::POST && !says_json && defects.has(Defect::FailsOnOddType) {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if defects.has(Defect::KnowsOnlyAddresses) && host.starts_with(|first: char| first.is_ascii_alphabetic())
    {
        return reply::text(StatusCode::MISDIRECTED_REQUEST, "Invalid Host header");
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: u64 = length.unwrap_or_default();
    if (16_000..100_000).contains(&length) && defects.has(Defect::SmallBodiesOnly) {
        return reply::text(StatusCode::PAYLOAD_TOO_LARGE, "Too large");
    }
    if posts_message && length > 500_000 && defects.has(Defect::DropsBigBodies) {
        // Read first: a close with unread bytes would be a reset.
        let _ = request.into_body().collect().await;
        return reply::text(StatusCode::ACCEPTED, "Accepted");
    }
    if defects.has(Defect::KeepsVanishedClients) && !crowd::has_place() {
        return reply::never().await;
    }
    let opens_stream = request.method() == Method::GET && request.uri().path().starts_with("/sse");
    let accepts = request.headers().get(ACCEPT_ENCODING).and_then(|encodings| encodings.to_str().ok());
    let compresses =
        defects.has(Defect::HoldsCompressed) && accepts.is_some_and(|encodings| encodings.contains("gzip"));
    let mut answer = next.run(request).await;
    if opens_stream && defects.has(Defect::MistypedStream) {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if opens_stream && defects.has(Defect::CutsIdleStreams) {
        answer = answer.map(|inner| {
            // A stream on which something is said is not idle.
            Body::from_stream(unfold(inner.into_data_stream(), async |mut pieces| {
                let piece = timeout(CUT_AFTER, pieces.next()).await.ok().flatten()?;
                Some((piece, pieces))
            }))
        });
    }
    if defects.has(Defect::RepeatsHeaders) {
        for name in [HeaderName::from_static("mcp-session-id"), CONTENT_TYPE, WWW_AUTHENTICATE] {
            if let Some(value) = answer.headers().get(&name).cloned() {
                answer.headers_mut().append(name, value);
            }
        }
    }
    if compresses && answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        answer = answer.map(compressed);
    }
    if defects.has(Defect::BuffersStreams) {
        answer = answer.map(buffered);
    }
    if defects.has(Defect::WaitsForSlowReaders) {
        answer = crowd::in_turn(answer);
    }
    if defects.has(Defect::KeepsVanishedClients) {
        answer = crowd::keeping_place(answer);
    }
    answer
}

/// A body that is read as text, each piece by itself.
fn read_as_text(body: Body) -> Body {
    let read = |piece: Bytes| Bytes::from(String::from_utf8_lossy(&piece).into_owned());
    Body::from_stream(body.into_data_stream().map(move |piece| piece.map(read)))
}

/// Holds notifications back until something else is said.
fn buffered(inner: Body) -> Body {
    let mut held: Vec<u8> = Vec::new();
    Body::from_stream(inner.into_data_stream().filter_map(move |piece| {
        let told = match piece {
            Ok(piece) => {
                held.extend_from_slice(&piece);
                (!is_held(&piece)).then(|| Ok(Bytes::from(std::mem::take(&mut held))))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(told)
    }))
}

/// Compresses, and flushes what is no notification.
fn compressed(inner: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    Body::from_stream(unfold((inner.into_data_stream(), Some(encoder)), async |(mut pieces, encoder)| {
        let mut encoder = encoder?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    // Memory takes all that is written.
                    let _ = encoder.write_all(&piece);
                    if !is_held(&piece) && encoder.flush().is_ok() {
                        let told = Bytes::from(std::mem::take(encoder.get_mut()));
                        return Some((Ok(told), (pieces, Some(encoder))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), (pieces, None))),
                None => {
                    let told = Bytes::from(encoder.finish().unwrap_or_default());
                    return Some((Ok(told), (pieces, None)));
                }
            }
        }
    }))
}

fn is_held(piece: &[u8]) -> bool {
    piece.windows(HELD_BACK.len()).any(|part| part == HELD_BACK)
}

/// What `buffers-streams` and `holds-compressed` know a notification by.
const HELD_BACK: &[u8] = b"\"method\":\"notifications/";
