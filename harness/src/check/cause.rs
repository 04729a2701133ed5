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
    /// A request for a session was refused, or left unanswered, by a replica that does not own it while the owner was there.
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

/// Whether a call reached a replica that does not have its session, and got no answer there, while the owner could have given one.
fn is_a_stray(history: &History<'_>, call: &Call<'_>) -> bool {
    let Some(owner) = history.session_of(call).and_then(|session| session.owner) else { return false };
    let until = call.outcome.at().unwrap_or(history.end());
    call.replica.is_some_and(|replica| replica != owner)
        && !matches!(call.outcome, Outcome::Answered { .. })
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
            Some(400..500) => refused = exchange.replica,
            _ => {}
        }
    }
    begun.is_some() && refused.is_some() && begun != refused
}
