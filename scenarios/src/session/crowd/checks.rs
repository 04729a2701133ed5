//! What a misbehaving crowd may cost the others: nothing.

use std::time::Duration;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::What;
use harness::transcript::history::{History, Outcome};

use super::{ENDLESS, OTHERS, UNREAD, VANISHED};
use crate::words::reply_text;

/// Hub contract: the specification knows one client at a time.
pub const SLOW_READER_ALONE: Check = Check {
    id: "slow-reader-alone",
    level: Level::Contract,
    sentence: "While one client does not read its answers, a request of another client must be answered within 5 s.",
    source: HUB_CONTRACT,
    remedy: "hub: give every stream a task and a bounded queue of its own; hold no lock that others need while you write to a client",
    transports: &[],
    needs: &[],
    judge: |history| others_served(history, UNREAD, "while a client does not read"),
};

/// Hub contract: a client that has gone needs nothing.
pub const SERVES_AFTER_VANISHED: Check = Check {
    id: "serves-after-vanished",
    level: Level::Contract,
    sentence: "After 300 clients that vanished without a word, a new client must be answered within 5 s.",
    source: HUB_CONTRACT,
    remedy: "hub: free a connection's thread, permit and session when the connection ends; end sessions that nobody uses",
    transports: &[],
    needs: &[],
    judge: |history| others_served(history, VANISHED, "after clients that vanished"),
};

/// Hub contract: what is not yet a request costs no worker.
pub const SERVES_BESIDE_HEADS: Check = Check {
    id: "serves-beside-heads",
    level: Level::Contract,
    sentence: "While 100 clients send the head of a request byte by byte, another client must be answered within 5 s.",
    source: HUB_CONTRACT,
    remedy: "hub: an asynchronous server, or many more threads; or a proxy in front that reads heads itself, as nginx does",
    transports: &[],
    needs: &[],
    judge: |history| others_served(history, ENDLESS, "beside heads that never end"),
};

/// When a client has given up: after the contract's 5 s, and what a busy machine may add. It grows as all limits do.
const GIVEN_UP: Duration = Duration::from_secs(7);

/// Every request of the others has a result, and each of them a session. Where no client of the crowd got as far as it should,
/// nothing is shown.
fn others_served(history: &History<'_>, crowd: &str, when: &str) -> Judgement {
    let mut judgement = Judgement::default();
    let has_come = history
        .entries()
        .iter()
        .any(|entry| matches!(&entry.what, What::Counted { what, count, .. } if what == crowd && *count > 0));
    let limit = GIVEN_UP.mul_f64(history.transcript.header.measured.stretch());
    for entry in history.entries() {
        if let What::NoSession { why, .. } = &entry.what {
            judgement.judged();
            judgement.breach(format!("a session {when}"), why.clone(), entry.place());
        }
    }
    for call in history.probed_calls(OTHERS).filter(|_| has_come) {
        judgement.judged();
        // A hub without tools says so. What came when its client had given up helped nobody.
        let is_late = call.took().is_some_and(|took| took > limit);
        if is_late || !matches!(call.outcome, Outcome::Answered { .. }) {
            judgement.breach(format!("an answer {when}"), reply_text(history, call), call.sent);
        }
    }
    judgement
}
