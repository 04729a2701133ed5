//! What comes on streams, and what closing one means.

use harness::check::{Check, Judgement, Level};
use harness::transcript::history::{At, Departure, Exchange, History, Outcome};
use harness::transcript::{PodChange, What};
use serde_json::Value;

use super::super::cancel::CLOSED;
use super::super::listen::LISTEN;
use super::super::streams::{ASKED, UNASKED};
use super::super::{SPEC_RECEIVING, STATELESS};
use crate::streamable::checks::answer_text;
use crate::words::reply_text;

/// Where it is specified what a subscription brings.
const SPEC_FILTER: &str =
    "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#opening-a-stream";

/// Where it is specified how a subscription begins.
const SPEC_ACKNOWLEDGED: &str =
    "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#acknowledgment";

/// Where it is specified how a subscription ends.
const SPEC_CLOSURE: &str =
    "https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#graceful-closure";

/// The key that says which subscription a message belongs to.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// "When initiating an SSE stream, servers SHOULD include the X-Accel-Buffering: no header in the HTTP response.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#receiving-messages>.
pub const BUFFERING_OFF: Check = Check {
    id: "buffering-off",
    level: Level::Should,
    sentence: "When initiating an SSE stream, servers SHOULD include the `X-Accel-Buffering: no` header in the HTTP response",
    source: SPEC_RECEIVING,
    remedy: "hub: send `X-Accel-Buffering: no` with every event stream",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NO_STREAM);
        let listens = history.probes(LISTEN).filter(|exchange| exchange.is_event_stream());
        for exchange in streams(history).chain(listens) {
            judgement.judged();
            let Some(head) = exchange.head else { continue };
            if !head.header("x-accel-buffering").is_some_and(|value| value.trim().eq_ignore_ascii_case("no"))
            {
                judgement.breach("`X-Accel-Buffering: no`", "an event stream without it", head.at);
            }
        }
        judgement
    },
};

/// "The server MUST NOT send independent JSON-RPC requests on this stream.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#receiving-messages>.
pub const NO_SERVER_REQUESTS: Check = Check {
    id: "no-server-requests",
    level: Level::Must,
    sentence: "The server MUST NOT send independent JSON-RPC requests on this stream",
    source: SPEC_RECEIVING,
    remedy: "hub: ask the client with an `InputRequiredResult`",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NO_STREAM);
        for exchange in streams(history) {
            judgement.judged();
            for (at, message) in exchange.messages() {
                if message.get("method").is_some() && message.get("id").is_some() {
                    judgement.breach(
                        "notifications and the answer",
                        format!("the request {}", message["method"]),
                        at,
                    );
                }
            }
        }
        judgement
    },
};

/// "These notifications MUST relate to the originating client request.", progress only for a token that was given, log lines
/// only where they were asked for:
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#receiving-messages>.
pub const NOTHING_UNASKED: Check = Check {
    id: "nothing-unasked",
    level: Level::Must,
    sentence: "These notifications MUST relate to the originating client request; The server MUST NOT emit `notifications/message` \
               for a request that does not include this field (`io.modelcontextprotocol/logLevel`, server/utilities/logging)",
    source: SPEC_RECEIVING,
    remedy: "hub: send progress only for the request's own token, and log lines only when its `_meta` asks for them",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NO_STREAM);
        for exchange in streams(history) {
            judgement.judged();
            let token =
                exchange.request.message().and_then(|asked| asked.pointer("/params/_meta/progressToken"));
            for (at, message) in exchange.messages() {
                let Some(method) = message["method"].as_str().filter(|_| message.get("id").is_none()) else {
                    continue;
                };
                let is_its_own = method == "notifications/progress"
                    && token.is_some_and(|token| message.pointer("/params/progressToken") == Some(token));
                if !is_its_own {
                    judgement.breach("progress with the request's own token", method, at);
                }
            }
        }
        judgement
    },
};

/// "Closing the SSE response stream MUST be treated by the server as cancellation of that request. .. The server SHOULD stop
/// work on the cancelled request as soon as practical":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#cancellation>.
pub const CLOSE_STOPS_WORK: Check = Check {
    id: "close-stops-work",
    level: Level::Must,
    sentence: "Closing the SSE response stream MUST be treated by the server as cancellation of that request .. The server \
               SHOULD stop work on the cancelled request as soon as practical",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#cancellation",
    remedy: "hub: cancel the tool when the connection of its request closes",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if let Some(why) = CLOSED.why_idle(history) {
            judgement.idle_because(why);
        }
        for (done, call) in CLOSED.done(history) {
            judgement.judged();
            if done >= CLOSED.steps {
                judgement.breach("a call that stops when its stream is closed", "all its steps", call.sent);
            }
        }
        judgement
    },
};

/// "The server MUST send notifications/subscriptions/acknowledged as the first message carrying the subscription's ID in
/// _meta .. and MUST NOT send any notification on the subscription before it.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#acknowledgment>.
pub const LISTEN_ACKNOWLEDGED: Check = Check {
    id: "listen-acknowledged",
    level: Level::Must,
    sentence: "The server MUST send `notifications/subscriptions/acknowledged` as the first message carrying the \
               subscription's ID in `_meta` .., and MUST NOT send any notification on the subscription before it",
    source: SPEC_ACKNOWLEDGED,
    remedy: "hub: acknowledge a subscription before it is connected to anything that changes; 404 with -32601 where there \
             are none",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(LISTEN) {
            // A refusal breaks no rule of order.
            if let Some(why) = refused(exchange) {
                judgement.idle_because(why);
                continue;
            }
            judgement.judged();
            let id = exchange.request.message().map_or(&Value::Null, |asked| &asked["id"]);
            let messages = exchange.messages();
            let Some((at, first)) = messages.first() else {
                judgement.breach("an acknowledgement", answer_text(exchange), exchange.at);
                continue;
            };
            if first["method"] != "notifications/subscriptions/acknowledged" {
                judgement.breach("an acknowledgement first", first["method"].to_string(), *at);
            }
            for (at, message) in &messages {
                let holder = if message.get("method").is_some() { "params" } else { "result" };
                if message[holder]["_meta"][SUBSCRIPTION] != *id && message.get("error").is_none() {
                    judgement.breach(
                        format!("the subscription's id {id} in `_meta`"),
                        message.to_string(),
                        *at,
                    );
                }
            }
        }
        judgement
    },
};

/// "The server MUST NOT send notification types the client has not explicitly requested.", and what belongs to a request flows "only on
/// the response stream of the request": <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#opening-a-stream>.
pub const LISTEN_KEEPS_TO_FILTER: Check = Check {
    id: "listen-keeps-to-filter",
    level: Level::Must,
    sentence: "The server MUST NOT send notification types the client has not explicitly requested",
    source: SPEC_FILTER,
    remedy: "hub: send on a subscription what its filter names, and what belongs to a call on the stream of that call",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(LISTEN) {
            if let Some(why) = refused(exchange) {
                judgement.idle_because(why);
                continue;
            }
            judgement.judged();
            for (at, message) in &exchange.messages() {
                let kind = message["method"].as_str().filter(|_| message.get("id").is_none());
                let Some(kind) = kind else { continue };
                if !MAY_COME.contains(&kind) {
                    judgement.breach("only what was subscribed to", kind, *at);
                }
            }
        }
        judgement
    },
};

/// "When the server ends a subscription on its own initiative (for example, during shutdown), it SHOULD respond to the
/// original subscriptions/listen request with a completion result before closing the stream.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions#graceful-closure>.
pub const LISTEN_ENDS_WELL: Check = Check {
    id: "listen-ends-well",
    level: Level::Should,
    sentence: "When the server ends a subscription on its own initiative (for example, during shutdown), it SHOULD respond \
               to the original `subscriptions/listen` request with a completion result before closing the stream",
    source: SPEC_CLOSURE,
    remedy: "hub: on SIGTERM answer each open subscription, then close its stream",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(LISTEN) {
            let Some(exchange) = history.exchanges.get(&call.exchange) else { continue };
            let reached = exchange.replica.or_else(|| only_replica(history, exchange.at));
            let stopped = reached.and_then(|replica| history.departure(replica));
            if let Some(why) = refused(exchange) {
                judgement.idle_because(why);
            } else if let Some((_, Departure::Graceful)) = stopped {
                judgement.judged();
                if !matches!(call.outcome, Outcome::Answered { .. }) {
                    let actual = reply_text(history, call);
                    judgement.breach("the subscription's result before its end", actual, call.sent);
                }
            }
        }
        judgement
    },
};

// === helpers ===

/// What may be said on a subscription to changes of the list of tools.
const MAY_COME: [&str; 3] = [
    "notifications/subscriptions/acknowledged",
    "notifications/tools/list_changed",
    "notifications/cancelled",
];

/// Why there is no stream to judge: a server may answer as JSON.
const NO_STREAM: &str = "no answer was an event stream (a server may answer as JSON)";

/// The answers to the calls that tell of their progress, where they are event streams.
fn streams<'h, 't>(history: &'h History<'t>) -> impl Iterator<Item = &'h Exchange<'t>> {
    let answers = history.probes(ASKED).chain(history.probes(UNASKED));
    answers.filter(|exchange| exchange.is_event_stream())
}

/// Who must have been reached where no balancer tells: the one replica that there was.
fn only_replica<'t>(history: &History<'t>, at: At) -> Option<&'t str> {
    let before = history.entries().iter().take_while(|entry| entry.seq < at.seq);
    let ready = before.filter_map(|entry| match &entry.what {
        What::Pod { pod, change: PodChange::Ready } => Some(pod.as_str()),
        _ => None,
    });
    ready.last().filter(|_| history.transcript.header.replicas == 1)
}

/// In which words the server refused a subscription, when it did: by an HTTP error, or by an error before anything else. Subscriptions are
/// optional.
fn refused(exchange: &Exchange<'_>) -> Option<String> {
    let error = exchange.messages().first().and_then(|(_, first)| first.get("error").cloned());
    let status = exchange.status().filter(|status| *status >= 400);
    if error.is_none() && status.is_none() {
        return None;
    }
    let said = match error {
        Some(error) => error.to_string(),
        None => answer_text(exchange),
    };
    Some(format!("`subscriptions/listen` was refused (it is optional): {said}"))
}

#[cfg(test)]
mod tests {
    use harness::check::{Judged, Verdict};
    use harness::plan::Transport;
    use harness::transcript::{Body, End, ExchangeId};
    use serde_json::json;

    use super::*;
    use crate::by_hand::{judged_over, request};

    /// What becomes of a check of subscriptions when one gets this answer.
    fn judged(check: &'static Check, status: u16, answer: Value) -> Judged {
        let exchange = ExchangeId(1);
        let mut listen = request(exchange, "POST", "/mcp");
        listen.probe = Some(LISTEN.to_owned());
        let asked = json!({ "json": { "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen" } });
        listen.body = serde_json::from_value(asked).unwrap();
        let json = vec![("content-type".to_owned(), "application/json".to_owned())];
        let entries = [
            (0, What::Request(listen)),
            (1, What::Head { exchange, status, headers: json }),
            (2, What::Body { exchange, body: Body::Json(answer) }),
            (3, What::End { exchange, how: End::Complete }),
        ];
        judged_over(Transport::Stateless, "local", check, entries)
    }

    #[test]
    fn a_subscription_that_is_refused_breaks_no_rule_and_the_error_is_quoted() {
        let error =
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "Method not found" } });
        for check in [&LISTEN_ACKNOWLEDGED, &LISTEN_KEEPS_TO_FILTER, &LISTEN_ENDS_WELL, &BUFFERING_OFF] {
            for status in [200, 400, 404] {
                let judged = judged(check, status, error.clone());
                assert_eq!(judged.verdict, Verdict::NotApplicable, "{} {status}", check.id);
            }
        }
        let lacks = judged(&LISTEN_ACKNOWLEDGED, 200, error).lacks.map(|lack| lack.to_string());
        assert!(lacks.as_ref().is_some_and(|lacks| lacks.contains("Method not found")), "{lacks:?}");
    }

    #[test]
    fn a_subscription_that_is_taken_is_acknowledged_first() {
        let result = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
        assert_eq!(judged(&LISTEN_ACKNOWLEDGED, 200, result).verdict, Verdict::Fail);
    }
}
