//! Which SDK a hub is built on, read off the words in which it refuses an unknown session, and how sessions are made any replica's with
//! it. Pure.

use crate::transcript::Body;
use crate::transcript::history::Exchange;

/// An SDK whose refusals are known: see the tests, which have them as they came over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sdk {
    /// PyPI `mcp` and `fastmcp`, which is built on it.
    Python,
    /// npm `@modelcontextprotocol/sdk`.
    TypeScript,
}

impl Sdk {
    /// The SDK that this refusal comes from, where its words say so.
    pub(super) fn of(refusal: &Exchange<'_>) -> Option<Self> {
        let (_, body) = refusal.body?;
        let header = |name| refusal.head.and_then(|head| head.header(name)).unwrap_or_default();
        let (code, message) = match body {
            Body::Json(error) => (error["error"]["code"].as_i64(), error["error"]["message"].as_str()),
            Body::Text(text) => (None, Some(text.as_str())),
            Body::Long { .. } => return None,
        };
        match (code, message?) {
            (None, "Could not find session") | (Some(-32600), "Session not found")
                if header("server").starts_with("uvicorn") =>
            {
                Some(Sdk::Python)
            }
            (Some(-32001), "Session not found") => Some(Sdk::TypeScript),
            // The SDK's own examples say so of an id that their map does not have.
            (Some(-32000), said)
                if said.contains("No valid session ID") && header("x-powered-by") == "Express" =>
            {
                Some(Sdk::TypeScript)
            }
            _ => None,
        }
    }

    /// How any replica can serve every request, and what that costs.
    pub(super) fn without_sessions(self) -> &'static str {
        match self {
            Sdk::Python => {
                "serve Streamable HTTP without sessions, with FastMCP `mcp.run(transport=\"http\", stateless_http=True)` (costs the \
                 server-to-client stream, sampling and elicitation)"
            }
            Sdk::TypeScript => {
                "serve Streamable HTTP without sessions, a `new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })` for \
                 each request (costs the server-to-client stream, sampling and elicitation)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Transport;
    use crate::transcript::history::History;
    use crate::transcript::{Entry, Header, Transcript, What};

    fn sdk(headers: Value, body: Value) -> Option<Sdk> {
        let whats = [
            json!({
                "kind": "request", "exchange": 1, "client": "c", "path": "service", "method": "POST", "target": "/mcp",
                "headers": [], "connection": "fresh",
            }),
            json!({ "kind": "head", "exchange": 1, "status": 404, "headers": headers }),
            json!({ "kind": "body", "exchange": 1, "body": body }),
            json!({ "kind": "end", "exchange": 1, "how": { "end": "complete" } }),
        ];
        let whats = whats.into_iter().map(|what| serde_json::from_value::<What>(what).unwrap());
        let entries = (1..).zip(whats).map(|(seq, what)| Entry { seq, at_us: u64::from(seq), what });
        let header = Header::made_by_hand("local", Some(Transport::Streamable));
        let transcript = Transcript { header, entries: entries.collect() };
        let history = History::new(&transcript);
        history.exchanges.values().next().and_then(Sdk::of)
    }

    #[test]
    fn an_sdk_is_known_by_its_own_words() {
        let uvicorn = || json!([["server", "uvicorn"]]);
        assert_eq!(sdk(uvicorn(), json!({ "text": "Could not find session" })), Some(Sdk::Python));
        let error = |code: i64, message: &str| json!({ "json": { "jsonrpc": "2.0", "id": "server-error", "error": { "code": code, "message": message } } });
        assert_eq!(sdk(uvicorn(), error(-32600, "Session not found")), Some(Sdk::Python));
        assert_eq!(sdk(json!([]), error(-32001, "Session not found")), Some(Sdk::TypeScript));
        let express = json!([["x-powered-by", "Express"]]);
        let example = "Bad Request: No valid session ID provided";
        assert_eq!(sdk(express, error(-32000, example)), Some(Sdk::TypeScript));
    }

    #[test]
    fn a_hub_that_borrows_the_words_is_not_taken_for_an_sdk() {
        let aiohttp = json!([["server", "Python/3.11 aiohttp/3.13"]]);
        assert_eq!(sdk(aiohttp, json!({ "text": "Could not find session" })), None);
        assert_eq!(sdk(json!([["server", "uvicorn"]]), json!({ "text": "Not Found" })), None);
        assert_eq!(sdk(json!([["server", "uvicorn"]]), json!({ "json": null })), None);
    }
}
