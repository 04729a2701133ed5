//! What became of JSON-RPC requests.

use std::time::Duration;

use serde_json::Value;
use url::{Position, Url};

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
    // A refusal is one whatever its body says: JSON-RPC wants the request's id in it. On HTTP+SSE the answer comes elsewhere.
    let own_body = carriers.iter().any(|carrier| carrier.id == exchange.id);
    let head = exchange.head.filter(|head| head.status >= 300);
    let refused = head.map(|head| Outcome::Refused { at: head.at, status: head.status });
    match (answers.first(), refused) {
        (None, Some(refused)) => return refused,
        (Some(_), Some(refused)) if own_body => return refused,
        (Some((at, _)), _) => return Outcome::Answered { at: *at },
        (None, None) => {}
    }
    let broken = |how: &&End| !matches!(how, End::ClosedByClient | End::TimedOut { .. });
    let own = exchange.end.filter(|(_, how)| broken(how));
    // A POST of HTTP+SSE ends well with its 202; it is the stream that must not end before the answer.
    let own = own.filter(|(_, how)| own_body || **how != End::Complete);
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

/// Whether an `endpoint` event's URI leads to this request target, from a stream of that one (RFC 3986).
pub(super) fn same_target(uri: &str, stream: &str, target: &str) -> bool {
    let base = Url::parse("http://hub").and_then(|host| host.join(stream));
    let resolved = base.and_then(|base| base.join(uri));
    resolved.is_ok_and(|url| &url[Position::BeforePath..Position::AfterQuery] == target)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::same_target;
    use crate::plan::Transport;
    use crate::transcript::history::{History, Outcome};
    use crate::transcript::{Entry, Header, Transcript, What};

    #[test]
    fn an_endpoint_is_resolved_as_clients_do() {
        for uri in
            ["/m?s=1", "m?s=1", "./m?s=1", "http://hub/m?s=1", "//hub/m?s=1", "/m?s=1#there", "../m?s=1"]
        {
            assert!(same_target(uri, "/sse", "/m?s=1"), "{uri}");
        }
        assert!(same_target("http://hub?s=1", "/sse", "/?s=1"));
        assert!(same_target("m?s=1", "/team/sse", "/team/m?s=1"));
        for uri in ["/m?s=2", "/x/m?s=1", "m"] {
            assert!(!same_target(uri, "/sse", "/m?s=1"), "{uri}");
        }
    }

    /// What a call over this transport came to whose POST got this status and, as its own body, an error with its id.
    fn outcome(status: u16) -> String {
        let whats = json!([
            { "kind": "request", "exchange": 1, "client": "a", "path": "service", "method": "POST", "target": "/mcp",
              "headers": [], "connection": "fresh",
              "body": { "json": { "jsonrpc": "2.0", "id": 1, "method": "tools/list" } } },
            { "kind": "head", "exchange": 1, "status": status, "headers": [["content-type", "application/json"]] },
            { "kind": "body", "exchange": 1,
              "body": { "json": { "jsonrpc": "2.0", "id": 1, "error": { "code": -32001, "message": "?" } } } },
            { "kind": "end", "exchange": 1, "how": { "end": "complete" } },
        ]);
        let whats: Vec<What> = serde_json::from_value(whats).unwrap();
        let entries = (1..).zip(whats).map(|(seq, what)| Entry { seq, at_us: u64::from(seq), what });
        let header = Header::made_by_hand("local", Some(Transport::Streamable));
        let transcript = Transcript { header, entries: entries.collect() };
        let history = History::new(&transcript);
        match &history.calls[0].outcome {
            Outcome::Answered { .. } => "answered".to_owned(),
            Outcome::Refused { status, .. } => format!("refused with {status}"),
            Outcome::Ended { .. } | Outcome::Silent => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_one_although_its_body_names_the_request() {
        assert_eq!(outcome(404), "refused with 404");
        assert_eq!(outcome(200), "answered");
    }

    /// How many calls are looked at when the scenario broke off so long after the only one was sent.
    fn looked_at(broke_off_after_ms: u64) -> usize {
        let request = json!({ "kind": "request", "exchange": 1, "client": "a", "path": "service", "method": "POST",
                              "target": "/mcp", "headers": [], "connection": "fresh",
                              "body": { "json": { "jsonrpc": "2.0", "id": 1, "method": "tools/list" } } });
        let broken = json!({ "kind": "broken", "reason": "not within 60 s" });
        let end = json!({ "kind": "end", "exchange": 1, "how": { "end": "closed-by-client" } });
        let at = broke_off_after_ms * 1000;
        let entries = [(1, 0, request), (2, at, broken), (3, at + 1, end)].map(|(seq, at_us, what)| Entry {
            seq,
            at_us,
            what: serde_json::from_value(what).unwrap(),
        });
        let header = Header::made_by_hand("local", Some(Transport::Stateless));
        let transcript = Transcript { header, entries: entries.into() };
        History::new(&transcript).calls.len()
    }

    #[test]
    fn who_is_no_longer_listened_to_was_not_silent() {
        assert_eq!(looked_at(1_000), 0);
        assert_eq!(looked_at(6_000), 1, "it had its time");
    }
}
