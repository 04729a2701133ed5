//! What findings of every family say of calls and their outcomes.

use harness::transcript::history::{Call, History, Outcome};
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
            format!("{status} {}", body.unwrap_or_default())
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
    match call.answers.first().and_then(|(_, answer)| answer.get("error")) {
        Some(error) => format!("the error {error}"),
        None => outcome_text(history, call),
    }
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
