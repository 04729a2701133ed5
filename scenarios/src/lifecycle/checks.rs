//! What the lifecycle scenarios are judged by, beside the checks of `routing`. Every check has a defect of the reference
//! hub that it catches: `scenarios/tests/defects.rs`.

mod grace;
mod hang;
mod symptom;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::history::{At, Call, Exchange, History, Outcome, Session};
use harness::transcript::{End, Fault, PodChange, What};

use crate::routing::SESSIONS;
pub use grace::EXITS_IN_GRACE;
pub use hang::HANG_CONTAINED;
pub use symptom::{LAST_WORDS, SYMPTOM_TOLD};

use crate::words::{body_text, call_text, end_text, is_polled, is_served, reply_text};

/// The step in which replicas have different keys.
pub const KEYS_DIFFER: &str = "the keys differ";

/// Hub contract: whatever is wrong, nobody is left waiting.
pub const NO_HANG: Check = Check {
    id: "no-hang",
    level: Level::Contract,
    sentence: "whatever is wrong with a replica, every request is answered or refused within 5 s, but for what the Service gave \
               to one that hangs",
    source: HUB_CONTRACT,
    remedy: "hub: do not listen before requests can be answered, bound every wait for something else; Deployment: a \
             `readinessProbe` that asks the hub, so that one that hangs leaves the Service",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.exchanges.values() {
            judgement.judged();
            if let Some((at, end @ End::TimedOut { .. })) = exchange.end
                && !history.may_have_met_nobody(exchange)
                && !hang::is_held_by_hanging(history, exchange)
            {
                let expected = format!("an answer to {}", exchange_text(exchange));
                judgement.breach(expected, end_text(end), at);
            }
        }
        for call in history.calls.iter().filter(|call| call.held().is_zero()) {
            let late = call.took().filter(|took| *took > history.stretched(ANSWER + SLACK));
            if let (Some(_), Some(at)) = (late, call.outcome.at()) {
                let expected = format!("an answer to {} within 5 s", call_text(call));
                judgement.breach(expected, reply_text(history, call), at);
            }
        }
        judgement
    },
};

/// Hub contract: Ready but broken is the worst class, since nothing stops the rollout.
pub const READY_MEANS_SERVING: Check = Check {
    id: "ready-means-serving",
    level: Level::Contract,
    sentence: "a replica that is ready serves: no request that reaches it gets a 5xx, a cut connection or silence",
    source: HUB_CONTRACT,
    remedy: "hub: answer the readiness probe by whether a session could be served now, and end when something required is \
             missing",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in &history.calls {
            let Some(replica) = call.replica.filter(|replica| was_ready_for(history, replica, call)) else {
                continue;
            };
            // What a replica forwards is its owner's to serve.
            let owner = history.session_of(call).and_then(|session| session.owner);
            if owner.is_some_and(|owner| {
                owner != replica && history.was_away(owner, call.sent, until(history, call))
            }) {
                continue;
            }
            judgement.judged();
            let is_served = match &call.outcome {
                Outcome::Answered { .. } => call.result().is_some(),
                Outcome::Refused { status, .. } => *status < 500,
                Outcome::Ended { .. } | Outcome::Silent => false,
            };
            if !is_served {
                let at = call.outcome.at().unwrap_or(call.sent);
                let expected = format!("`{replica}`, which is ready, serves {}", call_text(call));
                judgement.breach(expected, reply_text(history, call), at);
            }
        }
        // A stream carries no call of its own.
        for exchange in history.exchanges.values().filter(|exchange| exchange.request.method == "GET") {
            let (Some(replica), Some(head)) = (exchange.replica, exchange.head) else { continue };
            if head.status >= 500 && was_ready(history, replica, exchange.at, head.at) {
                let expected = format!("`{replica}`, which is ready, serves {}", exchange_text(exchange));
                judgement.breach(expected, head.status.to_string(), head.at);
            }
        }
        judgement
    },
};

/// Hub contract: who looks at a refusal must not look in the wrong place.
pub const FOREIGN_KEY_TOLD: Check = Check {
    id: "foreign-key-told",
    level: Level::Contract,
    sentence: "a session id that was sealed with a key the replica does not have is answered 404 with a text that names the \
               key as the reason",
    source: HUB_CONTRACT,
    remedy: "hub: put the id of the key in clear before the sealed session id, and name it when it is unknown",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let (Some(from), Some(to)) = (history.step(KEYS_DIFFER), history.step("remedy")) else {
            return judgement;
        };
        for call in history.calls.iter().filter(|call| from < call.sent && call.sent < to) {
            let owner = history.session_of(call).and_then(|session| session.owner);
            if owner.is_none() || owner == call.replica {
                continue;
            }
            judgement.judged();
            let body = history.exchanges.get(&call.exchange).and_then(|exchange| exchange.body);
            let says_key = body.is_some_and(|(_, body)| body_text(body).to_lowercase().contains("key"));
            if !(matches!(call.outcome, Outcome::Refused { status: 404, .. }) && says_key) {
                let at = call.outcome.at().unwrap_or(call.sent);
                let expected = format!("404 that names the key to {}", call_text(call));
                judgement.breach(expected, reply_text(history, call), at);
            }
        }
        judgement
    },
};

/// Hub contract: the guide's remedy is enough.
pub const RECOVERS: Check = Check {
    id: "recovers",
    level: Level::Contract,
    sentence: "once what was wrong is mended, or the change is made, every replica becomes ready, and serves the sessions that it \
               gives",
    source: HUB_CONTRACT,
    remedy: "hub: keep nothing from an earlier start, and become ready as soon as it can serve",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let last_fault = || history.faults.last().map(|(at, _)| *at);
        let Some(remedy) = history.step("remedy").or_else(last_fault) else { return judgement };
        let mut is_clusters = false;
        for entry in history.entries().iter().filter(|entry| entry.seq > remedy.seq) {
            if let What::Awaited { condition, unmet, .. } = &entry.what {
                judgement.judged();
                let Some(last_seen) = unmet else { continue };
                // Where the cluster has not even started a container, it is not the hub that is slow.
                if history.not_started(Some(remedy), entry.place()).is_some() {
                    is_clusters = true;
                } else {
                    judgement.breach(condition.clone(), last_seen.clone(), entry.place());
                }
            }
        }
        if is_clusters && judgement.breaches.is_empty() {
            // Nor is it the hub that has recovered.
            return Judgement::default();
        }
        let Some(recovery) = history.step("recovery") else { return judgement };
        for call in &history.calls {
            let is_own =
                |session: &Session<'_>| session.owner.is_none_or(|owner| call.replica == Some(owner));
            let Some(session) = history.session_of(call).filter(|session| session.opened >= recovery) else {
                continue;
            };
            // Where it went is not told on every backend; an answer shows what is asked for, wherever it came from.
            let is_shown = is_own(session) || call.replica.is_none() && is_served(call);
            if !is_shown {
                continue;
            }
            judgement.judged();
            if !is_served(call) {
                let at = call.outcome.at().unwrap_or(call.sent);
                judgement.breach(format!("an answer to {}", call_text(call)), reply_text(history, call), at);
            }
        }
        judgement
    },
};

/// Hub contract: leaving the endpoints ends nothing.
pub const SESSIONS_OUTLIVE_A_PAUSE: Check = Check {
    id: "sessions-outlive-a-pause",
    level: Level::Contract,
    sentence: "a replica that did not answer for a while still has its sessions: their streams are open, and they are \
               answered again",
    source: HUB_CONTRACT,
    remedy: "hub: end no session because time has passed without a sign of life from the hub itself",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for session in &history.sessions {
            let Some(back) = session.owner.and_then(|owner| back_from_pause(history, owner)) else {
                continue;
            };
            judgement.judged();
            for stream in history.streams_of(session) {
                if let Some((at, end)) = stream.end
                    && *end != End::ClosedByClient
                    && !is_polled(stream)
                {
                    let expected = format!("the stream of client `{}` stays open", session.client);
                    judgement.breach(expected, end_text(end), at);
                }
            }
            let is_its = |other: &Session<'_>| std::ptr::eq(other, session);
            let own = |call: &&Call<'_>| {
                call.sent > back
                    && call.replica == session.owner
                    && history.session_of(call).is_some_and(is_its)
            };
            for call in history.calls.iter().filter(own) {
                if !is_served(call) {
                    let expected = format!("an answer to {}", call_text(call));
                    let at = call.outcome.at().unwrap_or(call.sent);
                    judgement.breach(expected, reply_text(history, call), at);
                }
            }
        }
        judgement
    },
};

// === helpers ===

/// Whether a replica was ready, and stayed so, from when a call was sent until it came to something.
fn was_ready_for(history: &History<'_>, replica: &str, call: &Call<'_>) -> bool {
    was_ready(history, replica, call.sent, until(history, call))
}

/// When it was known what a call came to. Silence lasts until the client gives up.
fn until(history: &History<'_>, call: &Call<'_>) -> At {
    let given_up = || history.exchanges.get(&call.exchange)?.end.map(|(at, _)| at);
    call.outcome.at().or_else(given_up).unwrap_or(history.end())
}

/// Whether a replica was ready from one place to another.
fn was_ready(history: &History<'_>, replica: &str, from: At, until: At) -> bool {
    let mut ready = false;
    for entry in history.entries().iter().take_while(|entry| entry.seq <= until.seq) {
        let What::Pod { pod, change } = &entry.what else { continue };
        if pod != replica {
            continue;
        }
        ready = match change {
            PodChange::Ready => true,
            PodChange::NotReady | PodChange::Terminated { .. } | PodChange::Terminating => false,
            PodChange::Created
            | PodChange::Waiting { .. }
            | PodChange::Running { .. }
            | PodChange::Deleted => ready,
        };
        if !ready && entry.seq > from.seq {
            return false;
        }
    }
    ready && !history.was_away(replica, from, until)
}

/// When a replica was ready again after its process had been stopped.
fn back_from_pause(history: &History<'_>, replica: &str) -> Option<At> {
    let went_on = history.faults.iter().find_map(|(at, fault)| match fault {
        Fault::Continue { replica: back } if back == replica => Some(*at),
        _ => None,
    })?;
    history.entries().iter().filter(|entry| entry.seq > went_on.seq).find_map(|entry| match &entry.what {
        What::Pod { pod, change: PodChange::Ready } if pod == replica => Some(entry.place()),
        _ => None,
    })
}

fn exchange_text(exchange: &Exchange<'_>) -> String {
    let request = exchange.request;
    format!("{} {} of client `{}`", request.method, request.target, request.client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::check::Verdict;

    use crate::by_hand::{breached, judged};

    #[test]
    fn who_waits_for_the_cluster_does_not_wait_for_the_hub() {
        let pod = |change| What::Pod { pod: "mcp-hub-a".to_owned(), change };
        let in_vain = |changes: Vec<PodChange>| {
            let fault = What::Fault(Fault::Roll);
            let (condition, unmet) =
                ("the newest revision is rolled out".to_owned(), Some("not ready".to_owned()));
            let awaited = What::Awaited { condition, took_ms: 60_000, unmet };
            let entries = changes.into_iter().map(pod);
            breached(&RECOVERS, std::iter::once(fault).chain(entries).chain([awaited]).collect())
        };
        assert!(!in_vain(vec![PodChange::Created]), "its node is busy");
        assert!(in_vain(vec![PodChange::Created, PodChange::Running { restarts: 0 }]));
        let (reason, message) = ("CrashLoopBackOff".to_owned(), String::new());
        assert!(in_vain(vec![PodChange::Created, PodChange::Waiting { reason, message }]));
    }

    #[test]
    fn why_a_container_waited_before_the_remedy_is_no_reason_after_it() {
        let waits = || {
            let (reason, message) = ("CreateContainerConfigError".to_owned(), String::new());
            What::Pod { pod: "mcp-hub-a".to_owned(), change: PodChange::Waiting { reason, message } }
        };
        let created = What::Pod { pod: "mcp-hub-a".to_owned(), change: PodChange::Created };
        let remedy = What::Step { name: "remedy".to_owned() };
        let awaited = What::Awaited {
            condition: "exactly 2 pods, all ready".to_owned(),
            took_ms: 60_000,
            unmet: Some("not ready".to_owned()),
        };
        let busy = [created.clone(), waits(), remedy.clone(), awaited.clone()].map(|what| (0, what));
        assert_eq!(judged("kind", &RECOVERS, busy).verdict, Verdict::Inconclusive);
        assert!(breached(&RECOVERS, vec![created, remedy, waits(), awaited]));
    }
}
