//! Which requests are served, and how the others are refused.

use harness::check::{Check, Judgement, Level};
use harness::transcript::history::{Exchange, Outcome};
use serde_json::Value;

use super::super::connection::{BARE, COMPLETE};
use super::super::discover::STALE;
use super::super::headers::{ANONYMOUS, ENCODED, INCOMPLETE, MISMATCH, UNKNOWN_VERSION};
use super::super::methods::{OLDER, REMOVED, UNKNOWN};
use super::super::{
    REVISION, SPEC_EARLIER, SPEC_META, SPEC_STATELESS, SPEC_VALIDATION, SPEC_VERSION, STATELESS,
};
use super::refused_with;
use crate::streamable::checks::{answer_text, has_result};
use crate::words::reply_text;

/// "When rejecting a request due to header validation failure, servers MUST return HTTP status 400 Bad Request and MUST
/// include a JSON-RPC error response using the following error code: -32020":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#server-validation>.
pub const MISMATCH_REFUSED: Check = Check {
    id: "header-mismatch-refused",
    level: Level::Must,
    sentence: "Servers that process the request body MUST reject requests where the values specified in the headers do \
               not match the corresponding values in the request body; servers MUST return HTTP status 400 Bad Request \
               and MUST include a JSON-RPC error response: -32020 HeaderMismatch",
    source: SPEC_VALIDATION,
    remedy: "hub: compare `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` with the body before anything is done",
    transports: STATELESS,
    needs: &[],
    judge: |history| refused_with(history, MISMATCH, 400, -32020),
};

/// "servers MUST decode an encoded Mcp-Name or Mcp-Param-{Name} value before comparing it to the corresponding request body
/// value": <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#value-encoding>.
pub const ENCODED_NAME_SERVED: Check = Check {
    id: "encoded-name-served",
    level: Level::Must,
    sentence: "servers MUST decode an encoded `Mcp-Name` or `Mcp-Param-{Name}` value before comparing it to the \
               corresponding request body value",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#value-encoding",
    remedy: "hub: decode `=?base64?..?=` before comparing",
    transports: STATELESS,
    needs: &[harness::plan::Need::Tool(harness::plan::Tool::Echo)],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(ENCODED) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "If the server does not implement the requested protocol version .. it MUST respond with 400 Bad Request and an
/// UnsupportedProtocolVersionError listing its supported versions.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#protocol-version-header>.
pub const UNKNOWN_VERSION_REFUSED: Check = Check {
    id: "unknown-version-refused",
    level: Level::Must,
    sentence: "If the server does not implement the requested protocol version, it MUST respond with 400 Bad Request and \
               an UnsupportedProtocolVersionError (-32022) listing its supported versions",
    source: SPEC_VERSION,
    remedy: "hub: answer -32022 with `data.supported`; clients choose from it",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = refused_with(history, UNKNOWN_VERSION, 400, -32022);
        if judgement.breaches.is_empty() {
            for exchange in history.probes(UNKNOWN_VERSION) {
                let lists = |message: &Value| {
                    let supported = message.pointer("/error/data/supported").and_then(Value::as_array);
                    supported.is_some_and(|versions| versions.iter().any(|version| version == REVISION))
                };
                if !exchange.messages().iter().any(|(_, message)| lists(message)) {
                    judgement.breach(format!("{REVISION} in `data.supported`"), "no such list", exchange.at);
                }
            }
        }
        judgement
    },
};

/// "A request missing any required field is malformed; the server MUST reject it with JSON-RPC error code -32602 (Invalid
/// params). On HTTP, the response status MUST be 400 Bad Request.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic#meta>.
pub const INCOMPLETE_META_REFUSED: Check = Check {
    id: "incomplete-meta-refused",
    level: Level::Must,
    sentence: "A request missing any required field is malformed; the server MUST reject it with JSON-RPC error code \
               -32602 (Invalid params). On HTTP, the response status MUST be 400 Bad Request",
    source: SPEC_META,
    remedy: "hub: demand `protocolVersion` and `clientCapabilities` in each request's `_meta`",
    transports: STATELESS,
    needs: &[],
    judge: |history| refused_with(history, INCOMPLETE, 400, -32602),
};

/// The table of per-request fields: `clientInfo` is not required:
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic#meta>.
pub const CLIENT_INFO_OPTIONAL: Check = Check {
    id: "client-info-optional",
    level: Level::Must,
    sentence: "Clients SHOULD include `io.modelcontextprotocol/clientInfo` on every request unless specifically \
               configured not to do so (Required: No)",
    source: SPEC_META,
    remedy: "hub: serve requests without `clientInfo`",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(ANONYMOUS) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "If the server does not implement the requested RPC method, it MUST respond with 404 Not Found and a JSON-RPC error with
/// code -32601 (Method not found).":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#protocol-version-header>.
pub const UNKNOWN_METHOD_IS_404: Check = Check {
    id: "unknown-method-is-404",
    level: Level::Must,
    sentence: "If the server does not implement the requested RPC method, it MUST respond with 404 Not Found and a \
               JSON-RPC error with code -32601 (Method not found)",
    source: SPEC_VERSION,
    remedy: "hub: answer 404 with JSON-RPC error -32601, `ping` included: this revision has none",
    transports: STATELESS,
    needs: &[],
    judge: |history| refused_with(history, UNKNOWN, 404, -32601),
};

/// "HTTP GET or DELETE to the MCP endpoint: respond with 405 Method Not Allowed.", for a server that supports only this
/// revision: <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#earlier-streamable-http-revisions>.
pub const REMOVED_METHODS_ARE_405: Check = Check {
    id: "get-and-delete-are-405",
    level: Level::Should,
    sentence: "A server that supports only this revision and receives such traffic from an older client SHOULD respond as \
               follows: HTTP GET or DELETE to the MCP endpoint: respond with 405 Method Not Allowed",
    source: SPEC_EARLIER,
    remedy: "hub: answer 405 to GET and DELETE",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let initialises = |exchange: &Exchange<'_>| {
            exchange.messages().iter().any(|(_, message)| message.get("result").is_some())
        };
        // A server that speaks older revisions too has its own use for both.
        let speaks_older = history.probes(OLDER).any(initialises);
        for exchange in history.probes(REMOVED) {
            judgement.judged();
            if !speaks_older && exchange.status() != Some(405) {
                let expected = format!("405 to {}", exchange.request.method);
                judgement.breach(expected, answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "An Mcp-Session-Id header on a request: ignore it":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#earlier-streamable-http-revisions>.
pub const STALE_ID_IGNORED: Check = Check {
    id: "stale-id-ignored",
    level: Level::Should,
    sentence: "An `Mcp-Session-Id` header on a request: ignore it",
    source: SPEC_EARLIER,
    remedy: "hub: look at the request's version before looking for a session",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(STALE) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "Servers MUST NOT rely on prior requests over the same connection to establish context (e.g., capabilities, protocol
/// version, client identity).": <https://modelcontextprotocol.io/specification/2026-07-28/basic#statelessness>.
pub const CONNECTION_FORGETS: Check = Check {
    id: "connection-forgets",
    level: Level::Must,
    sentence: "Servers MUST NOT rely on prior requests over the same connection to establish context (e.g., capabilities, \
               protocol version, client identity). Every request supplies this metadata in its `_meta` field",
    source: SPEC_STATELESS,
    remedy: "hub: take version, client and capabilities from the request's own `_meta`; keep nothing per connection",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(COMPLETE) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result to a complete request", reply_text(history, call), call.sent);
            }
        }
        for call in history.probed_calls(BARE) {
            judgement.judged();
            if has_result(call) {
                judgement.breach("a refusal of a request without `_meta`", "a result", call.sent);
            }
        }
        judgement
    },
};
