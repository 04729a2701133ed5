//! Which requests are served, and how the others are refused.

use harness::check::{Check, Judgement, Level};
use harness::transcript::history::{Exchange, History, Outcome};
use serde_json::Value;

use super::super::connection::{BARE, COMPLETE};
use super::super::discover::{STALE, STALE_EVENT};
use super::super::headers::{ANONYMOUS, ENCODED, INCOMPLETE, MISMATCH, UNKNOWN_VERSION, VERSIONLESS};
use super::super::methods::{REMOVED, UNKNOWN};
use super::super::older::OLDER;
use super::super::{
    REVISION, SPEC_EARLIER, SPEC_META, SPEC_STATELESS, SPEC_VALIDATION, SPEC_VERSION, STATELESS,
};
use super::refused_with;
use crate::streamable::checks::{answer_text, has_result};
use crate::words::{body_text, reply_text, tools_by_name};

/// "When rejecting a request due to header validation failure, servers MUST return HTTP status 400 Bad Request and MUST
/// include a JSON-RPC error response using the following error code: -32020":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#server-validation>.
pub const MISMATCH_REFUSED: Check = Check {
    id: "header-mismatch-refused",
    level: Level::Must,
    sentence: "Servers that process the request body MUST reject requests where the values specified in the headers do \
               not match the corresponding values in the request body; servers MUST return HTTP status 400 Bad Request \
               and MUST include a JSON-RPC error response using the following error code: -32020 (HeaderMismatch)",
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
    sentence: "If the server does not implement the requested protocol version .., it MUST respond with 400 Bad Request and \
               an UnsupportedProtocolVersionError listing its supported versions (-32022)",
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
        // A server that speaks older revisions too has its own use for both.
        let speaks_older = history.probes(OLDER).any(|exchange| agreed(exchange).is_some());
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
    judge: |history| each_answered(history, STALE),
};

/// "A Last-Event-ID header: ignore it; streams are not resumable.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#earlier-streamable-http-revisions>.
pub const STALE_EVENT_ID_IGNORED: Check = Check {
    id: "stale-event-id-ignored",
    level: Level::Should,
    sentence: "A `Last-Event-ID` header: ignore it; streams are not resumable",
    source: SPEC_EARLIER,
    remedy: "hub: look at the request's version before looking for a stream to go on with",
    transports: STATELESS,
    needs: &[],
    judge: |history| each_answered(history, STALE_EVENT),
};

/// "This set MAY be empty and MAY change over time .., but MUST NOT vary per-connection or as a side effect of other requests on the
/// connection.": <https://modelcontextprotocol.io/specification/2026-07-28/server/tools#capabilities>.
pub const LIST_NOT_OF_CONNECTION: Check = Check {
    id: "list-not-of-connection",
    level: Level::Must,
    sentence: "Servers that declare the `tools` capability MUST respond to `tools/list` requests with the set of tools currently \
               available to the requesting client. This set .. MUST NOT vary per-connection or as a side effect of other requests on \
               the connection",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/server/tools#capabilities",
    remedy: "hub: list tools from what all connections share",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut first: Option<Value> = None;
        for call in history.probed_calls(COMPLETE).filter(|call| call.method == "tools/list") {
            judgement.judged();
            // Whether there is a list at all is another check's business.
            let Some(tools) = call.result().and_then(|result| result.get("tools")) else { continue };
            let tools = tools_by_name(tools);
            if *first.get_or_insert_with(|| tools.clone()) != tools {
                judgement.breach(
                    "the tools that the first request was told of",
                    tools.to_string(),
                    call.sent,
                );
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

/// "A server that supports clients implementing protocol versions earlier than 2025-06-18 .. MAY treat a request that omits the header as
/// protocol version 2025-03-26. A server that does not support such clients MUST reject a request without the header":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#protocol-version-header>.
pub const ABSENT_VERSION_REFUSED: Check = Check {
    id: "absent-version-refused",
    level: Level::Must,
    sentence: "A server that does not support such clients (of versions earlier than 2025-06-18) MUST reject a request without the \
               header (400 with -32020 HeaderMismatch)",
    source: SPEC_VERSION,
    remedy: "hub: demand `MCP-Protocol-Version`, unless clients of 2025-03-26 are served",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let older: Vec<_> = history.probes(OLDER).collect();
        if older.iter().any(|exchange| agreed(exchange).is_some_and(|version| *version < *FIRST_WITH_HEADER))
        {
            let mut judgement = Judgement::default();
            history.probes(VERSIONLESS).for_each(|_| judgement.judged());
            return judgement;
        }
        refused_with(history, VERSIONLESS, 400, -32020)
    },
};

/// "A server that supports only modern versions SHOULD name the protocol versions it supports in any error it returns to an initialize
/// request, on any transport":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning#backward-compatibility-with-initialization-based-versions>.
pub const OLDER_CLIENT_TOLD: Check = Check {
    id: "older-client-told",
    level: Level::Should,
    sentence: "A server that supports only modern versions SHOULD name the protocol versions it supports in any error it returns to an \
               `initialize` request, on any transport",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning#backward-compatibility-with-initialization-based-versions",
    remedy: "hub: say `2026-07-28` in the error that older clients get: it may be all that their users see",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OLDER) {
            judgement.judged();
            if agreed(exchange).is_none() && !says(exchange, REVISION) {
                judgement.breach(
                    format!("an error that names {REVISION}"),
                    answer_text(exchange),
                    exchange.at,
                );
            }
        }
        judgement
    },
};

// === helpers ===

/// The first revision that has `MCP-Protocol-Version`.
const FIRST_WITH_HEADER: &str = "2025-06-18";

/// Every call that was probed under this name has an answer.
fn each_answered(history: &History<'_>, probe: &str) -> Judgement {
    let mut judgement = Judgement::default();
    for call in history.probed_calls(probe) {
        judgement.judged();
        if !matches!(call.outcome, Outcome::Answered { .. }) {
            judgement.breach("an answer", reply_text(history, call), call.sent);
        }
    }
    judgement
}

/// The version that an answer to `initialize` agrees on.
fn agreed(exchange: &Exchange<'_>) -> Option<String> {
    let messages = exchange.messages();
    messages.iter().find_map(|(_, message)| Some(message["result"]["protocolVersion"].as_str()?.to_owned()))
}

/// Whether a word is anywhere in the body of an answer.
fn says(exchange: &Exchange<'_>, word: &str) -> bool {
    let whole = exchange.body.is_some_and(|(_, body)| body_text(body).contains(word));
    whole || exchange.messages().iter().any(|(_, message)| message.to_string().contains(word))
}
