//! HTTP exchanges, gathered from the entries that belong to each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{At, Exchange, Head};
use crate::transcript::{Body, Entry, ExchangeId, Path, Request, What};

/// Gathers every exchange of a transcript.
pub(super) fn exchanges(entries: &[Entry]) -> BTreeMap<ExchangeId, Exchange<'_>> {
    let mut exchanges: BTreeMap<ExchangeId, Exchange<'_>> = BTreeMap::new();
    let mut routed: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for entry in entries {
        let at = entry.place();
        match &entry.what {
            What::Request(request) => {
                let replica = match &request.path {
                    Path::Replica(name) => Some(name.as_str()),
                    Path::Service => None,
                };
                let exchange = Exchange {
                    id: request.exchange,
                    at,
                    request,
                    from: None,
                    replica,
                    head: None,
                    frames: Vec::new(),
                    body: None,
                    end: None,
                };
                exchanges.insert(request.exchange, exchange);
            }
            What::Connected { exchange, from } => {
                if let Some(exchange) = exchanges.get_mut(exchange) {
                    exchange.from = Some(*from);
                }
            }
            What::Head { exchange, status, headers } => {
                if let Some(exchange) = exchanges.get_mut(exchange) {
                    exchange.head = Some(Head { at, status: *status, headers });
                }
            }
            What::Frame { exchange, frame } => {
                if let Some(exchange) = exchanges.get_mut(exchange) {
                    exchange.frames.push((at, frame));
                }
            }
            What::Body { exchange, body } => {
                if let Some(exchange) = exchanges.get_mut(exchange) {
                    exchange.body = Some((at, body));
                }
            }
            What::End { exchange, how } => {
                if let Some(exchange) = exchanges.get_mut(exchange) {
                    exchange.end = Some((at, how));
                }
            }
            What::Routed { from, replica } => {
                routed.insert(*from, replica);
            }
            _ => {}
        }
    }
    for exchange in exchanges.values_mut() {
        if exchange.replica.is_none() {
            exchange.replica = exchange.from.and_then(|from| routed.get(&from).copied());
        }
    }
    exchanges
}

// === impl Exchange ===

impl<'t> Exchange<'t> {
    /// Whether the answer is an event stream.
    pub fn is_event_stream(&self) -> bool {
        self.head.is_some_and(|head| {
            head.header("content-type").is_some_and(|value| media_type(value) == "text/event-stream")
        })
    }

    /// The data of the `endpoint` event, when this is an HTTP+SSE stream that sent it.
    pub fn endpoint(&self) -> Option<&'t str> {
        self.frames
            .iter()
            .find(|(_, frame)| frame.event_type() == "endpoint")
            .and_then(|(_, frame)| frame.data.as_deref())
    }

    /// The JSON-RPC messages that came, with their places. What answers a DELETE is HTTP alone, whatever its body.
    pub fn messages(&self) -> Vec<(At, Value)> {
        if self.request.method == "DELETE" {
            return Vec::new();
        }
        let framed = self
            .frames
            .iter()
            .filter(|(_, frame)| frame.event_type() == "message")
            .filter_map(|(at, frame)| Some((*at, serde_json::from_str(frame.data.as_deref()?).ok()?)));
        let whole = self.body.iter().filter_map(|(at, body)| Some((*at, body.json()?.clone())));
        framed
            .chain(whole)
            .flat_map(|(at, message)| match message {
                Value::Array(batch) => batch.into_iter().map(|message| (at, message)).collect(),
                message => vec![(at, message)],
            })
            .collect()
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> Option<u16> {
        self.head.map(|head| head.status)
    }

    /// The media type of the answer in lower case, without parameters.
    pub fn media_type(&self) -> Option<String> {
        self.head.and_then(|head| head.header("content-type").map(media_type))
    }

    /// How long the head of the answer took.
    pub fn head_took(&self) -> Option<Duration> {
        self.head.map(|head| self.at.until(head.at))
    }
}

impl<'t> Head<'t> {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&'t str> {
        find_header(self.headers, name)
    }
}

impl Request {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// Where it is sent to.
    pub fn url(&self) -> Option<Url> {
        let scheme = if self.tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}{}", self.header("host")?, self.target)).ok()
    }

    /// The JSON-RPC message it carries.
    pub fn message(&self) -> Option<&Value> {
        self.body.as_ref().and_then(Body::json)
    }

    /// The JSON-RPC messages it carries: one, or those of a batch.
    pub fn messages(&self) -> impl Iterator<Item = &Value> {
        let (batch, one) = match self.message() {
            Some(Value::Array(batch)) => (batch.as_slice(), None),
            one => (&[] as &[Value], one),
        };
        batch.iter().chain(one)
    }
}

// === helpers ===

pub(super) fn find_header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}
