//! Session ids that no replica issued, or whose session has ended.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::Transport;
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::What;
use harness::transcript::history::Outcome;

use super::super::SESSIONS;
use super::breach;
use super::scope::{is_ended, is_unknown};
use crate::words::call_text;

/// Hub contract: an unknown session is refused, so that the client starts a new one. The specification speaks of terminated ids
/// only: a hub may serve an id that it never issued, and [`NEVER_ISSUED_IS_404`] warns.
pub const UNKNOWN_REFUSED: Check = Check {
    id: "unknown-refused",
    level: Level::Contract,
    sentence: "A request of an ended session must get an HTTP error within 5 s; one with an id that was never issued must get an \
               HTTP error or its answer.",
    source: HUB_CONTRACT,
    remedy: "hub: answer 404 for an unknown or terminated session id, whichever replica is asked",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.calls.iter().filter(|call| is_unknown(history, call) || is_ended(history, call)) {
            judgement.judged();
            let in_time = call.took().is_some_and(|took| took <= history.stretched(ANSWER + SLACK));
            let is_told = match call.outcome {
                Outcome::Refused { .. } => true,
                Outcome::Answered { .. } => is_unknown(history, call),
                Outcome::Ended { .. } | Outcome::Silent => false,
            };
            if !(is_told && in_time) {
                let expected = format!("an HTTP error to {}", call_text(call));
                breach(&mut judgement, history, call, expected);
            }
        }
        judgement
    },
};

/// "The server MAY terminate the session at any time, after which it MUST respond to requests containing that session
/// ID with HTTP 404 Not Found.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management>.
pub const TERMINATED_IS_404: Check = Check {
    id: "terminated-is-404",
    level: Level::Must,
    sentence: "The server MAY terminate the session at any time, after which it MUST respond to requests containing \
               that session ID with HTTP 404 Not Found",
    source: super::super::SPEC_SESSION,
    remedy: "hub: answer 404, with no exception for replicas that never knew the session",
    transports: &[Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // A server without session ids has nothing to end.
        history.sessions.iter().filter(|session| session.id.is_none()).for_each(|_| judgement.judged());
        let deleted = history.exchanges.values().filter(|exchange| exchange.request.method == "DELETE");
        for delete in deleted {
            judgement.judged();
            // A server MAY refuse to let clients terminate sessions (405): then the session has not ended.
            if !delete.head.is_some_and(|head| (200..300).contains(&head.status)) {
                continue;
            }
            let id = delete.request.header("mcp-session-id");
            let ended = delete.end.map_or(delete.at, |(at, _)| at);
            let later = history.exchanges.values().filter(|exchange| exchange.at > ended);
            for exchange in later.filter(|exchange| exchange.request.header("mcp-session-id") == id) {
                // Whoever offers no GET stream answers 405 to every GET.
                let is_not_offered = exchange.request.method == "GET" && exchange.status() == Some(405);
                if exchange.status() != Some(404) && !is_not_offered {
                    let actual =
                        exchange.status().map_or("no answer".to_owned(), |status| status.to_string());
                    judgement.breach(format!("404 to a {}", exchange.request.method), actual, exchange.at);
                }
            }
        }
        judgement
    },
};

/// The text covers terminated ids; for one that was never issued 404 is what makes clients start anew.
pub const NEVER_ISSUED_IS_404: Check = Check {
    id: "never-issued-is-404",
    level: Level::Should,
    sentence: "When a client receives HTTP 404 in response to a request containing an MCP-Session-Id, it MUST start a \
               new session (so 404 is what an id that was never issued should get; HTTP+SSE: any 4xx)",
    source: super::super::SPEC_SESSION,
    remedy: "hub: answer 404 instead of another error",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if !history.entries().iter().any(|entry| matches!(entry.what, What::UnknownId { .. })) {
            judgement.idle_because("the hub's ids have a form in which none can be made up");
        }
        for call in history.calls.iter().filter(|call| is_unknown(history, call)) {
            judgement.judged();
            if let Outcome::Answered { at } = call.outcome {
                let actual = "it was served as a request of a known session";
                judgement.breach(format!("404 to {}", call_text(call)), actual, at);
            }
            let Outcome::Refused { at, status } = call.outcome else {
                continue;
            };
            let fine = match history.transport() {
                Some(Transport::Sse) => (400..500).contains(&status),
                _ => status == 404,
            };
            if !fine {
                judgement.breach(format!("404 to {}", call_text(call)), status.to_string(), at);
            }
        }
        judgement
    },
};

#[cfg(test)]
mod tests {
    use harness::check::breached;
    use harness::transcript::ExchangeId;
    use serde_json::json;

    use super::*;
    use crate::by_hand::{judged_over, request};

    /// Which of the two checks find something when an id that was never issued gets this answer.
    fn found(status: u16, body: Option<serde_json::Value>) -> Vec<&'static str> {
        let exchange = ExchangeId(1);
        let mut call = request(exchange, "POST", "/mcp");
        call.headers.push(("mcp-session-id".to_owned(), "made-up".to_owned()));
        let asked = json!({ "json": { "jsonrpc": "2.0", "id": 1, "method": "tools/list" } });
        call.body = serde_json::from_value(asked).unwrap();
        let made_up = What::UnknownId { client: "client".to_owned(), id: "made-up".to_owned() };
        let head = What::Head { exchange, status, headers: Vec::new() };
        let mut entries = vec![(0, made_up), (1, What::Request(call)), (2, head)];
        if let Some(body) = body {
            entries.push((3, What::Body { exchange, body: harness::transcript::Body::Json(body) }));
        }
        [&UNKNOWN_REFUSED, &NEVER_ISSUED_IS_404]
            .into_iter()
            .filter(|check| {
                let judged = judged_over(Transport::Streamable, "local", check, entries.clone());
                breached(&judged.findings).contains(check.id)
            })
            .map(|check| check.id)
            .collect()
    }

    #[test]
    fn an_id_that_was_never_issued_may_be_served_and_must_not_be_dropped() {
        assert!(found(404, None).is_empty());
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [] } });
        assert_eq!(found(200, Some(answer)), ["never-issued-is-404"], "a warning");
        assert_eq!(found(202, None), ["unknown-refused"], "the client waits in vain");
        assert_eq!(found(503, None), ["never-issued-is-404"]);
    }
}
