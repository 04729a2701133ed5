//! What one fault explains in many cells: a finding names its cause, so that a report tells it once. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::transcript::What;
use crate::transcript::history::{Call, History, Outcome};

/// A cause that several checks notice. Its name in files is never used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A replica that does not own a session refused its request as if there were no such session, while the owner was there.
    SessionsInOneProcess,
}

/// In one plain sentence.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::SessionsInOneProcess => {
                "Each replica keeps its sessions in its own memory; the others do not know them."
            }
        })
    }
}

/// The cause of a finding, where the transcript proves one.
pub(super) fn of(history: &History<'_>, finding: &Finding) -> Option<Cause> {
    let seq = finding.at?;
    let is_meant =
        |call: &&Call<'_>| call.sent.seq == seq || call.outcome.at().is_some_and(|at| at.seq == seq);
    let strays = history.calls.iter().find(is_meant).is_some_and(|call| is_a_stray(history, call));
    (strays || was_opened_astray(history, seq)).then_some(Cause::SessionsInOneProcess)
}

/// The statuses by which servers say that they do not know a session: the specification wants 404; the SDKs also answer 400.
fn is_unknown_session(status: u16) -> bool {
    matches!(status, 400 | 404 | 410)
}

/// Whether a replica that does not own a call's session refused it, while the owner could have answered. Silence and errors of other
/// kinds prove nothing about where sessions are kept.
fn is_a_stray(history: &History<'_>, call: &Call<'_>) -> bool {
    let Some(owner) = history.session_of(call).and_then(|session| session.owner) else { return false };
    let until = call.outcome.at().unwrap_or(history.end());
    call.replica.is_some_and(|replica| replica != owner)
        && matches!(call.outcome, Outcome::Refused { status, .. } if is_unknown_session(status))
        && !history.was_away(owner, call.sent, until)
}

/// Whether a client got no session because its opening went to two replicas: it began at one, and another refused what followed.
fn was_opened_astray(history: &History<'_>, seq: u32) -> bool {
    let refused = history.entries().iter().find(|entry| entry.seq == seq);
    let Some(What::NoSession { client, .. }) = refused.map(|entry| &entry.what) else { return false };
    let before = history
        .exchanges
        .values()
        .filter(|exchange| exchange.at.seq < seq && exchange.request.client == *client);
    let (mut begun, mut refused) = (None, None);
    for exchange in before {
        match exchange.status() {
            Some(200..300) => begun = exchange.replica,
            Some(status) if is_unknown_session(status) => refused = exchange.replica,
            _ => {}
        }
    }
    begun.is_some() && refused.is_some() && begun != refused
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::could_not_tell;
    use super::*;
    use crate::plan::Transport;
    use crate::transcript::{Entry, Header, Transcript};

    /// The cause of a finding about a call of a session that replica `a` owns, sent to this replica and answered with this status;
    /// `before` happened between opening and call.
    fn cause(replica: &str, status: Option<u16>, before: &[serde_json::Value]) -> Option<Cause> {
        let mut whats = vec![json!({ "kind": "session", "client": "c", "id": "s", "owner": "a" })];
        whats.extend_from_slice(before);
        let at = u32::try_from(whats.len()).unwrap() + 1;
        whats.push(json!({
            "kind": "request", "exchange": 1, "client": "c", "path": { "replica": replica }, "method": "POST", "target": "/mcp",
            "headers": [["mcp-session-id", "s"]], "connection": "fresh",
            "body": { "json": { "jsonrpc": "2.0", "id": 1, "method": "tools/list" } },
        }));
        let limit = json!({ "end": "timed-out", "waiting_for": "head", "limit_ms": 7000 });
        match status {
            Some(status) => {
                whats.push(json!({ "kind": "head", "exchange": 1, "status": status, "headers": [] }));
                whats.push(json!({ "kind": "end", "exchange": 1, "how": { "end": "complete" } }));
            }
            None => whats.push(json!({ "kind": "end", "exchange": 1, "how": limit })),
        }
        let whats = whats.into_iter().map(|what| serde_json::from_value::<What>(what).unwrap());
        let entries = (1..).zip(whats).map(|(seq, what)| Entry { seq, at_us: u64::from(seq), what });
        let header = Header::made_by_hand("local", Some(Transport::Streamable));
        let transcript = Transcript { header, entries: entries.collect() };
        of(&History::new(&transcript), &could_not_tell(at, String::new()))
    }

    #[test]
    fn a_replica_that_does_not_know_the_session_of_another_proves_it() {
        assert_eq!(cause("b", Some(404), &[]), Some(Cause::SessionsInOneProcess));
        assert_eq!(cause("b", Some(400), &[]), Some(Cause::SessionsInOneProcess));
    }

    #[test]
    fn silence_other_errors_and_the_owner_itself_prove_nothing() {
        assert_eq!(cause("b", None, &[]), None, "a hub that forwards and hangs knows the session");
        assert_eq!(cause("b", Some(502), &[]), None);
        assert_eq!(cause("b", Some(401), &[]), None);
        assert_eq!(cause("b", Some(200), &[]), None);
        assert_eq!(cause("a", Some(404), &[]), None, "the owner forgot it");
    }

    #[test]
    fn an_owner_that_is_gone_explains_the_refusal() {
        let kill = json!({ "kind": "fault", "fault": "kill", "replica": "a" });
        assert_eq!(cause("b", Some(404), &[kill]), None);
    }
}
