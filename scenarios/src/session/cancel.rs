//! Cancellations at the replica that runs the call.

use std::time::Duration;

use futures_util::future::{FutureExt, select};
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::Exchange;
use serde_json::{Value, json};

use super::SESSIONS;
use crate::words::reply_text;

/// The name of the cancellation of a call that runs.
const CANCEL: &str = "cancellation";

/// The name of cancellations of a call that never was, of one that is over, and of nothing that has an id.
const NOTHING: &str = "cancellation of nothing";

/// The name of the request that is over.
const OVER: &str = "answered before";

/// The name of the request after them.
const AFTER: &str = "after cancellations";

/// How long the call is held: longer than the rest takes.
const HOLD: Duration = Duration::from_secs(3);

/// How long the stream of a cancelled call is waited for: a server may leave it open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Cancellations are taken.
pub const CANCEL_RUNNING: Scenario = Scenario {
    outline: Outline { id: "session/cancel", affinities: &[], transports: SESSIONS, needs: &[] },
    title: "a cancellation of a call that runs, that is over or that never was is taken, and the session goes on",
    why: "Clients cancel when a user presses stop, and when they have waited long enough. What comes of the call differs from server \
          to server; but the next one must work.",
    spec: &[SPEC, HUB_CONTRACT],
    remedy: "hub: take `notifications/cancelled` for any request id; stop the work where that is possible, and nothing else",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&CANCEL_TAKEN, &UNKNOWN_CANCEL_IGNORED],
    drive: |stage| cancel(stage).boxed(),
};

async fn cancel(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let over = session.raw(stage.small(), json!({})).named(OVER);
    let id_of_over = serde_json::from_slice::<Value>(&over.body).map(|message| message["id"].clone());
    session.send(&service, over).await;
    let running = match stage.hold(&holder, &service, HOLD).await {
        Some(held) => Some(held.pending),
        None => match stage.slow_call(CANCEL, HOLD) {
            Some(call) => {
                let call = session.raw("tools/call", call);
                session.send_held(&service, call, stage.longest_call()).await
            }
            None => None,
        },
    };
    if let Some(running) = running {
        let which = json!({ "requestId": running.id(), "reason": "hubcheck" });
        session
            .send(&service, session.raw_notification("notifications/cancelled", which).named(CANCEL))
            .await;
        if stage.transport() == Transport::Streamable {
            // With an answer or without one, or not at all: only what comes after it is judged.
            select(running.outcome().boxed(), stage.pause(PATIENCE).boxed()).await;
        }
    }
    for nothing in [json!(4711), id_of_over.unwrap_or_default(), json!({ "no": "id" })] {
        let params = json!({ "requestId": nothing });
        session
            .send(&service, session.raw_notification("notifications/cancelled", params).named(NOTHING))
            .await;
    }
    stage.ask(&holder, &service, AFTER, stage.small(), json!({})).await;
    session.end(&service).await;
    Ok(())
}

// === checks ===

/// Where cancellation is specified.
const SPEC: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements";

/// Hub contract, from "Receivers of cancellation notifications SHOULD: Stop processing the cancelled request .. MAY ignore": whichever
/// of both, a client that cancels has done nothing wrong.
pub const CANCEL_TAKEN: Check = Check {
    id: "cancel-taken",
    level: Level::Contract,
    sentence: "a cancellation of a call that runs is not refused, and the session answers the next request",
    source: HUB_CONTRACT,
    remedy: "hub: answer 202 to `notifications/cancelled`; end the call, not the session",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(CANCEL) {
            judgement.judged();
            if !is_taken(exchange) {
                judgement.breach("2xx to a cancellation", status_text(exchange), exchange.at);
            }
        }
        for call in history.probed_calls(AFTER) {
            judgement.judged();
            if call.result().is_none() {
                judgement.breach("a result of the next request", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "Invalid cancellation notifications SHOULD be ignored: Unknown request IDs; Already completed requests; Malformed notifications":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#error-handling>.
pub const UNKNOWN_CANCEL_IGNORED: Check = Check {
    id: "unknown-cancel-ignored",
    level: Level::Should,
    sentence: "Invalid cancellation notifications SHOULD be ignored: Unknown request IDs; Already completed requests; Malformed \
               notifications",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#error-handling",
    remedy: "hub: answer 202 to the cancellation of a request that it does not know",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(NOTHING) {
            judgement.judged();
            if !is_taken(exchange) {
                judgement.breach("2xx to a cancellation of nothing", status_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

// === helpers ===

fn is_taken(exchange: &Exchange<'_>) -> bool {
    exchange.status().is_some_and(|status| (200..300).contains(&status))
}

fn status_text(exchange: &Exchange<'_>) -> String {
    exchange.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}
