//! What stands between a client and the hub, read off the survey's transcript. Pure: entries in, a diagnosis out.
//!
//! A wrong hint costs more than none. A diagnosis that several causes explain is confirmed by an experiment of the survey first
//! ([`LOCAL_HOST`], [`PREFIXED`]), which is in the transcript like any other request.

mod answer;
mod behaviour;
mod detour;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::check::{Finding, HUB_CONTRACT, Level, Verdict};
use crate::plan::Transport;
use crate::transcript::history::{Exchange, History};
use crate::transcript::{Body, End};

/// The name of a request that calls the hub by a local name: is it the `Host` that the hub refuses?
pub(super) const LOCAL_HOST: &str = "by a local name";

/// The name of a request to the endpoint below the prefix of the stream's path: did a proxy take the prefix away?
pub(super) const PREFIXED: &str = "below the prefix";

pub(super) use behaviour::{AFTER, BESIDE, EARLY, delete_hangs, delete_is_silent, hangs};
pub(super) use detour::prefixes;

/// The obstacle of a session that its only replica does not know.
pub(super) const FORGOTTEN: &str = "session-forgotten";

/// How many characters of a body or header are quoted.
const QUOTED: usize = 160;

/// A rule of the survey.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// What reports call it, in the place of a scenario.
    pub(crate) scenario: &'static str,
    /// The rule's sentence.
    pub(crate) sentence: &'static str,
    /// Where it stands.
    pub(crate) source: &'static str,
    /// How much it weighs.
    pub(crate) level: Level,
}

/// The way to the hub is open.
pub(crate) const USABLE: Rule = Rule {
    scenario: "survey/usable",
    sentence: "A client must be able to open a session with the hub.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// What stands in the way, with what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// A name for it, which reports carry as the check's id.
    pub(crate) id: &'static str,
    /// The rule that it breaks.
    pub(crate) rule: &'static Rule,
    /// What kind of obstacle it is.
    pub(crate) kind: Kind,
    /// What had to be.
    pub(crate) expected: String,
    /// What was seen.
    pub(crate) seen: String,
    /// The line that mends it.
    pub(crate) remedy: String,
    /// The entry that shows it.
    pub(crate) at: Option<u32>,
    /// Whether the hub had begun to speak this transport: then it is offered, and broken.
    pub(crate) has_begun: bool,
}

/// What an obstacle means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nothing listens at this address.
    Unreachable,
    /// There is no MCP at this path: another path, or another transport, may have it.
    Elsewhere,
    /// It may pass while the hub starts: 5xx, silence, a connection that breaks.
    Passing,
    /// The hub limits requests, and said after how many seconds to come back, if it did.
    Limited(Option<u64>),
    /// It stays until somebody mends it.
    Lasting,
}

/// What the survey knows beside the transcript.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The client that looked.
    pub(crate) client: &'a str,
    /// The transport that it spoke.
    pub(crate) transport: Transport,
    /// After which entry its latest try began.
    pub(crate) since: u32,
    /// Whether there is exactly one replica, so that no session can stray.
    pub(crate) is_alone: bool,
    /// Whether the user gave the address (`--url`).
    pub(crate) is_url: bool,
}

/// What stood in the way of the latest try; `None` when nothing that can be named did.
pub(crate) fn obstacle(history: &History<'_>, asked: Asked<'_>) -> Option<Obstacle> {
    let own = own(history, asked);
    let has_begun = own.iter().any(|exchange| begins(exchange));
    let misled = detour::endpoint(&own, asked);
    let found = misled.or_else(|| own.iter().find_map(|exchange| judged(exchange, &own, asked)))?;
    Some(Obstacle { has_begun: has_begun || found.has_begun, ..found })
}

/// Something stood in the way that has no name here.
pub(super) fn unclear(outcome: &str) -> Obstacle {
    Obstacle {
        id: "unclear",
        rule: &USABLE,
        kind: Kind::Elsewhere,
        expected: "an MCP session".to_owned(),
        seen: outcome.to_owned(),
        remedy: "read what was sent and what came in the survey's transcript, `survey.jsonl`".to_owned(),
        at: None,
        has_begun: false,
    }
}

/// What is wrong with the endpoint of an HTTP+SSE stream, whatever came of the rest: clients refuse another origin.
pub(crate) fn foreign_endpoint(history: &History<'_>, asked: Asked<'_>) -> Option<Obstacle> {
    detour::foreign(&own(history, asked), asked)
}

/// The exchanges of the latest try, in order.
fn own<'h, 't>(history: &'h History<'t>, asked: Asked<'_>) -> Vec<&'h Exchange<'t>> {
    let is_own = |exchange: &&Exchange<'_>| {
        exchange.request.client == asked.client
            && exchange.at.seq > asked.since
            && exchange.request.method != "DELETE"
    };
    history.exchanges.values().filter(is_own).collect()
}

/// Whether a session was begun by this: an `endpoint` event, or an agreed version.
fn begins(exchange: &Exchange<'_>) -> bool {
    let agrees = |(_, message): &(_, Value)| message["result"]["protocolVersion"].is_string();
    exchange.endpoint().is_some() || exchange.messages().iter().any(agrees)
}

/// What is wrong with one exchange, if anything is.
fn judged(exchange: &Exchange<'_>, own: &[&Exchange<'_>], asked: Asked<'_>) -> Option<Obstacle> {
    if exchange.request.probe.is_some() {
        return None;
    }
    let Some(head) = exchange.head else { return Some(without_head(exchange, asked)) };
    if !(200..300).contains(&head.status) {
        return Some(answer::refused(exchange, own, asked));
    }
    let is_stream = asked.transport == Transport::Sse && exchange.request.method == "GET";
    if is_stream {
        return exchange.endpoint().is_none().then(|| answer::without_endpoint(exchange, asked));
    }
    let id = exchange.request.message().and_then(|message| message.get("id"))?;
    let is_answered = own.iter().any(|other| {
        let is_carrier =
            other.id == exchange.id || (asked.transport == Transport::Sse && other.endpoint().is_some());
        is_carrier && has_answer(other, id, exchange.at.seq)
    });
    (!is_answered).then(|| answer::without_answer(exchange, asked))
}

/// Whether the answer to this id came in an exchange, after an entry.
fn has_answer(exchange: &Exchange<'_>, id: &Value, since: u32) -> bool {
    let is_answer = |message: &Value| {
        message.get("id") == Some(id) && (message.get("result").is_some() || message.get("error").is_some())
    };
    exchange.messages().iter().any(|(at, message)| at.seq > since && is_answer(message))
}

/// No head of an answer came.
fn without_head(exchange: &Exchange<'_>, asked: Asked<'_>) -> Obstacle {
    let new = |id, kind, seen: String, remedy: &str| Obstacle::new(id, kind, exchange, seen, remedy);
    let request = named(exchange);
    let tls = exchange.request.tls;
    let address = exchange.request.header("host").unwrap_or("the address").to_owned();
    match exchange.end.map(|(_, end)| end) {
        Some(End::Refused { why }) if why.starts_with("tls: ") => new(
            "tls-fails",
            Kind::Lasting,
            format!("the TLS handshake with {address} failed: {why}"),
            "where the server speaks plain HTTP, write `http://` in `--url`; else give it a certificate that this machine trusts",
        ),
        Some(End::Refused { why }) => new(
            "unreachable",
            Kind::Unreachable,
            format!("no connection to {address}: {why}"),
            "check the address and the port, and that the hub runs",
        ),
        Some(End::TimedOut { waiting_for, limit_ms }) if waiting_for == "connect" => new(
            "unreachable",
            Kind::Unreachable,
            format!("no connection to {address} within {limit_ms} ms"),
            "check the address and the port; a firewall drops packets without a word",
        ),
        Some(End::TimedOut { limit_ms, .. }) => new(
            "silence",
            Kind::Passing,
            format!("{request} was not answered within {limit_ms} ms"),
            "hub: answer every request; its log says what it waits for. A slow start needs a longer `--ready-timeout`",
        ),
        Some(End::Malformed { why }) if !tls => new(
            "not-http",
            Kind::Lasting,
            format!("what came for {request} is not HTTP: {why}"),
            if asked.is_url {
                "where the server speaks TLS, write `https://` in `--url`"
            } else {
                "hub: speak HTTP/1.1 on this port"
            },
        ),
        Some(End::Cut { why } | End::Malformed { why }) => new(
            "connection-broken",
            Kind::Passing,
            format!("the connection broke before {request} was answered: {why}"),
            "the log of the hub, or of the proxy in front of it, says who closed the connection",
        ),
        Some(End::Complete | End::ClosedByClient) | None => new(
            "silence",
            Kind::Passing,
            format!("{request} was not answered"),
            "hub: answer every request; its log says what it waits for",
        ),
    }
}

// === impl Obstacle ===

impl Obstacle {
    pub(super) fn new(
        id: &'static str,
        kind: Kind,
        exchange: &Exchange<'_>,
        seen: String,
        remedy: impl Into<String>,
    ) -> Self {
        let at = exchange.head.map_or(exchange.at.seq, |head| head.at.seq);
        Self {
            id,
            rule: &USABLE,
            kind,
            expected: "an MCP session".to_owned(),
            seen,
            remedy: remedy.into(),
            at: Some(at),
            has_begun: false,
        }
    }

    /// The same, of a hub that had begun to speak the transport.
    fn begun(self) -> Self {
        Self { has_begun: true, ..self }
    }

    /// How much it says about what is wrong: of several obstacles the weightiest is told.
    pub(super) fn weight(&self) -> (bool, Kind) {
        (self.has_begun, self.kind)
    }

    /// As a finding of the survey.
    pub(super) fn finding(&self) -> Finding {
        Finding {
            check: self.id.to_owned(),
            verdict: Verdict::Fail,
            level: Some(self.rule.level),
            requirement: self.rule.sentence.to_owned(),
            source: self.rule.source.to_owned(),
            expected: self.expected.clone(),
            actual: self.seen.clone(),
            at: self.at,
            remedy: self.remedy.clone(),
            cause: None,
        }
    }
}

// === helpers ===

/// `GET /sse`, or `POST /mcp (initialize)`.
fn named(exchange: &Exchange<'_>) -> String {
    let request = exchange.request;
    let method = request.message().and_then(|message| message["method"].as_str());
    let method = method.map(|method| format!(" ({method})")).unwrap_or_default();
    let path = request.target.split('?').next().unwrap_or_default();
    format!("`{} {path}`{method}", request.method)
}

/// A text in one line of bearable length.
fn quoted(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// The text of a body, as far as it was kept.
fn text_of(exchange: &Exchange<'_>) -> String {
    match exchange.body.map(|(_, body)| body) {
        Some(Body::Json(value)) => value.to_string(),
        Some(Body::Text(text)) => text.clone(),
        Some(Body::Long { beginning, .. }) => beginning.clone(),
        None => String::new(),
    }
}
