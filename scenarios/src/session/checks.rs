//! What the scenarios of all eras are judged by. Every check has a defect of the reference hub that it catches.

use std::collections::BTreeSet;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::Transport;
use harness::transcript::What;
use harness::transcript::history::{Call, Exchange, History, Outcome};

use super::SESSIONS;
use super::origin::{FOREIGN, NONE};
use super::requests::{
    AFTER_BIG, AT_ONCE, BIG, IMPOSSIBLE, KNOWN_VERSION, NEVER, SMALL, STRING_ID, UNKNOWN_METHOD, UNKNOWN_TOOL,
};
use crate::probed::each_has_result;
use crate::words::reply_text;

/// "Servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning>; 2024-11-05 says it too. Since 2025-11-25
/// "servers MUST respond with HTTP 403 Forbidden". With the defaults of their SDKs no server that listens on all addresses does.
pub const ORIGIN_VALIDATED: Check = Check {
    id: "origin-validated",
    level: Level::IgnoredMust,
    sentence: "Servers MUST validate the `Origin` header on all incoming connections to prevent DNS rebinding attacks; If the \
               `Origin` header is present and invalid, servers MUST respond with HTTP 403 Forbidden (from 2025-11-25 on)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning",
    remedy: "hub: answer 403 to an `Origin` that is not allowed; SDKs expect the allowed ones to be configured",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(FOREIGN) {
            judgement.judged();
            let is_refused =
                |status: u16| status == 403 || (400..500).contains(&status) && !demands_403(exchange);
            if !exchange.status().is_some_and(is_refused) {
                let method = &exchange.request.method;
                let actual = exchange.status().map_or("no answer".to_owned(), |status| status.to_string());
                judgement.breach(format!("403 to a {method} from http://evil.example"), actual, exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: clients that are no browsers send no `Origin`.
pub const NO_ORIGIN_SERVED: Check = Check {
    id: "no-origin-served",
    level: Level::Contract,
    sentence: "a request without `Origin` is served: clients that are no browsers send none",
    source: HUB_CONTRACT,
    remedy: "hub: validate `Origin` only where there is one",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let second = history.second_refused();
        for entry in history.entries() {
            // That there is another client is another check's business.
            if second.iter().any(|refusal| refusal.at == entry.place()) {
                continue;
            }
            if let What::NoSession { why, .. } = &entry.what {
                judgement.judged();
                judgement.breach("a session", why.clone(), entry.place());
            }
        }
        for call in history.probed_calls(NONE) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// JSON-RPC 2.0: "When a rpc call encounters an error, the Response Object MUST contain the error member":
/// <https://www.jsonrpc.org/specification#error_object>.
pub const UNKNOWN_METHOD_IS_ERROR: Check = Check {
    id: "unknown-method-is-error",
    level: Level::Must,
    sentence: "When a rpc call encounters an error, the Response Object MUST contain the error member (a method that does not exist is \
               one, and the error has the request's id)",
    source: "https://www.jsonrpc.org/specification#error_object",
    remedy: "hub: answer an unknown method with the error -32601",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(UNKNOWN_METHOD) {
            judgement.judged();
            if call.answers.first().is_none_or(|(_, answer)| answer.get("error").is_none()) {
                let actual = if call.answers.is_empty() { "no answer" } else { "a result" };
                judgement.breach("an error with the request's id", actual, call.sent);
            }
        }
        judgement
    },
};

/// JSON-RPC 2.0: "-32601 Method not found. The method does not exist / is not available.": one SDK answers -32602, so it warns:
/// <https://www.jsonrpc.org/specification#error_object>.
pub const UNKNOWN_METHOD_CODE: Check = Check {
    id: "unknown-method-code",
    level: Level::Should,
    sentence: "-32601: Method not found. The method does not exist / is not available",
    source: "https://www.jsonrpc.org/specification#error_object",
    remedy: "hub: answer an unknown method with the error -32601",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(UNKNOWN_METHOD) {
            judgement.judged();
            let code =
                call.answers.first().and_then(|(_, answer)| answer.get("error")?.get("code")?.as_i64());
            // No error at all is another check's business.
            if let Some(code) = code.filter(|code| *code != -32601) {
                judgement.breach("the error -32601", code.to_string(), call.sent);
            }
        }
        judgement
    },
};

/// Unknown tools are protocol errors; servers that say `isError` in a result are as clear:
/// <https://modelcontextprotocol.io/specification/2025-11-25/server/tools#error-handling>.
pub const UNKNOWN_TOOL_IS_ERROR: Check = Check {
    id: "unknown-tool-is-error",
    level: Level::Must,
    sentence: "Protocol Errors: Standard JSON-RPC errors for issues like: Unknown tools (an `isError` result is accepted too)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/server/tools#error-handling",
    remedy: "hub: answer a call of an unknown tool with the error -32602",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(UNKNOWN_TOOL) {
            judgement.judged();
            let told = call.answers.first().is_some_and(|(_, answer)| {
                answer.get("error").is_some() || answer["result"]["isError"] == true
            });
            if !told {
                let actual = if call.answers.is_empty() { "no answer" } else { "a result" };
                judgement.breach("an error, or a result with `isError`", actual, call.sent);
            }
        }
        judgement
    },
};

/// "Implementations MUST NOT emit any code from this sub-range that is not defined by this specification", -32020 to -32099, nor the
/// codes of earlier revisions: <https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes>.
pub const ERROR_CODES_DEFINED: Check = Check {
    id: "error-codes-defined",
    level: Level::Must,
    sentence: "-32020 to -32099: Implementations MUST NOT emit any code from this sub-range that is not defined by this \
               specification; Implementations of this protocol version MUST NOT emit these codes: -32002, -32042",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes",
    remedy: "hub: take codes of its own from outside -32768 to -32000",
    transports: &[Transport::Stateless],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.exchanges.values() {
            for (at, message) in exchange.messages() {
                let Some(code) = message.get("error").and_then(|error| error["code"].as_i64()) else {
                    continue;
                };
                judgement.judged();
                let is_reserved = (-32099..=-32023).contains(&code);
                if is_reserved || matches!(code, -32002 | -32042) {
                    judgement.breach(
                        "a code that 2026-07-28 defines, or one of the hub's own",
                        code.to_string(),
                        at,
                    );
                }
            }
        }
        judgement
    },
};

/// "Otherwise, the server MUST respond with another protocol version it supports.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation>. An error is as clear.
pub const VERSION_NEGOTIATED: Check = Check {
    id: "version-negotiated",
    level: Level::Must,
    sentence: "If the server supports the requested protocol version, it MUST respond with the same version. Otherwise, the server MUST respond with another protocol version it supports",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation",
    remedy: "hub: answer with the latest version that it speaks when it does not know the one that was asked for",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(IMPOSSIBLE) {
            judgement.judged();
            let version = call.result().map(|result| &result["protocolVersion"]);
            if call.answers.is_empty()
                || version.is_some_and(|version| !version.is_string() || version == NEVER)
            {
                let actual = version.map_or_else(|| "no answer".to_owned(), ToString::to_string);
                judgement.breach(format!("another version than {NEVER}"), actual, call.sent);
            }
        }
        judgement
    },
};

/// "If the server supports the requested protocol version, it MUST respond with the same version.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation>. It supports what it has offered.
pub const KNOWN_VERSION_KEPT: Check = Check {
    id: "known-version-kept",
    level: Level::Must,
    sentence: "If the server supports the requested protocol version, it MUST respond with the same version",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation",
    remedy: "hub: answer with the version that was asked for when it is one that the hub answers with at all",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let offered = offered(history);
        for call in history.probed_calls(KNOWN_VERSION) {
            judgement.judged();
            let asked = call.params["protocolVersion"].as_str().unwrap_or_default();
            if let Some(version) = agreed(call).filter(|version| *version != asked && offered.contains(asked))
            {
                judgement.breach(format!("{asked}, which it speaks"), version, call.sent);
            }
        }
        judgement
    },
};

/// "This SHOULD be the latest version supported by the server.", of the version that is offered in place of an unknown one:
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation>. It supports what it has offered.
pub const LATEST_VERSION_OFFERED: Check = Check {
    id: "latest-version-offered",
    level: Level::Should,
    sentence: "Otherwise, the server MUST respond with another protocol version it supports. This SHOULD be the latest version \
               supported by the server",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation",
    remedy: "hub: answer an unknown version with the latest that it speaks",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let offered = offered(history);
        let latest = offered.last().copied().unwrap_or_default();
        for call in history.probed_calls(IMPOSSIBLE) {
            judgement.judged();
            // Whether the impossible one is agreed to is another check's business.
            if let Some(version) = agreed(call).filter(|version| *version != NEVER && *version < latest) {
                judgement.breach(format!("{latest}, which it speaks"), version, call.sent);
            }
        }
        judgement
    },
};

/// "Requests MUST include a string or integer ID." and "Result responses MUST include the same ID as the request they correspond to.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic#requests>.
pub const STRING_ID_ANSWERED: Check = Check {
    id: "string-id-answered",
    level: Level::Must,
    sentence: "Requests MUST include a string or integer ID; Result responses MUST include the same ID as the request they \
               correspond to",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic#responses",
    remedy: "hub: keep a request's id as it came, as a string or as a number",
    transports: &[],
    needs: &[],
    judge: |history| each_has_result(history, STRING_ID, "a result with the same string as id"),
};

/// "Result responses MUST include the same ID as the request they correspond to.", in whatever order:
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic#responses>.
pub const AT_ONCE_ANSWERED: Check = Check {
    id: "at-once-answered",
    level: Level::Must,
    sentence: "Result responses MUST include the same ID as the request they correspond to (each of 50 requests in flight at once gets \
               its own, in whatever order)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic#responses",
    remedy: "hub: keep requests of one session apart by their ids, and bound their number above 50",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AT_ONCE) {
            judgement.judged();
            if call.answers.is_empty() {
                judgement.breach(
                    format!("an answer to request {}", call.id),
                    reply_text(history, call),
                    call.sent,
                );
            }
        }
        judgement
    },
};

/// Hub contract: the specification names no limit; 64 kB is below that of every server in the field.
pub const SMALL_BODY_SERVED: Check = Check {
    id: "small-body-served",
    level: Level::Contract,
    sentence: "a request of 64 kB is answered",
    source: HUB_CONTRACT,
    remedy: "hub: raise the limit on bodies to at least 100 kB",
    transports: &[],
    needs: &[],
    judge: |history| each_has_result(history, SMALL, "a result"),
};

/// Hub contract: above its limit a hub says so (413, 400), or answers.
pub const BIG_BODY_TOLD: Check = Check {
    id: "big-body-told",
    level: Level::Contract,
    sentence: "a request of 1 MB or 5 MB is answered, or refused with 4xx",
    source: HUB_CONTRACT,
    remedy: "hub: answer 413 above the limit, instead of silence",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in BIG.iter().flat_map(|probe| history.probed_calls(probe)) {
            judgement.judged();
            let told = match call.outcome {
                Outcome::Answered { .. } => true,
                Outcome::Refused { status, .. } => (400..500).contains(&status),
                // A server may refuse, and close without reading the rest: then the answer can be lost with the connection.
                Outcome::Ended { .. } => true,
                Outcome::Silent => false,
            };
            if !told {
                judgement.breach("an answer, or 4xx", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// Hub contract: one message that is too large must not cost a user the session.
pub const BIG_BODY_SURVIVED: Check = Check {
    id: "big-body-survived",
    level: Level::Contract,
    sentence: "a session lives on after a request of 5 MB",
    source: HUB_CONTRACT,
    remedy: "hub: refuse the message, not the session",
    transports: &[],
    needs: &[],
    judge: |history| each_has_result(history, AFTER_BIG, "a result of the next request"),
};

// === helpers ===

/// Whether the revision of a request says which status an `Origin` that is not allowed gets.
fn demands_403(exchange: &Exchange<'_>) -> bool {
    exchange.request.header("mcp-protocol-version").is_some_and(|version| version >= "2025-11-25")
}

/// The version that an answer to `initialize` agrees on.
fn agreed<'c>(call: &'c Call<'_>) -> Option<&'c str> {
    call.result()?["protocolVersion"].as_str()
}

/// The versions that a server has agreed on, whatever it was asked for.
fn offered<'h>(history: &'h History<'_>) -> BTreeSet<&'h str> {
    let calls = history.probed_calls(IMPOSSIBLE).chain(history.probed_calls(KNOWN_VERSION));
    calls.filter_map(|call| agreed(call)).collect()
}
