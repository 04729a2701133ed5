//! Requests whose head is not what a client of the specification sends.

use harness::plan::Transport;
use harness::wire::{Raw, Session};
use proptest::prelude::*;
use proptest::sample::select;

/// One change of a request's head.
#[derive(Clone, Debug)]
pub(crate) enum Twist {
    /// Another method.
    Method(String),
    /// Another path.
    Path(String),
    /// Without this header.
    Without(&'static str),
    /// This header says this.
    With(&'static str, String),
    /// This header is so long.
    Long(&'static str, usize),
    /// The session's id is another one.
    Id(IdTwist),
}

/// How a session's id is made another one.
#[derive(Clone, Debug)]
pub(crate) enum IdTwist {
    /// Cut after this share of its length, of 256.
    Cut(u8),
    /// Another letter at this share of its length.
    Letter(u8, char),
    /// More of it.
    Longer(String),
    /// None of it left.
    Other(String),
    /// As the hub itself makes them, but made up.
    MadeUp,
}

const HEADERS: &[&str] = &[
    "accept",
    "content-type",
    "mcp-protocol-version",
    "last-event-id",
    "origin",
    "host",
    "connection",
    "hubcheck-forwarded",
    "mcp-method",
    "mcp-name",
    "content-encoding",
    "expect",
    "cookie",
    "x-forwarded-for",
];

const VALUES: &[&str] = &[
    "",
    "*/*",
    "text/plain",
    "text/event-stream",
    "application/json; charset=utf-16",
    "2024-11-05",
    "2025-03-26",
    "2026-07-28",
    "9999-99-99",
    "0",
    "-1",
    "1-1",
    "null",
    "http://evil.example",
    "hub:99999",
    "close",
    "mcp-session-id",
    "upgrade, content-type",
    "100-continue",
    "gzip",
    "tools/call",
    "=?base64?!!!?=",
];

// === strategies ===

pub(crate) fn twists() -> impl Strategy<Value = Twist> {
    let header = || select(HEADERS);
    prop_oneof![
        1 => prop_oneof![select(&["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "GET", "post"][..]).prop_map(str::to_owned), "[A-Z]{1,12}"]
            .prop_filter("ends a session", |method| !matches!(method.as_str(), "DELETE" | "CONNECT"))
            .prop_map(Twist::Method),
        1 => "/([a-z][a-z/.~?=&]{0,20})?".prop_map(Twist::Path),
        2 => header().prop_map(Twist::Without),
        4 => (header(), select(VALUES)).prop_map(|(header, value)| Twist::With(header, value.to_owned())),
        2 => (header(), "[ -~]{0,40}").prop_map(|(header, value)| Twist::With(header, value)),
        1 => (header(), 1000_usize..20_000).prop_map(|(header, length)| Twist::Long(header, length)),
        3 => ids().prop_map(Twist::Id),
    ]
}

fn ids() -> impl Strategy<Value = IdTwist> {
    let letter =
        || proptest::char::ranges(vec!['a'..='z', 'A'..='Z', '0'..='9', '-'..='-', '_'..='_'].into());
    prop_oneof![
        any::<u8>().prop_map(IdTwist::Cut),
        (any::<u8>(), letter()).prop_map(|(at, letter)| IdTwist::Letter(at, letter)),
        "[!-~]{1,300}".prop_map(IdTwist::Longer),
        "[!-~]{1,100}".prop_map(IdTwist::Other),
        Just(IdTwist::MadeUp),
    ]
}

// === impl Twist ===

impl Twist {
    /// The request, twisted; `None` when that leaves it as it is.
    pub(crate) fn of(&self, raw: Raw, session: &Session) -> Option<Raw> {
        match self {
            Twist::Method(method) => Some(Raw { method: method.clone(), ..raw }),
            Twist::Path(path) => Some(raw.to(path.clone())),
            Twist::Without(header) => Some(raw.without(header)),
            Twist::With(header, value) => Some(raw.with(header, value.clone())),
            Twist::Long(header, length) => Some(raw.with(header, "x".repeat(*length))),
            Twist::Id(twist) => {
                let old = session.id()?;
                let new = twist.of(session, old).filter(|new| new != old)?;
                match session.transport() {
                    Transport::Sse => {
                        // What would be another parameter of the query is none of this id.
                        let new =
                            new.replace(['&', '#', '%', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "_");
                        (new != old).then(|| raw.clone().to(raw.target.replace(old, &new)))
                    }
                    Transport::Streamable => Some(raw.with("mcp-session-id", new)),
                    Transport::Stateless => None,
                }
            }
        }
    }

    /// Whether the session that it names is not there, so that it must be refused.
    pub(crate) fn is_of_no_session(&self) -> bool {
        matches!(self, Twist::Id(_))
    }
}

impl IdTwist {
    fn of(&self, session: &Session, old: &str) -> Option<String> {
        let place = |share: u8| usize::from(share) * old.len() / 256;
        match self {
            IdTwist::Cut(share) => Some(old[..place(*share)].to_owned()),
            IdTwist::Letter(share, letter) => {
                let at = place(*share);
                Some(format!("{}{letter}{}", &old[..at], old.get(at + 1..).unwrap_or_default()))
            }
            IdTwist::Longer(more) => Some(format!("{old}{more}")),
            IdTwist::Other(other) => Some(other.clone()),
            IdTwist::MadeUp => session.made_up_id(),
        }
    }
}
