//! What these scenarios are judged by. Every check has a defect of the reference hub that it catches.

use std::collections::BTreeMap;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Tool, Transport};
use harness::timeouts::SLACK;
use harness::transcript::history::{At, Exchange};
use serde_json::Value;

use crate::words::{call_text, is_answered, reply_text, tools_by_name};

use super::{CANCEL, CANCELLED, SESSIONS, STRAY};

/// Hub contract: half a session is worse than none.
pub const STRAYS_TREATED_ALIKE: Check = Check {
    id: "strays-treated-alike",
    level: Level::Contract,
    sentence: "a replica that does not own a session honours its id in every kind of request, or refuses it in every kind",
    source: HUB_CONTRACT,
    remedy: "hub: find the session before looking at what is asked: forward every method, or answer 404 to every one",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // 405 says that the server has no such method, of any session.
        let asked: Vec<&Exchange<'_>> =
            history.probes(STRAY).filter(|exchange| exchange.status() != Some(405)).collect();
        let is_honoured =
            |exchange: &&&Exchange<'_>| exchange.status().is_some_and(|status| (200..300).contains(&status));
        let honoured: Vec<_> = asked.iter().filter(is_honoured).collect();
        asked.iter().for_each(|_| judgement.judged());
        if let Some(honoured) = honoured.first()
            && let Some(refused) = asked.iter().find(|exchange| !is_honoured(exchange))
        {
            let expected = format!("{} honoured as {} was", what(refused), what(honoured));
            let actual = refused.status().map_or("no answer".to_owned(), |status| status.to_string());
            judgement.breach(expected, actual, refused.at);
        }
        judgement
    },
};

/// "Result responses MUST include the same ID as the request they correspond to":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic#responses>. A replica that owns the session has no reason to refuse.
pub const OWN_CALLS_ANSWERED: Check = Check {
    id: "own-calls-answered",
    level: Level::Must,
    sentence: "Result responses MUST include the same ID as the request they correspond to (each of 50 sessions gets the answer to \
               what it asked at its own replica)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic#responses",
    remedy: "hub: bound nothing by the number of sessions without saying so (503 to `initialize`); key requests by session and id",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.calls.iter().filter(|call| call.tool().is_some()) {
            let owner = history.session_of(call).and_then(|session| session.owner);
            if owner.is_none() || owner != call.replica {
                continue;
            }
            judgement.judged();
            if !is_answered(history, call) {
                judgement.breach(
                    format!("a result of {}", call_text(call)),
                    reply_text(history, call),
                    call.sent,
                );
            }
        }
        judgement
    },
};

/// "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements>.
pub const CANCEL_REACHES_OWNER: Check = Check {
    id: "cancel-reaches-owner",
    level: Level::Should,
    sentence: "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request (a replica that accepts \
               one for a call of another replica passes it on)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements",
    remedy: "hub: forward notifications to the owner as requests are, or refuse them with 404",
    transports: SESSIONS,
    needs: &[Need::Tool(Tool::Work), Need::Tool(Tool::Tally)],
    judge: |history| {
        let mut judgement = Judgement::default();
        let began: Vec<At> = history.probed_calls(CANCELLED.name).map(|call| call.sent).collect();
        let is_accepted = |exchange: &Exchange<'_>| {
            // One that is late on its way has nothing left to stop: a process may be slower than our clock, and not faster.
            let was_running =
                |head: At| began.iter().all(|began| began.until(head) + SLACK < CANCELLED.whole());
            exchange.head.is_some_and(|head| (200..300).contains(&head.status) && was_running(head.at))
        };
        let is_accepted = history.probes(CANCEL).any(is_accepted);
        if let Some(why) = CANCELLED.why_idle(history) {
            judgement.idle_because(why);
        }
        for (done, call) in CANCELLED.done(history) {
            judgement.judged();
            if is_accepted && done >= CANCELLED.steps {
                judgement.breach("a call that stops when it is cancelled", "all its steps", call.sent);
            }
        }
        judgement
    },
};

/// Hub contract, and of 2026-07-28: the list "MUST NOT vary" with the connection.
pub const TOOLS_LISTED_ALIKE: Check = Check {
    id: "tools-listed-alike",
    level: Level::Contract,
    sentence: "`tools/list` gives the same tools on every replica, from the moment it is ready and during a rollout",
    source: HUB_CONTRACT,
    remedy: "hub: be ready only when every tool is there",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut lists = Vec::new();
        for call in history.calls.iter().filter(|call| call.method == "tools/list") {
            let Some(tools) = call.result().and_then(|result| result.get("tools")) else { continue };
            judgement.judged();
            let replica = call.replica.unwrap_or("a replica");
            let list = tools_by_name(tools).to_string();
            *known.entry(list.clone()).or_default() += 1;
            lists.push((call.sent, replica, tools, list));
        }
        // Most of them are right.
        let usual = known.iter().max_by_key(|(_, count)| **count).map(|(list, _)| list.clone());
        for (at, replica, tools, list) in lists {
            if usual.as_ref().is_some_and(|usual| *usual != list) {
                judgement.breach(
                    "the list that the others give",
                    format!("{} at `{replica}`", names(tools).join(", ")),
                    at,
                );
            }
        }
        judgement
    },
};

/// A tool list that is the same but for its order is paid for again by whoever caches prompts. New in 2026-07-28, and not said
/// of older revisions: <https://modelcontextprotocol.io/specification/2026-07-28/server/tools#capabilities>.
pub const TOOLS_ORDERED_ALIKE: Check = Check {
    id: "tools-ordered-alike",
    level: Level::Should,
    sentence: "Servers SHOULD return tools in a deterministic order (i.e., the same ordering across requests when the underlying \
               set of tools has not changed), whichever replica answers",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/server/tools#capabilities",
    remedy: "hub: list the tools in an order that every replica finds by itself, such as that of their names",
    transports: &[Transport::Stateless],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // The order in which a set of tools was listed first, and where.
        let mut first: BTreeMap<Vec<&str>, (Vec<&str>, &str)> = BTreeMap::new();
        for call in history.calls.iter().filter(|call| call.method == "tools/list") {
            let Some(tools) = call.result().and_then(|result| result.get("tools")) else { continue };
            judgement.judged();
            let replica = call.replica.unwrap_or("a replica");
            let order = names(tools);
            let mut set = order.clone();
            set.sort_unstable();
            let (known, at) = first.entry(set).or_insert_with(|| (order.clone(), replica));
            if *known != order {
                judgement.breach(
                    format!("{}, as at `{at}`", known.join(", ")),
                    format!("{} at `{replica}`", order.join(", ")),
                    call.sent,
                );
            }
        }
        judgement
    },
};

// === helpers ===

/// The names of tools, in the order in which they are listed.
fn names(tools: &Value) -> Vec<&str> {
    tools.as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect()
}

/// What an exchange asked for.
fn what(exchange: &Exchange<'_>) -> String {
    let method = exchange.request.message().and_then(|message| message["method"].as_str());
    method.map_or_else(
        || exchange.request.method.clone(),
        |method| format!("{} {method}", exchange.request.method),
    )
}
