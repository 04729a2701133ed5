//! The short answers of the hub itself, in one place, because clients show them to people.
//!
//! Knows no transport and no session.

use axum::body::Body;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// What every handler answers with.
pub type Reply = Response<Body>;

/// The words that started it all.
pub const COULD_NOT_FIND_SESSION: &str = "Could not find session";
/// A new session while the replica stops.
pub const STOPPING: &str = "This replica is stopping: open the session elsewhere";
/// More sessions than `--max-sessions`.
pub const TOO_MANY_SESSIONS: &str = "Too many sessions";
/// A second session of a process that has one (for defects only).
pub const ALREADY_INITIALIZED: &str = "Invalid request: Server already initialized";
/// More calls in flight on one session than `--queue`.
pub const TOO_MANY_MESSAGES: &str = "Too many messages in flight on this session";
/// A request whose id is that of a call in flight on the same session.
pub const REPEATED_ID: &str = "Invalid request: a call with this id is in flight";
/// The owner accepted a forwarded request and sent no response headers in time.
pub const OWNER_SILENT: &str = "The session's owner did not answer in time";
/// The owner took a forwarded request and closed the connection without an answer.
pub const OWNER_LOST: &str = "The session's owner closed the connection before it answered";

/// A plain text answer.
pub fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    let mut reply = Response::new(Body::from(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

/// 404: the session is unknown, has ended, or its owner is gone. A client initialises again.
pub fn no_session() -> Reply {
    text(StatusCode::NOT_FOUND, COULD_NOT_FIND_SESSION)
}

/// 404 for an id that was sealed with a key nobody here has: a configuration error worth naming.
pub fn unknown_key(key: &str) -> Reply {
    text(
        StatusCode::NOT_FOUND,
        format!("{COULD_NOT_FIND_SESSION}: its id was sealed with the unknown key {key}"),
    )
}

/// 503 with `Retry-After: 1`: refused, not lost.
pub fn busy(why: &str) -> Reply {
    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, why);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// 413.
pub fn too_large(limit: usize) -> Reply {
    text(StatusCode::PAYLOAD_TOO_LARGE, format!("Payload too large: the limit is {limit} bytes"))
}

/// 408: the body took longer than `--body-time`. The connection cannot be used again.
pub fn too_slow() -> Reply {
    let mut reply = text(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time");
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A JSON-RPC error without a request id, for messages that could not be read.
pub fn json_error(status: StatusCode, code: i32, message: &str) -> Reply {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    let mut reply = text(status, body.to_string());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An answer that never comes (for defects only).
pub async fn never() -> Reply {
    std::future::pending().await
}
