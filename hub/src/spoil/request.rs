//! Requests that a defect answers by itself, or changes before they are handled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::{Asked, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN, SESSION, VERSION, body};
use crate::app::App;
use crate::defect::{Defect, Defects};
use crate::lock;
use crate::reply::{self, Reply};

/// What the requests of one connection left behind (`remembers-connections`, `lists-less-on-reuse`).
#[derive(Clone, Default)]
pub struct Remembered {
    meta: Arc<Mutex<Option<Value>>>,
    used: Arc<AtomicBool>,
}

impl Remembered {
    /// Whether the connection had carried a request before; it has now.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }
}

/// The answer that a defect gives in place of the hub.
pub(super) fn answered(app: &App, asked: &Asked) -> Option<Reply> {
    let has = |defect| app.replica.defects.has(defect);
    if asked.is_modern { answered_modern(&has, asked) } else { None }
        .or_else(|| answered_in_session(app, &has, asked))
        .or_else(|| {
            let is_bad = asked.method == Method::POST && asked.message.is_none();
            if is_bad && has(Defect::BadJsonEndsSession) {
                app.replica.sessions.end(asked.header(SESSION)?);
            }
            (is_bad && has(Defect::AcceptsBadJson)).then(|| reply::text(StatusCode::ACCEPTED, ""))
        })
}

fn answered_modern(has: &impl Fn(Defect) -> bool, asked: &Asked) -> Option<Reply> {
    let meta =
        |key: &str| asked.message.as_ref().and_then(|message| message["params"]["_meta"].get(key)).is_some();
    if has(Defect::RefusesStaleIds) && asked.header(SESSION).is_some() {
        return Some(reply::no_session());
    }
    if has(Defect::RefusesEventIds) && asked.header("last-event-id").is_some() {
        return Some(reply::text(StatusCode::BAD_REQUEST, "No such event"));
    }
    if has(Defect::NoDiscover) && asked.rpc() == "server/discover" {
        return Some(refused(asked, StatusCode::NOT_FOUND, -32601, "Method not found"));
    }
    if has(Defect::ReadsHeadersLiterally)
        && asked.header("mcp-name").is_some_and(|name| name.starts_with("=?base64?"))
    {
        return Some(refused(asked, StatusCode::BAD_REQUEST, -32020, "Mcp-Name does not match"));
    }
    if has(Defect::DemandsClientInfo) && asked.is_request() && meta(META_CAPABILITIES) && !meta(META_CLIENT) {
        return Some(refused(asked, StatusCode::BAD_REQUEST, -32602, "clientInfo is missing"));
    }
    has(Defect::StreamsOnGet).then(|| without_post(asked)).flatten()
}

fn answered_in_session(app: &App, has: &impl Fn(Defect) -> bool, asked: &Asked) -> Option<Reply> {
    let is_initialize = asked.rpc() == "initialize";
    let is_post = asked.method == Method::POST;
    if has(Defect::StreamsOnGet) {
        // It speaks 2026-07-28 and nothing before.
        return match is_initialize {
            true => Some(refused(asked, StatusCode::BAD_REQUEST, -32022, "Unsupported protocol version")),
            false => without_post(asked),
        };
    }
    if has(Defect::ServesWithoutVersion) && is_initialize {
        let supported = format!("Unsupported protocol version: only {MODERN} is spoken here");
        return Some(refused(asked, StatusCode::BAD_REQUEST, -32022, &supported));
    }
    if asked.is_modern {
        return None;
    }
    if has(Defect::DeleteIs500) && asked.method == Method::DELETE {
        return Some(reply::text(StatusCode::INTERNAL_SERVER_ERROR, "not implemented"));
    }
    if has(Defect::GetIs404) && asked.method == Method::GET {
        return Some(reply::text(StatusCode::NOT_FOUND, "nothing here"));
    }
    if has(Defect::DemandsVersion) && asked.is_request() && !is_initialize && asked.header(VERSION).is_none()
    {
        return Some(reply::text(StatusCode::BAD_REQUEST, "MCP-Protocol-Version is missing"));
    }
    if has(Defect::MissingIdIs404) && is_post && !is_initialize && asked.header(SESSION).is_none() {
        return Some(reply::no_session());
    }
    if has(Defect::RefusesBatches) && asked.message.as_ref().is_some_and(Value::is_array) {
        return Some(reply::json_error(StatusCode::BAD_REQUEST, -32600, "Invalid request"));
    }
    if is_post { asked.broken_in(app, asked.header(SESSION)?) } else { None }
}

/// Changes the head, and answers the body when that is another one now.
pub(super) fn changed(defects: Defects, asked: &Asked, parts: &mut Parts) -> Option<Value> {
    let headers = &mut parts.headers;
    if defects.has(Defect::SpacedSessionIds)
        && let Some(id) = asked.header(SESSION).and_then(|id| id.strip_suffix(SPACED))
    {
        headers.insert(SESSION, HeaderValue::try_from(id).ok()?);
    }
    if !asked.is_modern || defects.has(Defect::AcceptsAnyVersion) {
        if defects.has(Defect::AcceptsAnyVersion) && asked.header(SESSION).is_some() {
            headers.remove(VERSION);
        }
        return None;
    }
    let mut message = asked.message.clone()?;
    let has_params = message.is_object() && message.get("params").is_none_or(Value::is_object);
    if !has_params {
        return None;
    }
    let meta = &mut message["params"]["_meta"];
    if defects.has(Defect::RemembersConnections)
        && let Some(memory) = parts.extensions.get::<Remembered>()
    {
        let mut memory = lock(&memory.meta);
        if meta.is_null() {
            *meta = memory.clone().unwrap_or_default();
        } else {
            *memory = Some(meta.clone());
        }
    }
    if defects.has(Defect::DemandsNothing) {
        for (key, value) in [(META_VERSION, json!(MODERN)), (META_CAPABILITIES, json!({}))] {
            if meta.get(key).is_none() {
                meta[key] = value;
            }
        }
    }
    if defects.has(Defect::ServesWithoutVersion) && asked.header(VERSION).is_none() {
        headers.insert(VERSION, HeaderValue::from_static(MODERN));
    }
    if defects.has(Defect::ServesAnyVersion) && meta[META_VERSION].as_str() == asked.header(VERSION) {
        meta[META_VERSION] = json!(MODERN);
        headers.insert(VERSION, HeaderValue::from_static(MODERN));
    }
    if defects.has(Defect::IgnoresHeaders) {
        let mirrored = [
            (VERSION, message["params"]["_meta"][META_VERSION].as_str()),
            ("mcp-method", message["method"].as_str()),
            ("mcp-name", message["params"]["name"].as_str()),
        ];
        for (name, value) in mirrored {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
    if message["params"]["_meta"].is_null()
        && let Some(params) = message["params"].as_object_mut()
    {
        params.remove("_meta");
    }
    Some(message)
}

/// What `spaced-session-ids` puts behind each id.
pub(super) const SPACED: &str = " of hub";

/// What a hub that speaks 2026-07-28 alone should refuse, served.
fn without_post(asked: &Asked) -> Option<Reply> {
    match asked.method {
        Method::GET => Some(body::silent_stream()),
        Method::DELETE => Some(reply::text(StatusCode::OK, "")),
        _ => None,
    }
}

/// A JSON-RPC error with the request's id.
fn refused(asked: &Asked, status: StatusCode, code: i32, message: &str) -> Reply {
    let id = asked.message.as_ref().map_or(Value::Null, |message| message["id"].clone());
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    let mut reply = reply::text(status, body.to_string()).map(Body::new);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
