//! What became of JSON-RPC requests.

use std::time::Duration;

use serde_json::Value;

use super::{At, Call, Exchange, Outcome};
use crate::transcript::End;

// === impl Call ===

impl Call<'_> {
    /// The result, when it was answered with one.
    pub fn result(&self) -> Option<&Value> {
        self.answers.first().and_then(|(_, message)| message.get("result"))
    }

    /// The text of the first content item of a tool's result.
    pub fn text(&self) -> Option<&str> {
        self.result()?.get("content")?.get(0)?.get("text")?.as_str()
    }

    /// The tool that it calls.
    pub fn tool(&self) -> Option<&str> {
        (self.method == "tools/call").then(|| self.params.get("name")?.as_str()).flatten()
    }

    /// An argument of the tool that it calls.
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.params.get("arguments")?.get(name)
    }

    /// How long the tool was asked to hold the call.
    pub fn held(&self) -> Duration {
        let ms = ["hold_ms", "ms"].iter().find_map(|name| self.argument(name)?.as_u64());
        Duration::from_millis(ms.unwrap_or(0))
    }

    /// How long its outcome took; `None` when there was none.
    pub fn took(&self) -> Option<Duration> {
        let at = self.outcome.at()?;
        Some(Duration::from_micros(at.us.saturating_sub(self.sent.us)))
    }
}

impl Outcome<'_> {
    /// When it came; `None` for silence.
    pub fn at(&self) -> Option<At> {
        match self {
            Outcome::Answered { at } | Outcome::Refused { at, .. } | Outcome::Ended { at, .. } => Some(*at),
            Outcome::Silent => None,
        }
    }
}

// === reading ===

/// What became of a request first.
pub(super) fn outcome<'t>(
    exchange: &Exchange<'t>,
    carriers: &[&Exchange<'t>],
    answers: &[(At, Value)],
) -> Outcome<'t> {
    if let Some((at, _)) = answers.first() {
        return Outcome::Answered { at: *at };
    }
    if let Some(head) = exchange.head.filter(|head| head.status >= 300) {
        return Outcome::Refused { at: head.at, status: head.status };
    }
    let broken = |how: &&End| !matches!(how, End::ClosedByClient | End::TimedOut { .. });
    let own = exchange.end.filter(|(_, how)| broken(how));
    // A POST of HTTP+SSE ends well with its 202; it is the stream that must not end before the answer.
    let accepted_elsewhere = !carriers.iter().any(|carrier| carrier.id == exchange.id);
    let own = own.filter(|(_, how)| !(accepted_elsewhere && **how == End::Complete));
    let streams = carriers.iter().filter(|carrier| carrier.id != exchange.id);
    let ended = streams.filter_map(|stream| stream.end.filter(|(_, how)| broken(how)));
    match own.into_iter().chain(ended).min_by_key(|(at, _)| *at) {
        Some((at, how)) => Outcome::Ended { at: at.max(exchange.at), how },
        None => Outcome::Silent,
    }
}

/// Whether a message answers the request of this id.
pub(super) fn is_answer_to(message: &Value, id: &Value) -> bool {
    message.get("id") == Some(id)
        && message.get("method").is_none()
        && (message.get("result").is_some() || message.get("error").is_some())
}

/// Whether a message tells of progress of the request of this id.
pub(super) fn is_progress_of(message: &Value, token: &Value) -> bool {
    message.get("method").and_then(Value::as_str) == Some("notifications/progress")
        && message.get("params").and_then(|params| params.get("progressToken")) == Some(token)
}

/// Whether an `endpoint` event's URI leads to this request target.
pub(super) fn same_target(uri: &str, target: &str) -> bool {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => uri,
    };
    target == path || (!path.starts_with('/') && target.ends_with(path))
}
