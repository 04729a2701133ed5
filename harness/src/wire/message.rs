//! How a session's JSON-RPC messages become HTTP requests, in each era. Pure.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::pending::Progress;
use super::{Dialect, Raw, stateless};
use crate::plan::Transport;

/// The version that a session of this era asks for.
pub(super) fn version(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "2024-11-05",
        Transport::Streamable => "2025-11-25",
        Transport::Stateless => stateless::VERSION,
    }
}

/// What a session says in every request.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) transport: Transport,
    pub(super) dialect: Arc<Dialect>,
    /// Where an HTTP+SSE session posts to.
    pub(super) endpoint: Option<Endpoint>,
    /// What `Mcp-Session-Id` says.
    pub(super) id: Option<String>,
    /// What `MCP-Protocol-Version` says, once it is negotiated.
    pub(super) version: Option<String>,
}

// === impl Voice ===

impl Voice {
    /// The voice of a session that has not begun.
    pub(super) fn new(transport: Transport, dialect: Arc<Dialect>) -> Self {
        Self { transport, dialect, endpoint: None, id: None, version: None }
    }

    /// A JSON-RPC request.
    pub(super) fn request(&self, number: u64, method: &str, params: Value, progress: Progress) -> Value {
        let token = matches!(progress, Progress::Asked).then_some(number);
        let head = json!({ "jsonrpc": "2.0", "id": number, "method": method });
        self.with_params(head, params, token)
    }

    /// A JSON-RPC notification.
    pub(super) fn notification(&self, method: &str, params: Value) -> Value {
        self.with_params(json!({ "jsonrpc": "2.0", "method": method }), params, None)
    }

    /// The POST that carries a message.
    pub(super) fn post(&self, message: &Value) -> Raw {
        let mut headers = vec![
            header("accept", "application/json, text/event-stream"),
            header("content-type", "application/json"),
        ];
        headers.extend(self.session_headers());
        if self.transport == Transport::Stateless {
            headers.extend(stateless::headers(message));
        }
        let target = match &self.endpoint {
            Some(endpoint) => endpoint.target().to_owned(),
            None => self.dialect.mcp_path.clone(),
        };
        Raw { headers, body: Bytes::from(message.to_string()), ..Raw::new("POST", target) }
    }

    /// The GET that opens the session's stream.
    pub(super) fn get(&self) -> Raw {
        let target = match self.transport {
            Transport::Sse => &self.dialect.sse_path,
            Transport::Streamable | Transport::Stateless => &self.dialect.mcp_path,
        };
        let mut headers = vec![header("accept", "text/event-stream")];
        headers.extend(self.session_headers());
        Raw { headers, ..Raw::new("GET", target) }
    }

    /// The DELETE that ends the session.
    pub(super) fn delete(&self) -> Raw {
        let headers = self.session_headers().collect();
        let target = self.dialect.mcp_path.clone();
        Raw { headers, ..Raw::new("DELETE", target) }
    }

    /// The session's id, wherever the era has it.
    pub(super) fn session_id(&self) -> Option<&str> {
        self.id.as_deref().or_else(|| self.endpoint.as_ref()?.id())
    }

    /// The voice of another session.
    pub(super) fn with_id(&self, id: String) -> Self {
        match &self.endpoint {
            Some(endpoint) => Self { endpoint: Some(endpoint.with_id(&id)), ..self.clone() },
            None => Self { id: Some(id), ..self.clone() },
        }
    }

    fn session_headers(&self) -> impl Iterator<Item = (String, String)> {
        let id = self.id.as_deref().map(|id| header("mcp-session-id", id));
        let version = self.version.as_deref().map(|version| header("mcp-protocol-version", version));
        id.into_iter().chain(version)
    }

    /// Adds the parameters, and to them the `_meta` that era and caller want; what the caller set wins.
    fn with_params(&self, mut message: Value, params: Value, token: Option<u64>) -> Value {
        let mut meta = Map::new();
        if let Some(token) = token {
            meta.insert("progressToken".to_owned(), token.into());
        }
        if self.transport == Transport::Stateless {
            meta.extend(stateless::meta());
        }
        let params = match params {
            Value::Null if meta.is_empty() => return message,
            Value::Null => json!({ "_meta": meta }),
            Value::Object(mut fields) if !meta.is_empty() => {
                if let Some(Value::Object(own)) = fields.remove("_meta") {
                    meta.extend(own);
                }
                fields.insert("_meta".to_owned(), meta.into());
                fields.into()
            }
            other => other,
        };
        message["params"] = params;
        message
    }
}

// === helpers ===

/// The parameters of `initialize`.
pub(super) fn initialize(transport: Transport) -> Value {
    initialize_asking(version(transport))
}

/// The parameters of an `initialize` that asks for this version.
pub fn initialize_asking(version: &str) -> Value {
    json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client_info() })
}

/// Who we say we are.
pub(super) fn client_info() -> Value {
    json!({ "name": "hubcheck", "version": env!("CARGO_PKG_VERSION") })
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(transport: Transport) -> Voice {
        Voice::new(transport, Arc::default())
    }

    #[test]
    fn parameters_stay_absent_when_there_are_none() {
        let message = voice(Transport::Sse).request(3, "ping", Value::Null, Progress::No);
        assert_eq!(message.to_string(), r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    }

    #[test]
    fn the_progress_token_is_the_request_s_id_and_other_meta_stays() {
        let params = json!({ "name": "count", "_meta": { "mine": 1 } });
        let message = voice(Transport::Streamable).request(7, "tools/call", params, Progress::Asked);
        assert_eq!(message["params"], json!({ "name": "count", "_meta": { "progressToken": 7, "mine": 1 } }));
    }

    #[test]
    fn a_stateless_request_says_who_asks_in_meta_and_headers() {
        let voice = voice(Transport::Stateless);
        let message =
            voice.request(1, "tools/call", json!({ "name": "echo", "arguments": {} }), Progress::No);
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        assert_eq!(message["params"]["_meta"], meta);
        let raw = voice.post(&message);
        let headers: Vec<_> = raw.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            headers,
            [
                "accept: application/json, text/event-stream",
                "content-type: application/json",
                "mcp-protocol-version: 2026-07-28",
                "mcp-method: tools/call",
                "mcp-name: echo",
            ]
        );
    }

    #[test]
    fn a_session_says_its_id_and_version() {
        let mut voice = voice(Transport::Streamable);
        voice.id = Some("abc".to_owned());
        voice.version = Some("2025-06-18".to_owned());
        let expected = [header("mcp-session-id", "abc"), header("mcp-protocol-version", "2025-06-18")];
        assert_eq!(voice.delete().headers, expected);
        assert_eq!(voice.post(&json!({})).headers[2..], expected);
        assert_eq!(voice.get().headers[1..], expected);
        assert_eq!(voice.with_id("x".to_owned()).session_id(), Some("x"));
    }
}
