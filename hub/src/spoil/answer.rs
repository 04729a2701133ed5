//! Answers that a defect changes on their way out.

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::request::SPACED;
use super::{Asked, META_SERVER, SESSION, body};
use crate::app::App;
use crate::defect::{Defect, Defects};
use crate::lock;
use crate::reply::Reply;
use crate::sse::stream_reply;

/// The answer as a client gets it.
pub(super) async fn spoiled(app: &App, defects: Defects, asked: &Asked, mut reply: Reply) -> Reply {
    head(app, defects, asked, &mut reply);
    let is_stream = reply.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let is_listing = matches!(asked.rpc(), "tools/list" | "server/discover");
    let is_short = is_listing || asked.calls("count") || asked.calls("echo");
    if defects.has(Defect::AcceptsWithBody) && reply.status() == StatusCode::ACCEPTED {
        *reply.body_mut() = Body::from("Accepted");
    }
    if asked.rpc() == "subscriptions/listen" {
        if defects.has(Defect::UnasksFirst) {
            reply = reply.map(body::without_acknowledgement);
        }
        if defects.has(Defect::TellsSubscribersAll) {
            let subscription = asked.message.as_ref().map_or(Value::Null, |message| message["id"].clone());
            reply = reply.map(|inner| body::with_prompts(inner, &subscription));
        }
        if defects.has(Defect::CutsSubscriptions) {
            reply = reply.map(|inner| body::cut_at(inner, app.replica.drain.draining().clone()));
        }
    }
    if is_short && asked.is_modern && MODERN_EDITS.iter().any(|defect| defects.has(*defect)) {
        reply = body::edited(reply, |message| edit_modern(defects, asked, message)).await;
    }
    // rmcp negotiates again over this transport, so the handler's word does not count.
    if defects.has(Defect::NegotiatesDown) && asked.asks_for("2025-11-25") {
        reply =
            body::edited(reply, |message| message["result"]["protocolVersion"] = json!("2025-06-18")).await;
    }
    if defects.has(Defect::OffersOldestVersion) && asked.rpc() == "initialize" {
        reply = body::edited(reply, |message| {
            let agreed = message["result"]["protocolVersion"].as_str().unwrap_or_default();
            if asked.asks_for_another(agreed) {
                message["result"]["protocolVersion"] = json!("2024-11-05");
            }
        })
        .await;
    }
    if defects.has(Defect::AnswersPong) && asked.rpc() == "ping" {
        reply = body::edited(reply, |message| {
            if let Some(result) = message.get_mut("result") {
                result["pong"] = json!(true);
            }
        })
        .await;
    }
    if defects.has(Defect::ListsLessOnReuse) && asked.is_later && asked.rpc() == "tools/list" {
        reply = body::edited(reply, |message| {
            drop(message.pointer_mut("/result/tools").and_then(Value::as_array_mut).and_then(Vec::pop));
        })
        .await;
    }
    if is_short && defects.has(Defect::EndsStreamsEarly) {
        reply = stream_reply(Body::empty());
    }
    if asked.is_modern && defects.has(Defect::ManglesStringIds) && asked.has_string_id() {
        reply = body::edited(reply, |message| message["id"] = json!("another")).await;
    }
    if is_short && is_stream {
        if defects.has(Defect::AsksInStreams) {
            let request = json!({ "jsonrpc": "2.0", "id": "of-the-hub", "method": "ping" });
            reply = body::with_message_first(reply, &request).await;
        }
        if defects.has(Defect::LogsUnasked) {
            let params = json!({ "level": "info", "data": "working" });
            let told = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params });
            reply = body::with_message_first(reply, &told).await;
        }
        if defects.has(Defect::HoldsAnsweredStreams) {
            reply = reply.map(body::never_ending);
        }
    }
    if defects.has(Defect::DisconnectEndsSession)
        && is_stream
        && asked.method == Method::POST
        && let Some(id) = asked.header(SESSION)
    {
        let (sessions, id) = (app.replica.sessions.clone(), id.to_owned());
        reply = reply.map(|inner| body::watched(inner, move || sessions.end(&id)));
    }
    reply
}

/// What a defect does to status and headers.
fn head(app: &App, defects: Defects, asked: &Asked, reply: &mut Reply) {
    let status = reply.status();
    let headers = reply.headers_mut();
    let session = headers.get(SESSION).cloned();
    if let Some(id) = session.as_ref().and_then(|id| id.to_str().ok()) {
        if defects.has(Defect::SpacedSessionIds)
            && let Ok(spaced) = HeaderValue::try_from(format!("{id}{SPACED}"))
        {
            headers.insert(SESSION, spaced);
        }
        if defects.has(Defect::RepeatsSessionIds) {
            let first = lock(&app.replica.first_id).get_or_insert_with(|| id.into()).clone();
            if let Ok(first) = HeaderValue::from_str(&first) {
                headers.insert(SESSION, first);
            }
        }
    }
    if defects.has(Defect::MintsSessionIds) && asked.is_modern && status == StatusCode::OK {
        headers.insert(SESSION, HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
    }
    if defects.has(Defect::LetsProxiesBuffer) && asked.is_modern {
        headers.remove(HeaderName::from_static("x-accel-buffering"));
    }
    if defects.has(Defect::AnswersAsText) && asked.rpc() == "tools/list" {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if defects.has(Defect::AcceptsWithBody) && status == StatusCode::ACCEPTED {
        headers.remove(CONTENT_LENGTH);
    }
    let is_unknown = status == StatusCode::NOT_FOUND && asked.is_modern && asked.is_request();
    if defects.has(Defect::UnknownMethodIs200) && is_unknown
        || defects.has(Defect::NotificationsAre200) && status == StatusCode::ACCEPTED
    {
        *reply.status_mut() = StatusCode::OK;
    }
}

/// The defects of [`edit_modern`].
const MODERN_EDITS: &[Defect] =
    &[Defect::DiscoversOtherVersions, Defect::NoCachingHints, Defect::NoServerInfo, Defect::NoResultType];

/// What a defect does to a result of 2026-07-28.
fn edit_modern(defects: Defects, asked: &Asked, message: &mut Value) {
    let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) else {
        return;
    };
    if defects.has(Defect::DiscoversOtherVersions) && asked.rpc() == "server/discover" {
        result.insert("supportedVersions".to_owned(), json!(["2025-11-25"]));
    }
    if defects.has(Defect::NoCachingHints) && asked.rpc() == "tools/list" {
        result.remove("ttlMs");
    }
    if defects.has(Defect::NoServerInfo)
        && let Some(meta) = result.get_mut("_meta").and_then(Value::as_object_mut)
    {
        meta.remove(META_SERVER);
    }
    if defects.has(Defect::NoResultType) {
        result.remove("resultType");
    }
}
