//! The stateless era, revision 2026-07-28: no session, and every request says all there is to say about itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::message::{self, Voice};
use super::session::Session;
use super::{Client, inbox::Inbox};
use crate::plan::Transport;

/// The revision of this era.
pub(super) const VERSION: &str = "2026-07-28";

/// A conversation: no exchange is needed for it.
pub(super) fn open(client: &Client) -> Session {
    let voice = Voice::new(Transport::Stateless, client.inner.dialect.clone());
    let (inbox, _asked) = Inbox::new();
    Session::begin(client, voice, inbox)
}

/// The keys that every request carries in `_meta`.
pub(super) fn meta() -> Map<String, Value> {
    let entries = [
        ("io.modelcontextprotocol/protocolVersion", json!(VERSION)),
        ("io.modelcontextprotocol/clientInfo", message::client_info()),
        ("io.modelcontextprotocol/clientCapabilities", json!({})),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The headers that mirror a message.
pub(super) fn headers(message: &Value) -> Vec<(String, String)> {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    // What the message itself says of its version, so that both always agree.
    let version = params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str().unwrap_or(VERSION);
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    let mut headers = vec![
        ("mcp-protocol-version".to_owned(), version.to_owned()),
        ("mcp-method".to_owned(), method.to_owned()),
    ];
    headers.extend(name.map(|name| ("mcp-name".to_owned(), encoded(name))));
    headers
}

/// The value as it is, or in Base64 when a header cannot carry it or it looks as if it were in Base64.
fn encoded(value: &str) -> String {
    let is_readable = value.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
    let is_padded = value.starts_with(' ') || value.ends_with(' ');
    let looks_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    if is_readable && !is_padded && !looks_encoded { value.to_owned() } else { in_base64(value) }
}

/// The value in Base64, as a header carries what it could not carry as it is.
pub fn in_base64(value: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_the_specification_s_examples_are() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encoded(value), header, "{value:?}");
        }
    }

    #[test]
    fn the_name_comes_from_where_the_method_has_it() {
        for (method, params, name) in [
            ("tools/call", json!({ "name": "echo" }), Some("echo")),
            ("prompts/get", json!({ "name": "greet" }), Some("greet")),
            ("resources/read", json!({ "uri": "file:///x" }), Some("file:///x")),
            ("tools/list", json!({ "name": "echo" }), None),
        ] {
            let headers = headers(&json!({ "method": method, "params": params }));
            let found = headers.iter().find(|(known, _)| known == "mcp-name");
            assert_eq!(found.map(|(_, value)| value.as_str()), name, "{method}");
        }
    }
}
