//! Sessions of Streamable HTTP: their ids, versions and streams.

use std::collections::BTreeSet;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Tool};
use harness::transcript::history::{History, Outcome};
use serde_json::Value;

use super::super::disconnect::{LATER, LEFT};
use super::super::session_id::MISSING;
use super::super::version::{ABSENT, INVALID};
use super::super::{SPEC_LISTENING, SPEC_SENDING, SPEC_SESSION, SPEC_VERSION, STREAMABLE};
use super::{answer_text, has_result};
use crate::words::reply_text;

/// A shorter id than this cannot be random enough: 128 bits are 22 characters of base64.
const SHORT: usize = 16;

/// "The session ID MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E).":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management>.
pub const SESSION_ID_VISIBLE: Check = Check {
    id: "session-id-visible",
    level: Level::Must,
    sentence: "The session ID MUST only contain visible ASCII characters (ranging from 0x21 to 0x7E)",
    source: SPEC_SESSION,
    remedy: "hub: encode the id as hex, base64url or UUID",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for session in &history.sessions {
            // Without an id the server keeps no sessions, as it may.
            judgement.judged();
            let strange = |id: &&str| !id.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
            if let Some(id) = session.id.filter(strange) {
                judgement.breach("an id of visible ASCII characters", format!("{id:?}"), session.opened);
            }
        }
        judgement
    },
};

/// "The session ID SHOULD be globally unique and cryptographically secure":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management>.
pub const SESSION_ID_UNIQUE: Check = Check {
    id: "session-id-unique",
    level: Level::Should,
    sentence: "The session ID SHOULD be globally unique and cryptographically secure",
    source: SPEC_SESSION,
    remedy: "hub: make each id from 128 random bits or more",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut known = BTreeSet::new();
        for session in &history.sessions {
            judgement.judged();
            let Some(id) = session.id else { continue };
            if !known.insert(id) {
                judgement.breach(
                    "an id that no other session has",
                    "one that was given before",
                    session.opened,
                );
            } else if id.len() < SHORT {
                let actual = format!("one of {}", id.len());
                judgement.breach(format!("an id of {SHORT} characters or more"), actual, session.opened);
            }
        }
        judgement
    },
};

/// "Servers that require a session ID SHOULD respond to requests without an MCP-Session-Id header (other than
/// initialization) with HTTP 400 Bad Request.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management>.
pub const MISSING_ID_IS_400: Check = Check {
    id: "missing-id-is-400",
    level: Level::Should,
    sentence: "Servers that require a session ID SHOULD respond to requests without an MCP-Session-Id header (other than \
               initialization) with HTTP 400 Bad Request",
    source: SPEC_SESSION,
    remedy: "hub: answer 400 when the id is missing; 404 makes clients throw a session away",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        history.sessions.iter().filter(|session| session.id.is_none()).for_each(|_| judgement.judged());
        for exchange in history.probes(MISSING) {
            judgement.judged();
            // Who serves it does not require one.
            let is_served = exchange.status().is_some_and(|status| (200..300).contains(&status));
            if exchange.status() != Some(400) && !is_served {
                judgement.breach("400", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "The server MAY respond to this request with HTTP 405 Method Not Allowed": it ends the session, or it says that it does
/// not: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management>.
pub const DELETE_ANSWERED: Check = Check {
    id: "delete-answered",
    level: Level::Contract,
    sentence: "The server MAY respond to this request with HTTP 405 Method Not Allowed (a DELETE is answered, and not with 5xx: the \
               session ends, or the client is told that it does not)",
    source: SPEC_SESSION,
    remedy: "hub: end the session and answer 2xx, or answer 405",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // Without an id there is nothing to delete.
        history.sessions.iter().filter(|session| session.id.is_none()).for_each(|_| judgement.judged());
        for exchange in history.exchanges.values().filter(|exchange| exchange.request.method == "DELETE") {
            judgement.judged();
            if exchange.status().is_none_or(|status| status >= 500) {
                judgement.breach("2xx, 405 or another refusal", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "If the server receives a request with an invalid or unsupported MCP-Protocol-Version, it MUST respond with 400 Bad
/// Request.": <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#protocol-version-header>.
pub const INVALID_VERSION_IS_400: Check = Check {
    id: "invalid-version-is-400",
    level: Level::Must,
    sentence: "If the server receives a request with an invalid or unsupported MCP-Protocol-Version, it MUST respond with \
               400 Bad Request",
    source: SPEC_VERSION,
    remedy: "hub: compare `MCP-Protocol-Version` with the versions that it supports, and answer 400 to others",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(INVALID) {
            judgement.judged();
            if exchange.status() != Some(400) {
                let version = exchange.request.header("mcp-protocol-version").unwrap_or_default();
                judgement.breach(format!("400 to version {version}"), answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "For backwards compatibility, if the server does not receive an MCP-Protocol-Version header, and has no other way to
/// identify the version .. the server SHOULD assume protocol version 2025-03-26.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#protocol-version-header>.
pub const ABSENT_VERSION_SERVED: Check = Check {
    id: "absent-version-served",
    level: Level::Should,
    sentence: "if the server does not receive an MCP-Protocol-Version header, and has no other way to identify the \
               version .. the server SHOULD assume protocol version 2025-03-26",
    source: SPEC_VERSION,
    remedy: "hub: serve a request without `MCP-Protocol-Version` as its session's revision, or as 2025-03-26",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(ABSENT) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "The server MUST either return Content-Type: text/event-stream in response to this HTTP GET, or else return HTTP 405
/// Method Not Allowed":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server>.
pub const GET_IS_STREAM_OR_405: Check = Check {
    id: "get-is-stream-or-405",
    level: Level::Must,
    sentence: "The server MUST either return Content-Type: text/event-stream in response to this HTTP GET, or else return \
               HTTP 405 Method Not Allowed, indicating that the server does not offer an SSE stream at this endpoint",
    source: SPEC_LISTENING,
    remedy: "hub: open the stream, or answer 405",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let gets = history.exchanges.values().filter(|exchange| exchange.request.method == "GET");
        // A second one while the first is open is named: what comes to it is only recorded.
        for exchange in gets.filter(|exchange| exchange.request.probe.is_none()) {
            judgement.judged();
            let is_stream = exchange.status() == Some(200) && exchange.is_event_stream();
            if !is_stream && exchange.status() != Some(405) {
                judgement.breach("200 with text/event-stream, or 405", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "The server MUST NOT send a JSON-RPC response on the stream unless resuming a stream associated with a previous client request.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server>.
pub const NO_ANSWERS_ON_GET: Check = Check {
    id: "no-answers-on-get",
    level: Level::Must,
    sentence: "The server MUST NOT send a JSON-RPC response on the stream unless resuming a stream associated with a previous \
               client request",
    source: SPEC_LISTENING,
    remedy: "hub: answer a request on the stream of its POST, and nowhere else",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let gets = history.exchanges.values().filter(|exchange| exchange.request.method == "GET");
        for exchange in gets.filter(|exchange| exchange.request.header("last-event-id").is_none()) {
            judgement.judged();
            let is_answer =
                |message: &Value| message.get("result").is_some() || message.get("error").is_some();
            // Only an event stream has anything that is sent on it.
            let mut sent = exchange.messages().into_iter().filter(|_| exchange.is_event_stream());
            if let Some((at, message)) = sent.find(|(_, message)| is_answer(message)) {
                judgement.breach(
                    "requests and notifications alone",
                    format!("an answer to {}", message["id"]),
                    at,
                );
            }
        }
        judgement
    },
};

/// "Disconnection SHOULD NOT be interpreted as the client cancelling its request.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
pub const DISCONNECT_IS_NO_CANCEL: Check = Check {
    id: "disconnect-is-no-cancel",
    level: Level::Should,
    sentence: "Disconnection SHOULD NOT be interpreted as the client cancelling its request",
    source: SPEC_SENDING,
    remedy: "hub: let a call run to its end when its stream breaks; cancel it on `notifications/cancelled`",
    transports: STREAMABLE,
    needs: &[Need::Tool(Tool::Work), Need::Tool(Tool::Tally)],
    judge: |history| {
        let mut judgement = Judgement::default();
        if let Some(why) = LEFT.why_idle(history) {
            judgement.idle_because(why);
        }
        if was_over(history, &mut judgement) {
            return judgement;
        }
        for (done, call) in LEFT.done(history) {
            judgement.judged();
            if done < LEFT.steps {
                let expected = format!("all {} steps of the call", LEFT.steps);
                judgement.breach(expected, format!("{done} of them"), call.sent);
            }
        }
        judgement
    },
};

/// Hub contract: a session is more than one of its connections.
pub const SESSION_SURVIVES_DISCONNECT: Check = Check {
    id: "session-survives-disconnect",
    level: Level::Contract,
    sentence: "a session answers as before after a connection that carried one of its requests broke",
    source: HUB_CONTRACT,
    remedy: "hub: end a session on DELETE or after it was idle, not when a response stream breaks",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if was_over(history, &mut judgement) {
            return judgement;
        }
        for call in history.probed_calls(LATER) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

// === helpers ===

/// Whether the call had its answer before its client left, as on a machine that stands still: then nobody left it.
fn was_over(history: &History<'_>, judgement: &mut Judgement) -> bool {
    let is_over = history.probed_calls(LEFT.name).any(has_result);
    if is_over {
        judgement.idle_because("the call was answered before its client left");
    }
    is_over
}
