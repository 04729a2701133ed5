//! How often calls were executed, as far as a transcript can tell.

use std::collections::BTreeMap;

use harness::transcript::Fault;
use harness::transcript::history::{At, Call, History};
use serde_json::Value;

/// How often the calls of one key were sent, and executed as far as that can be known.
pub(super) struct Count {
    pub(super) sent: u64,
    pub(super) executed: u64,
    pub(super) at: At,
}

pub(super) fn tallies(history: &History<'_>) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    // The highest count that each incarnation of each replica has told.
    let mut told: BTreeMap<(String, String), u64> = BTreeMap::new();
    for call in &history.calls {
        let Some(key) = call.argument("key").and_then(Value::as_str) else {
            continue;
        };
        let add = call.argument("add").and_then(Value::as_u64).unwrap_or(1);
        let count = counts.entry(key.to_owned()).or_insert(Count { sent: 0, executed: 0, at: call.sent });
        count.sent += add;
        count.at = count.at.max(call.outcome.at().unwrap_or(call.sent));
        let owner = history.session_of(call).and_then(|session| session.owner).or(call.replica);
        let Some(owner) = owner else { continue };
        let incarnation = incarnation(history, owner, call);
        let told = told.entry((key.to_owned(), incarnation)).or_default();
        let value = call.text().and_then(|text| text.trim().parse::<u64>().ok());
        // Progress shows that it ran although its answer never came.
        *told = (*told).max(value.unwrap_or(if call.progress.is_empty() { 0 } else { add }));
    }
    for ((key, _), executed) in told {
        if let Some(count) = counts.get_mut(&key) {
            count.executed += executed;
        }
    }
    counts
}

/// A replica's process: its name, and how often it had been killed when the call was sent.
pub(super) fn incarnation(history: &History<'_>, replica: &str, call: &Call<'_>) -> String {
    let killed = history.faults.iter().filter(|(at, fault)| {
        *at < call.sent && matches!(fault, Fault::Kill { replica: killed } if killed == replica)
    });
    format!("{replica}#{}", killed.count())
}
