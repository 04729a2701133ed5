//! How messages are answered.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::Transport;
use harness::transcript::End;
use harness::transcript::history::{Exchange, History, Outcome};

use super::super::input::{AFTER, ASKING, BATCH, BATCHES, UNREADABLE};
use super::super::messages::{NOTIFICATION, REQUEST, RESPONSE};
use super::super::{BOTH, SPEC_SENDING, STREAMABLE};
use super::{answer_text, has_result};
use crate::words::reply_text;

/// "If the server accepts the input, the server MUST return HTTP status code 202 Accepted with no body.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
pub const NOTIFICATION_IS_202: Check = Check {
    id: "notification-is-202",
    level: Level::Must,
    sentence: "If the input is a JSON-RPC response or notification: If the server accepts the input, the server MUST \
               return HTTP status code 202 Accepted with no body",
    source: SPEC_SENDING,
    remedy: "hub: answer 202 to every notification and response that it takes",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let taken = history.probes(NOTIFICATION).map(|exchange| (exchange, history.transport()));
        // Nobody has to take an answer that was not asked for, or a notification that this revision does not define.
        let optional = history.probes(RESPONSE).map(|exchange| (exchange, None));
        for (exchange, transport) in taken.chain(optional) {
            judgement.judged();
            let is_refused = exchange.status().is_some_and(|status| status >= 400);
            let may_be_refused = transport != Some(Transport::Streamable);
            if exchange.status() != Some(202) && !(is_refused && may_be_refused) {
                judgement.breach("202", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// The same sentence, "with no body": clients read past one.
pub const ACCEPTED_WITHOUT_BODY: Check = Check {
    id: "accepted-without-body",
    level: Level::Should,
    sentence: "If the server accepts the input, the server MUST return HTTP status code 202 Accepted with no body",
    source: SPEC_SENDING,
    remedy: "hub: send no body with 202",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(NOTIFICATION).chain(history.probes(RESPONSE)) {
            judgement.judged();
            if let Some((at, _)) = exchange.body.filter(|_| exchange.status() == Some(202)) {
                judgement.breach("202 without a body", "202 with one", at);
            }
        }
        judgement
    },
};

/// "If the input is a JSON-RPC request, the server MUST either return Content-Type: text/event-stream, to initiate an SSE
/// stream, or Content-Type: application/json, to return one JSON object.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
pub const REQUEST_ANSWER_TYPE: Check = Check {
    id: "request-answer-type",
    level: Level::Must,
    sentence: "If the input is a JSON-RPC request, the server MUST either return Content-Type: text/event-stream, to \
               initiate an SSE stream, or Content-Type: application/json, to return one JSON object",
    source: SPEC_SENDING,
    remedy: "hub: set the media type of the answer to what it is",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(REQUEST) {
            judgement.judged();
            if !is_readable(exchange) {
                judgement.breach("text/event-stream or application/json", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// JSON-RPC 2.0: "When a rpc call is made, the Server MUST reply with a Response":
/// <https://www.jsonrpc.org/specification#response_object>; of a stream the transports say that it "SHOULD eventually include a JSON-RPC
/// response", since from 2025-11-25 on a server may close the connection of one that can be resumed.
pub const REQUEST_ANSWERED: Check = Check {
    id: "request-answered",
    level: Level::Must,
    sentence: "When a rpc call is made, the Server MUST reply with a Response (in the body of its POST, or on its stream)",
    source: "https://www.jsonrpc.org/specification#response_object",
    remedy: "hub: end the stream of a request after its answer, not before",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(REQUEST) {
            judgement.judged();
            let Some(exchange) = history.exchanges.get(&call.exchange) else { continue };
            let goes_on_elsewhere = history.transport() == Some(Transport::Streamable)
                && exchange.frames.iter().any(|(_, frame)| frame.id.is_some());
            // What can be read as neither is another check's business.
            if call.answers.is_empty() && !goes_on_elsewhere && is_readable(exchange) {
                let expected = format!("an answer to {}", call.method);
                judgement.breach(expected, reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "After the JSON-RPC response has been sent, the server SHOULD terminate the SSE stream.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>; 2026-07-28:
/// "The final JSON-RPC response SHOULD terminate the stream."
pub const STREAM_ENDS_AFTER_ANSWER: Check = Check {
    id: "stream-ends-after-answer",
    level: Level::Should,
    sentence: "After the JSON-RPC response has been sent, the server SHOULD terminate the SSE stream",
    source: SPEC_SENDING,
    remedy: "hub: close the stream of a request when its answer has been written; each one left open is a connection",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(REQUEST) {
            judgement.judged();
            let Some(exchange) = history.exchanges.get(&call.exchange) else { continue };
            let is_answered = matches!(call.outcome, Outcome::Answered { .. });
            if let Some((at, how)) = exchange.end.filter(|_| exchange.is_event_stream() && is_answered)
                && *how != End::Complete
            {
                judgement.breach("the end of the stream within 2 s of the answer", format!("{how:?}"), at);
            }
        }
        judgement
    },
};

/// "If the server cannot accept the input, it MUST return an HTTP error status code (e.g., 400 Bad Request).":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
pub const UNREADABLE_REFUSED: Check = Check {
    id: "unreadable-refused",
    level: Level::Must,
    sentence: "If the server cannot accept the input, it MUST return an HTTP error status code (e.g., 400 Bad Request)",
    source: SPEC_SENDING,
    remedy: "hub: answer 400 to a body that is no JSON-RPC message",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(UNREADABLE) {
            judgement.judged();
            if exchange.status().is_none_or(|status| status < 400) {
                judgement.breach("an HTTP error", answer_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: one bad message is no reason to lose the others.
pub const SERVES_AFTER_UNREADABLE: Check = Check {
    id: "serves-after-unreadable",
    level: Level::Contract,
    sentence: "after a body that is no JSON-RPC message the session answers as before",
    source: HUB_CONTRACT,
    remedy: "hub: refuse the request, and leave the session alone",
    transports: BOTH,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AFTER) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result after it", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "MCP implementations MAY support sending JSON-RPC batches, but MUST support receiving JSON-RPC batches.":
/// <https://modelcontextprotocol.io/specification/2025-03-26/basic#batching>. Most servers refuse them.
pub const BATCH_ANSWERED: Check = Check {
    id: "batch-answered",
    level: Level::Should,
    sentence: "MCP implementations MAY support sending JSON-RPC batches, but MUST support receiving JSON-RPC batches",
    source: "https://modelcontextprotocol.io/specification/2025-03-26/basic#batching",
    remedy: "hub: answer each request of a batch, or negotiate another revision than 2025-03-26",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(BATCH) {
            if !negotiated_batches(history) {
                judgement.idle_because(
                    "the hub agreed to another revision than 2025-03-26, and no other has batches",
                );
                continue;
            }
            judgement.judged();
            let calls: Vec<_> = history.probed_calls(BATCH).collect();
            let answered = calls.iter().filter(|call| has_result(call)).count();
            if answered < calls.len() {
                let actual = format!("{}, and {answered} of them", answer_text(exchange));
                judgement.breach(format!("answers to {} requests", calls.len()), actual, exchange.at);
            }
        }
        judgement
    },
};

// === helpers ===

/// Whether an answer has one of the media types that clients read.
fn is_readable(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.media_type().as_deref(), Some("text/event-stream" | "application/json"))
}

/// Whether the hub agreed to the revision that has batches.
fn negotiated_batches(history: &History<'_>) -> bool {
    let agreed = |exchange: &Exchange<'_>| {
        exchange.messages().iter().any(|(_, message)| message["result"]["protocolVersion"] == BATCHES)
    };
    history.probes(ASKING).any(agreed)
}
