//! What the routing scenarios are judged by. Every check has a defect of the reference hub that it catches:
//! `scenarios/tests/defects.rs`.

mod gap;
mod orphan;
mod scope;
mod tally;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Tool, Transport};
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::history::{Call, Departure, History, Outcome};
use harness::transcript::{End, What};
use serde_json::Value;

pub use gap::ROLLOUT_WITHOUT_GAP;
use orphan::{judge_orphan, went_under};
use scope::{is_opening, is_promised, was_accepted, was_ended_before};
use tally::tallies;
pub use unknown::{NEVER_ISSUED_IS_404, TERMINATED_IS_404, UNKNOWN_REFUSED};

use super::{REMEDY_CLIENT_IP, SESSIONS};
use crate::words::{call_text, end_text, in_order, is_answered, is_polled, reply_text, without_meta};

/// Hub contract: a session works on every path its client may take, for as long as its owner lives.
pub const CALLS_ANSWERED: Check = Check {
    id: "calls-answered",
    level: Level::Contract,
    sentence: "every request on an open session whose owner is there gets its JSON-RPC answer within 5 s, whichever \
               replica it reaches",
    source: HUB_CONTRACT,
    remedy: REMEDY_CLIENT_IP,
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let recovery = history.step("recovery");
        let second = history.second_refused();
        for entry in history.entries() {
            // After a fault it is `new-session-works` that says so, and of a second client `second-client-served`.
            if let What::NoSession { client, why } = &entry.what
                && recovery.is_none_or(|recovery| entry.seq < recovery.seq)
                && !second.iter().any(|refusal| refusal.at == entry.place())
            {
                judgement.judged();
                judgement.breach(format!("a session for client `{client}`"), why.clone(), entry.place());
            }
        }
        for call in history.calls.iter().filter(|call| is_promised(history, call)) {
            judgement.judged();
            let limit = history.stretched(ANSWER + SLACK) + call.held();
            if !is_answered(history, call) || call.took().is_none_or(|took| took > limit) {
                let expected = format!("an answer to {}", call_text(call));
                breach(&mut judgement, history, call, expected);
            }
        }
        judgement
    },
};

/// Hub contract: never 202 and silence.
pub const STRAYS_ANSWERED_FAST: Check = Check {
    id: "strays-answered-fast",
    level: Level::Contract,
    sentence: "a request at a replica that does not own its session gets its answer or an HTTP error within 5 s, never \
               a 2xx and silence",
    source: HUB_CONTRACT,
    remedy: "hub: answer 404 for a session that this process does not have, or forward with a limit on connecting and \
             on the response's head",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in &history.calls {
            let Some(owner) = history.session_of(call).and_then(|session| session.owner) else {
                continue;
            };
            let Some(replica) = call.replica.filter(|replica| *replica != owner) else {
                continue;
            };
            let until = call.outcome.at().unwrap_or(history.end());
            if history.was_away(replica, call.sent, until) || call.held() > Duration::ZERO {
                continue;
            }
            judgement.judged();
            let in_time = call.took().is_some_and(|took| took <= history.stretched(ANSWER + SLACK));
            let told = matches!(call.outcome, Outcome::Answered { .. } | Outcome::Refused { .. });
            if !told || !in_time {
                let expected = format!("an answer or an HTTP error to {} within 5 s", call_text(call));
                breach(&mut judgement, history, call, expected);
            }
        }
        judgement
    },
};

/// Hub contract: the stream of a session whose owner stays is not cut by what happens to others.
pub const STREAMS_UNTOUCHED: Check = Check {
    id: "streams-untouched",
    level: Level::Contract,
    sentence: "the open stream of a session whose owner stays is untouched by what happens to other replicas",
    source: HUB_CONTRACT,
    remedy: "hub: keep nothing of a session on replicas other than its owner",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for session in &history.sessions {
            if session.owner.is_none_or(|owner| history.departure(owner).is_some()) {
                continue;
            }
            // Streamable HTTP servers need not offer a stream; then there is none to be cut.
            judgement.judged();
            for stream in history.streams_of(session) {
                let Some((at, end)) = stream.end else { continue };
                let path_stayed =
                    stream.replica.is_none_or(|replica| !history.was_away(replica, stream.at, at));
                let ended_by_client = was_ended_before(history, session, at);
                if path_stayed && !ended_by_client && *end != End::ClosedByClient && !is_polled(stream) {
                    let expected = format!("the stream of client `{}` stays open", session.client);
                    judgement.breach(expected, end_text(end), at);
                }
            }
        }
        judgement
    },
};

/// Hub contract: whoever waits for a replica that went is told.
pub const ORPHANS_TOLD: Check = Check {
    id: "orphans-told",
    level: Level::Contract,
    sentence: "a session whose owner went gets a cut stream or an error within 2 s, on every path",
    source: HUB_CONTRACT,
    remedy: "hub: pass a broken stream on at once, bound connecting to an owner (1 s), answer 404 when it is gone",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for session in &history.sessions {
            if let Some((owner, left, gone)) = went_under(history, session) {
                judgement.idle_because("no session that lost its replica had a stream or a call in flight");
                judge_orphan(history, session, owner, left, gone, &mut judgement);
            }
        }
        judgement
    },
};

/// Hub contract: after a fault everyone can start anew.
pub const NEW_SESSION_WORKS: Check = Check {
    id: "new-session-works",
    level: Level::Contract,
    sentence: "once the cluster has settled a new session can be opened and used",
    source: HUB_CONTRACT,
    remedy: "see that a replica becomes ready only when it can serve, and is not ready while it cannot",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let Some(recovery) = history.step("recovery") else {
            return judgement;
        };
        let second = history.second_refused();
        for entry in history.entries().iter().filter(|entry| entry.seq > recovery.seq) {
            match &entry.what {
                What::Session { .. } => judgement.judged(),
                // Another check says so.
                What::NoSession { .. } if second.iter().any(|refusal| refusal.at == entry.place()) => {
                    judgement.judged();
                }
                What::NoSession { client, why } => {
                    judgement.judged();
                    let expected = format!("a new session for client `{client}`");
                    judgement.breach(expected, why.clone(), entry.place());
                }
                _ => {}
            }
        }
        judgement
    },
};

/// Hub contract: a call is executed at most once.
pub const EXECUTED_ONCE: Check = Check {
    id: "executed-once",
    level: Level::Contract,
    sentence: "no call is executed more often than it was sent, whatever happens to its replica",
    source: HUB_CONTRACT,
    remedy: "never retry or forward a call again after it may have reached a replica; switch off the balancer's retries \
             for POST (`proxy_next_upstream off`)",
    transports: &[],
    needs: &[Need::Tool(Tool::Tally)],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (key, count) in tallies(history) {
            judgement.judged();
            if count.executed > count.sent {
                let expected = format!("tally `{key}` was sent {} times", count.sent);
                judgement.breach(expected, format!("executed {} times", count.executed), count.at);
            }
        }
        judgement
    },
};

/// Hub contract: what was accepted before a graceful stop is answered. Real servers lose it: a warning at most.
pub const ACCEPTED_CALLS_KEPT: Check = Check {
    id: "accepted-calls-kept",
    level: Level::Should,
    sentence: "on a graceful stop no accepted call is lost",
    source: HUB_CONTRACT,
    remedy: "hub: on SIGTERM finish calls in flight before ending streams; Deployment: \
             `terminationGracePeriodSeconds` longer than the longest call",
    transports: &[],
    needs: &[Need::HeldCall],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in &history.calls {
            let owner = history.session_of(call).and_then(|session| session.owner).or(call.replica);
            let Some((told_to_go, Departure::Graceful)) = owner.and_then(|owner| history.departure(owner))
            else {
                continue;
            };
            // A hub that answers as JSON says nothing of a call before its answer.
            judgement
                .idle_because("no call in flight at a replica that stopped is known to have been accepted");
            // From being told by the cluster to the signal, and while it drains, a replica may accept more.
            let ended = owner.and_then(|owner| history.process_ended(owner, told_to_go));
            let in_flight = call.outcome.at().is_none_or(|at| at > told_to_go)
                && ended.is_none_or(|ended| call.sent < ended);
            if !in_flight || !was_accepted(history, call) {
                continue;
            }
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                let expected = format!("an answer to {}", call_text(call));
                breach(&mut judgement, history, call, expected);
            }
        }
        judgement
    },
};

/// "The server MUST send each of its JSON-RPC messages on only one of the connected streams", and request ids are unique only within a session: payloads tell whose they are.
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections>.
pub const ISOLATED: Check = Check {
    id: "isolated",
    level: Level::Must,
    sentence: "The server MUST send each of its JSON-RPC messages on only one of the connected streams (an answer carries what its \
               own session asked for, nothing crosses)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections",
    remedy: "hub: key everything that belongs to a request by session and request id",
    transports: &[],
    needs: &[Need::Repeats],
    judge: |history| {
        let mut judgement = Judgement::default();
        let echo = &history.transcript.header.echo;
        if echo.is_name {
            judgement.idle_because("no request carried a text of its own");
        }
        let sent = |call: &Call<'_>| Some((call.client.to_owned(), echo.sent(call)?.to_owned()));
        let payloads: BTreeSet<(String, String)> = history.calls.iter().filter_map(sent).collect();
        for exchange in history.exchanges.values() {
            for (at, message) in exchange.messages() {
                let Some(text) = echo.said(&message) else { continue };
                judgement.judged();
                let owners = payloads.iter().filter(|(_, payload)| echo.gives_back(text, payload));
                let text = echo.unwrapped(text);
                let owners: Vec<&str> = owners.map(|(client, _)| client.as_str()).collect();
                let reader = exchange.request.client.as_str();
                if !owners.is_empty() && !owners.contains(&reader) {
                    let actual = format!("`{text}`, which client `{}` sent", owners.join("`, `"));
                    judgement.breach(
                        format!("only payloads of client `{reader}` on its streams"),
                        actual,
                        at,
                    );
                }
            }
        }
        for call in &history.calls {
            let Some(wanted) = echo.sent(call) else { continue };
            if let Some((at, answer)) = call.answers.first()
                && let Some(text) = echo.said(answer)
                && !echo.gives_back(text, wanted)
            {
                judgement.breach(
                    format!("`{wanted}` in answer to {}", call_text(call)),
                    format!("`{text}`"),
                    *at,
                );
            }
        }
        judgement
    },
};

/// Hub contract: no replica is left without work.
pub const EVERY_REPLICA_SERVES: Check = Check {
    id: "every-replica-serves",
    level: Level::Should,
    sentence: "when many clients come, every ready replica gets some of their sessions",
    source: HUB_CONTRACT,
    remedy: "let the balancer see client addresses (`externalTrafficPolicy: Local`, or affinity by cookie or header at \
             the proxy); see that every replica accepts sessions",
    transports: &[],
    needs: &[Need::Replicas(2)],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut served: BTreeMap<&str, usize> = history
            .entries()
            .iter()
            .rev()
            .find_map(|entry| match &entry.what {
                What::Endpoints { ready } => Some(ready.iter().map(|pod| (pod.as_str(), 0)).collect()),
                _ => None,
            })
            .unwrap_or_default();
        for exchange in history.exchanges.values().filter(|exchange| is_opening(history, exchange)) {
            let accepted = exchange.head.is_some_and(|head| head.status < 400);
            if let Some(replica) = exchange.replica.filter(|_| accepted) {
                *served.entry(replica).or_default() += 1;
            }
        }
        for session in &history.sessions {
            // Where the path does not tell, `whoami` did.
            if let Some(owner) = session.owner {
                served.entry(owner).and_modify(|count| *count += 1).or_insert(1);
            }
        }
        for call in history.calls.iter().filter(|call| call.replica.is_none()) {
            // In the stateless era every request is spread for itself: `whoami` says by which one it was answered.
            if let Some(count) = call.text().and_then(|name| served.get_mut(name)) {
                *count += 1;
            }
        }
        let total: usize = served.values().sum();
        // Nobody told which replica served: that is no reason to warn of any.
        for (replica, count) in served.iter().filter(|_| total > 0) {
            judgement.judged();
            if *count == 0 {
                judgement.breach(
                    format!("some of {total} sessions on replica `{replica}`"),
                    "none".to_owned(),
                    history.end(),
                );
            }
        }
        judgement
    },
};

/// "Servers MUST NOT rely on prior requests over the same connection to establish context" and "a server must not treat
/// connection or process identity as a proxy for conversation or session continuity":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic#statelessness>.
pub const ANSWERS_ALIKE: Check = Check {
    id: "answers-alike",
    level: Level::Must,
    sentence: "Servers MUST NOT rely on prior requests over the same connection to establish context; a server must \
               not treat connection or process identity as a proxy for conversation or session continuity",
    source: super::SPEC_STATELESS,
    remedy: "hub: build every answer from the request and from shared state alone; deploy one version at a time",
    transports: &[Transport::Stateless],
    needs: &[Need::Replicas(2)],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut first: BTreeMap<String, (&Call<'_>, Value)> = BTreeMap::new();
        for call in &history.calls {
            let (Some(result), Some((at, _))) = (call.result(), call.answers.first()) else {
                continue;
            };
            let asked = format!("{} {}", call.method, without_meta(call.params));
            let result = in_order(without_meta(result));
            match first.get(&asked) {
                None => {
                    first.insert(asked, (call, result));
                }
                Some((other, told)) if other.replica != call.replica => {
                    judgement.judged();
                    if *told != result {
                        let on = |call: &Call<'_>| call.replica.unwrap_or("another replica").to_owned();
                        judgement.breach(
                            format!("the answer of `{}` to {}: {told}", on(other), call.method),
                            format!("`{}` answers {result}", on(call)),
                            *at,
                        );
                    }
                }
                Some(_) => {}
            }
        }
        judgement
    },
};

/// Notes that a call did not come to what was expected.
fn breach(judgement: &mut Judgement, history: &History<'_>, call: &Call<'_>, expected: String) {
    judgement.breach(expected, reply_text(history, call), call.outcome.at().unwrap_or(call.sent));
}
