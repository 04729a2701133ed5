//! Bodies that a client may post, most of which it should not.

use harness::plan::Transport;
use harness::wire::{Raw, Session, initialize_asking};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A body.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Any JSON.
    Json(Value),
    /// A message, changed.
    Message(Base, Vec<Change>),
}

/// What a message is before it is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Ping,
    Echo,
    Tally,
    List,
    UnknownMethod,
    UnknownTool,
    Initialize,
    Initialized,
    Cancelled,
    Progress,
    Answer,
    Error,
}

/// How a message is changed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Without this field.
    Drop(&'static str),
    /// This in its place.
    Put(&'static str, Value),
    /// So deep in arrays or objects.
    Nest(&'static str, u16),
    /// With so long a text.
    Pad(u32),
    /// So often in an array.
    Batch(u8),
    /// As text: cut at this share of its length, of 256.
    Cut(u8),
    /// As text: another byte at this share of its length.
    Byte(u8, u8),
    /// As text: the first field twice.
    Twice,
}

const BASES: &[Base] = &[
    Base::Ping,
    Base::Echo,
    Base::Tally,
    Base::List,
    Base::UnknownMethod,
    Base::UnknownTool,
    Base::Initialize,
    Base::Initialized,
    Base::Cancelled,
    Base::Progress,
    Base::Answer,
    Base::Error,
];

const FIELDS: &[&str] =
    &["jsonrpc", "id", "method", "params", "result", "error", "_meta", "name", "arguments"];

// === strategies ===

pub(crate) fn posts() -> impl Strategy<Value = Post> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..60).prop_map(Post::Bytes),
        1 => "\\PC{0,40}".prop_map(|text| Post::Bytes(text.into_bytes())),
        2 => values().prop_map(Post::Json),
        2 => vec((fields(), values()), 0..6)
            .prop_map(|fields| Post::Json(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        6 => (bases(), vec(changes(), 0..4)).prop_map(|(base, changes)| Post::Message(base, changes)),
    ]
}

fn bases() -> impl Strategy<Value = Base> {
    proptest::sample::select(BASES)
}

fn fields() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(FIELDS)
}

/// Small JSON values; among them what JSON-RPC itself says.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        proptest::sample::select(&["2.0", "1.0", "ping", "tools/call", "tools/list", "echo"][..])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((prop_oneof![fields().prop_map(str::to_owned), "\\PC{0,6}"], inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => fields().prop_map(Change::Drop),
        6 => (fields(), values()).prop_map(|(field, value)| Change::Put(field, value)),
        1 => (fields(), 1_u16..300).prop_map(|(field, depth)| Change::Nest(field, depth)),
        1 => (0_u32..200_000).prop_map(Change::Pad),
        1 => (0_u8..5).prop_map(Change::Batch),
        2 => any::<u8>().prop_map(Change::Cut),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => Just(Change::Twice),
    ]
}

// === impl Post ===

impl Post {
    /// The POST of a session that carries it, as the `nth` step.
    pub(crate) fn raw(&self, session: &Session, nth: usize) -> Raw {
        match self {
            Post::Bytes(bytes) => session.raw("ping", Value::Null).carrying(bytes.clone()),
            Post::Json(value) => {
                let value = with_own_ids(value.clone(), nth);
                session.raw("ping", Value::Null).carrying(value.to_string())
            }
            Post::Message(base, changes) => changed(base.raw(session, nth), changes, nth),
        }
    }
}

impl Base {
    fn raw(self, session: &Session, nth: usize) -> Raw {
        let call = |tool: &str, arguments: Value| {
            session.raw("tools/call", json!({ "name": tool, "arguments": arguments }))
        };
        let id = own_id(nth);
        match self {
            Base::Ping => session.raw("ping", Value::Null),
            Base::Echo => call("echo", json!({ "text": format!("post {nth}") })),
            Base::Tally => call("tally", json!({ "key": format!("post {nth}") })),
            Base::List => session.raw("tools/list", json!({})),
            Base::UnknownMethod => session.raw("no/such/method", json!({ "a": [1] })),
            Base::UnknownTool => call("no such tool", json!({})),
            Base::Initialize => session.raw("initialize", initialize_asking(version(session.transport()))),
            Base::Initialized => session.raw_notification("notifications/initialized", Value::Null),
            Base::Cancelled => {
                session.raw_notification("notifications/cancelled", json!({ "requestId": id }))
            }
            Base::Progress => {
                let progress = json!({ "progressToken": id, "progress": 1 });
                session.raw_notification("notifications/progress", progress)
            }
            Base::Answer => session
                .raw("ping", Value::Null)
                .carrying(json!({ "jsonrpc": "2.0", "id": id, "result": {} }).to_string()),
            Base::Error => session.raw("ping", Value::Null).carrying(
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "no" } }).to_string(),
            ),
        }
    }
}

fn version(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "2024-11-05",
        Transport::Streamable => "2025-11-25",
        Transport::Stateless => "2026-07-28",
    }
}

// === changing ===

fn changed(raw: Raw, changes: &[Change], nth: usize) -> Raw {
    let Ok(mut message) = serde_json::from_slice::<Value>(&raw.body) else { return raw };
    for change in changes {
        message = change.of_value(message, nth);
    }
    let mut text = message.to_string().into_bytes();
    for change in changes {
        text = change.of_text(text);
    }
    raw.carrying(text)
}

impl Change {
    fn of_value(&self, mut message: Value, nth: usize) -> Value {
        match self {
            Change::Drop(field) => {
                if let Some(fields) = place_of(&mut message, field) {
                    fields.remove(*field);
                }
                message
            }
            Change::Put(field, value) => {
                let value = if *field == "id" { own(value.clone(), nth) } else { value.clone() };
                put(message, field, value)
            }
            Change::Nest(field, depth) => {
                let deep = (0..*depth).fold(json!(1), |inner, level| {
                    if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
                });
                put(message, field, deep)
            }
            Change::Pad(length) => {
                put(message, "_meta", json!({ "padding": "x".repeat(usize::try_from(*length).unwrap_or(0)) }))
            }
            // Each message of a batch has an id of its own, unless that is what is odd about it.
            Change::Batch(count) => (0..*count)
                .map(|which| {
                    let mut message = message.clone();
                    if let Some(id) = message.get_mut("id").filter(|id| id.is_number()) {
                        *id = json!(own_id(nth) + 1 + u64::from(which));
                    }
                    message
                })
                .collect(),
            Change::Cut(_) | Change::Byte(..) | Change::Twice => message,
        }
    }

    fn of_text(&self, mut text: Vec<u8>) -> Vec<u8> {
        let place = |share: u8, length: usize| usize::from(share) * length / 256;
        match self {
            Change::Cut(share) => text.truncate(place(*share, text.len())),
            Change::Byte(share, byte) => {
                let at = place(*share, text.len());
                // An id stays this message's own, and `-0` is 0 to a hub.
                if let Some(there) = text.get_mut(at).filter(|there| !there.is_ascii_digit()) {
                    *there = *byte;
                }
            }
            Change::Twice => {
                if let Some(end) = text.iter().position(|byte| *byte == b',') {
                    let first = text[..=end].to_vec();
                    text.splice(1..1, first.into_iter().skip(1));
                }
            }
            _ => {}
        }
        text
    }
}

/// Where a message has a field: `name`, `arguments` and `_meta` are among the parameters.
fn place_of<'m>(message: &'m mut Value, field: &str) -> Option<&'m mut Map<String, Value>> {
    let fields = message.as_object_mut()?;
    let is_parameter = matches!(field, "name" | "arguments" | "_meta");
    if is_parameter && fields.get("params").is_some_and(Value::is_object) {
        return fields.get_mut("params")?.as_object_mut();
    }
    Some(fields)
}

fn put(mut message: Value, field: &str, value: Value) -> Value {
    if let Some(fields) = place_of(&mut message, field) {
        fields.insert(field.to_owned(), value);
    }
    message
}

// === ids ===

/// The id of an odd message: no other message of its session has it, so that whose an answer is can be told. One digit more or
/// less does not make it another one's.
fn own_id(nth: usize) -> u64 {
    1_000_003 + 7_654_321 * nth as u64
}

/// The same kind of id, but this message's own.
fn own(id: Value, nth: usize) -> Value {
    match id {
        Value::Number(number) if number.is_f64() => json!(own_id(nth) as f64 + 0.5),
        Value::Number(number) if number.is_i64() && number.as_u64().is_none() => {
            json!(-(i64::try_from(own_id(nth)).unwrap_or(1)))
        }
        Value::Number(_) => json!(own_id(nth)),
        Value::String(text) => json!(format!("{nth} {text}")),
        other => other,
    }
}

/// The same JSON, in which whatever may be read as a message has an id of its own.
fn with_own_ids(value: Value, nth: usize) -> Value {
    match value {
        Value::Object(mut fields) => {
            if let Some(id) = fields.get_mut("id") {
                *id = own(id.take(), nth);
            }
            Value::Object(fields)
        }
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(which, item)| with_own_ids(item, nth + 1000 * (which + 1)))
            .collect(),
        other => other,
    }
}
