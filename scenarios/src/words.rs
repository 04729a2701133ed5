//! What findings of every family say of calls and their outcomes.

use harness::run::stage::status_text;
use harness::transcript::history::{Call, Exchange, History, Outcome};
use harness::transcript::{Body, End, Path};
use serde_json::Value;

pub(crate) fn call_text(call: &Call<'_>) -> String {
    let what = call.tool().map_or_else(|| call.method.to_owned(), |tool| format!("{} {tool}", call.method));
    let path = match call.replica {
        Some(replica) => format!("{} at replica `{replica}`", path_text(call)),
        None => path_text(call),
    };
    format!("{what} (request {} of client `{}`) {path}", call.id, call.client)
}

pub(crate) fn path_text(call: &Call<'_>) -> String {
    match call.path {
        Path::Service => "through the service".to_owned(),
        Path::Replica(_) => "aimed".to_owned(),
    }
}

pub(crate) fn outcome_text(history: &History<'_>, call: &Call<'_>) -> String {
    let owner = history.session_of(call).and_then(|session| session.owner);
    let owned = owner.map(|owner| format!("; the session is on `{owner}`")).unwrap_or_default();
    let exchange = history.exchanges.get(&call.exchange);
    let what = match &call.outcome {
        Outcome::Answered { .. } => {
            let took = call.took().unwrap_or_default();
            format!("an answer after {} ms", took.as_millis())
        }
        Outcome::Refused { status, .. } => {
            let body = exchange.and_then(|exchange| exchange.body).map(|(_, body)| body_text(body));
            format!("{} {}", status_text(*status), body.unwrap_or_default())
        }
        Outcome::Ended { how, .. } => end_text(how),
        Outcome::Silent => match exchange.and_then(|exchange| exchange.head) {
            Some(head) => format!("{} and then silence", head.status),
            None => "silence".to_owned(),
        },
    };
    format!("{}{owned}", what.trim_end())
}

/// The same of a call that should have had a result: an answer that is an error says which.
pub(crate) fn reply_text(history: &History<'_>, call: &Call<'_>) -> String {
    let is_answered = matches!(call.outcome, Outcome::Answered { .. });
    match call.answers.first().and_then(|(_, answer)| answer.get("error")) {
        Some(error) if is_answered => format!("the error {error}"),
        _ => outcome_text(history, call),
    }
}

/// Whether a call of what every hub serves came to a result: an error, whatever its HTTP status, serves nobody.
pub(crate) fn is_served(call: &Call<'_>) -> bool {
    matches!(call.outcome, Outcome::Answered { .. }) && call.result().is_some()
}

/// Whether a call was answered as it should: with a result, or, where the name of an unknown tool carries a text, with any answer.
pub(crate) fn is_answered(history: &History<'_>, call: &Call<'_>) -> bool {
    let echo = &history.transcript.header.echo;
    let is_unknown = echo.is_name && echo.sent(call).is_some();
    is_served(call) || is_unknown && matches!(call.outcome, Outcome::Answered { .. })
}

/// Whether a server ended a stream as it may at any time, having said when to come back ("The server MAY close the SSE stream
/// at any time", <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server>).
pub(crate) fn is_polled(stream: &Exchange<'_>) -> bool {
    let says_retry = || stream.frames.iter().any(|(_, frame)| frame.retry.is_some());
    stream.end.is_some_and(|(_, end)| *end == End::Complete) && says_retry()
}

pub(crate) fn body_text(body: &Body) -> String {
    match body {
        Body::Json(value) => value.to_string(),
        Body::Text(text) => text.trim().to_owned(),
        Body::Long { length, .. } => format!("({length} bytes)"),
    }
}

pub(crate) fn end_text(end: &End) -> String {
    match end {
        End::Complete => "the stream ended".to_owned(),
        End::ClosedByClient => "the client closed it".to_owned(),
        End::Refused { why } => format!("no connection: {why}"),
        End::Cut { why } => format!("cut: {why}"),
        End::Malformed { why } => format!("not HTTP: {why}"),
        End::TimedOut { waiting_for, limit_ms } => format!("no {waiting_for} within {limit_ms} ms"),
    }
}

/// A result without what may differ from answer to answer: the order of tools ("SHOULD" be the same), and for how long it may be
/// kept.
pub(crate) fn in_order(mut result: Value) -> Value {
    if let Some(fields) = result.as_object_mut() {
        fields.remove("ttlMs");
    }
    if let Some(tools) = result.get_mut("tools") {
        *tools = tools_by_name(tools);
    }
    result
}

/// A list of tools in the order of their names.
pub(crate) fn tools_by_name(tools: &Value) -> Value {
    let mut tools = tools.as_array().cloned().unwrap_or_default();
    tools.sort_by_key(|tool| tool["name"].as_str().map(str::to_owned));
    Value::Array(tools)
}

pub(crate) fn without_meta(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "_meta")
            .map(|(key, field)| (key.clone(), without_meta(field)))
            .collect(),
        other => other.clone(),
    }
}
