//! How often calls were executed, as far as a transcript can tell.

use std::collections::BTreeMap;

use harness::run::stage::COUNTER;
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
    let counted = history.calls.iter().filter(|call| history.probe_of(call) != Some(COUNTER));
    for call in counted {
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
        let value = value(call);
        // Progress shows that it ran although its answer never came.
        *told = (*told).max(value.unwrap_or(if call.progress.is_empty() { 0 } else { add }));
    }
    let is_shared = is_shared(history);
    for ((key, _), executed) in told {
        if let Some(count) = counts.get_mut(&key) {
            // One counter that every replica reads is told by each of them.
            count.executed = if is_shared { count.executed.max(executed) } else { count.executed + executed };
        }
    }
    counts
}

/// Whether replicas share their counters: one that was only asked told what another one had counted.
fn is_shared(history: &History<'_>) -> bool {
    history.probed_calls(COUNTER).any(|call| {
        call.argument("add").and_then(Value::as_u64) == Some(0) && value(call).is_some_and(|value| value > 0)
    })
}

/// The count that the answer to a call tells.
fn value(call: &Call<'_>) -> Option<u64> {
    call.text()?.trim().parse().ok()
}

/// A replica's process: its name, and how often it had been killed when the call was sent.
pub(super) fn incarnation(history: &History<'_>, replica: &str, call: &Call<'_>) -> String {
    let killed = history.faults.iter().filter(|(at, fault)| {
        *at < call.sent && matches!(fault, Fault::Kill { replica: killed } if killed == replica)
    });
    format!("{replica}#{}", killed.count())
}

#[cfg(test)]
mod tests {
    use harness::plan::Transport;
    use harness::transcript::{Entry, Transcript, What};
    use serde_json::json;

    use super::*;
    use crate::by_hand::header;

    /// How often a call that was sent once was executed, when both replicas tell 1 of it, and the second one tells this of a counter
    /// that only the first one was told to add to.
    fn executed(other_tells: u64) -> u64 {
        let asked = [
            ("a", Some(COUNTER), "shared", 1, 1),
            ("b", Some(COUNTER), "shared", 0, other_tells),
            ("a", None, "key", 1, 1),
            ("b", None, "key", 0, 1),
        ];
        let whats = (1_u32..).zip(asked).flat_map(|(exchange, (replica, probe, key, add, told))| {
            let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": "tally", "arguments": { "key": key, "add": add } } });
            let answer = json!({ "jsonrpc": "2.0", "id": 1,
                "result": { "content": [{ "type": "text", "text": told.to_string() }] } });
            let whats = json!([
                { "kind": "request", "exchange": exchange, "client": format!("c{exchange}"), "probe": probe,
                  "path": { "replica": replica }, "method": "POST", "target": "/mcp", "headers": [],
                  "body": { "json": call }, "connection": "fresh" },
                { "kind": "head", "exchange": exchange, "status": 200, "headers": [] },
                { "kind": "body", "exchange": exchange, "body": { "json": answer } },
            ]);
            serde_json::from_value::<Vec<What>>(whats).unwrap()
        });
        let entries =
            (1..).zip(whats).map(|(seq, what)| Entry { seq, at_us: u64::from(seq), what }).collect();
        let header = header(Transport::Streamable, "local");
        let transcript = Transcript { header, entries };
        tallies(&History::new(&transcript))["key"].executed
    }

    #[test]
    fn one_counter_that_all_replicas_read_is_not_added_up() {
        assert_eq!(executed(1), 1);
        assert_eq!(executed(0), 2, "each replica counts for itself, and both did");
    }
}
