//! What one fault explains in many cells: a finding names its cause, so that a report tells it once. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sdk::Sdk;
use super::{Finding, remedy};
use crate::transcript::What;
use crate::transcript::history::{Call, Exchange, History, Outcome};

/// The step by which scenarios say that a hub must find a session from every replica. For a hub whose SDK is known there is a line of code.
const FROM_EVERY_REPLICA: &str = "a hub that finds a session from every replica";

/// What mends it where the check itself has no step for that.
const SESSIONS_ANYWHERE: &str = "a hub that finds a session from every replica, or Service: `spec.sessionAffinity: ClientIP`, or \
                                 Deployment: `spec.replicas: 1`";

/// A cause that several checks notice. Its name in files is never used for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A replica that does not own a session refused its request as if there were no such session, while the owner was there.
    SessionsInOneProcess,
}

// === impl Cause ===

impl Cause {
    /// Every cause.
    pub const ALL: &[Cause] = &[Cause::SessionsInOneProcess];

    /// Its name in files and on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Cause::SessionsInOneProcess => "sessions-in-one-process",
        }
    }

    /// What a transcript must show, so that a finding gets this cause.
    pub fn seen(self) -> &'static str {
        match self {
            Cause::SessionsInOneProcess => {
                "a replica that did not open a session refuses its request (400, 404, 410) while the replica that opened it is there; \
                 behind a URL: two replicas were seen, and a session that was given is unknown to the next request"
            }
        }
    }

    /// What mends it, the best first: for whom, the line, and what it costs.
    pub fn remedies(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Cause::SessionsInOneProcess => vec![
                ("Python SDK, FastMCP", Sdk::Python.without_sessions()),
                ("TypeScript SDK", Sdk::TypeScript.without_sessions()),
                (
                    "any hub",
                    "find a session from every replica: a shared store, or forward a request to the session's owner",
                ),
                (
                    "Service",
                    "`spec.sessionAffinity: ClientIP` (of use only where clients reach the Service with their own addresses, not behind \
                     one proxy; a session is still lost with its pod, in every rollout)",
                ),
                (
                    "Deployment",
                    "`spec.replicas: 1` (costs the second replica; a session is still lost with its pod)",
                ),
            ],
        }
    }
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

/// The cause of a finding, and what mends it, where the transcript proves one.
pub(super) fn of(history: &History<'_>, finding: &Finding) -> Option<(Cause, String)> {
    let seq = finding.at?;
    let is_meant =
        |call: &&Call<'_>| call.sent.seq == seq || call.outcome.at().is_some_and(|at| at.seq == seq);
    let stray = history.calls.iter().filter(is_meant).find(|call| is_a_stray(history, call));
    let refusal = match stray {
        Some(call) => history.exchanges.get(&call.exchange)?,
        None => opened_astray(history, seq)?,
    };
    Some((Cause::SessionsInOneProcess, sessions_anywhere(&finding.remedy, Sdk::of(refusal))))
}

/// The steps that mend it, with the line of code of this SDK first.
fn sessions_anywhere(own: &str, sdk: Option<Sdk>) -> String {
    let own = if own.contains(FROM_EVERY_REPLICA) { own } else { SESSIONS_ANYWHERE };
    let Some(sdk) = sdk else { return own.to_owned() };
    let mut text = sdk.without_sessions().to_owned();
    for (_, step) in remedy::steps(own).into_iter().filter(|(_, step)| *step != FROM_EVERY_REPLICA) {
        text += ", or ";
        text += step;
    }
    text
}

/// The statuses by which servers say that they do not know a session: the specification wants 404; the SDKs also answer 400.
fn is_unknown_session(status: u16) -> bool {
    matches!(status, 400 | 404 | 410)
}

/// Whether a replica that does not own a call's session refused it, while the owner could have answered. Silence and errors of other
/// kinds prove nothing about where sessions are kept.
fn is_a_stray(history: &History<'_>, call: &Call<'_>) -> bool {
    let is_refused = matches!(call.outcome, Outcome::Refused { status, .. } if is_unknown_session(status));
    let Some(session) = history.session_of(call).filter(|_| is_refused) else { return false };
    let until = call.outcome.at().unwrap_or(history.end());
    match (session.owner, call.replica) {
        (Some(owner), Some(replica)) => replica != owner && !history.was_away(owner, call.sent, until),
        (None, None) => chooses_unseen(history) && session.ended.is_none_or(|ended| ended > call.sent),
        _ => false,
    }
}

/// Whether replicas were seen behind a URL, and nobody can see which of them gets a request. Nothing is done to them: a session that was
/// given and is unknown to the next request is another replica's.
fn chooses_unseen(history: &History<'_>) -> bool {
    let header = &history.transcript.header;
    header.backend == "url" && header.replicas > 1
}

/// The refusal by which a client got no session because its opening went to two replicas: it began at one, and another refused what
/// followed.
fn opened_astray<'h, 't>(history: &'h History<'t>, seq: u32) -> Option<&'h Exchange<'t>> {
    let refused = history.entries().iter().find(|entry| entry.seq == seq);
    let Some(What::NoSession { client, .. }) = refused.map(|entry| &entry.what) else { return None };
    let before = history
        .exchanges
        .values()
        .filter(|exchange| exchange.at.seq < seq && exchange.request.client == *client);
    let (mut begun, mut refused) = (None, None);
    for exchange in before {
        match exchange.status() {
            Some(200..300) => begun = Some(exchange.replica),
            Some(status) if is_unknown_session(status) => refused = Some(exchange),
            _ => {}
        }
    }
    let refused = refused?;
    let is_anothers = match (begun?, refused.replica) {
        (Some(begun), Some(replica)) => begun != replica,
        (None, None) => chooses_unseen(history),
        _ => false,
    };
    is_anothers.then_some(refused)
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
        let header = Header::made_by_hand("local", Some(Transport::Streamable));
        cause_in(header, json!({ "replica": replica }), json!("a"), status, before)
    }

    fn cause_in(
        header: Header,
        path: serde_json::Value,
        owner: serde_json::Value,
        status: Option<u16>,
        before: &[serde_json::Value],
    ) -> Option<Cause> {
        let mut whats = vec![json!({ "kind": "session", "client": "c", "id": "s", "owner": owner })];
        whats.extend_from_slice(before);
        let at = u32::try_from(whats.len()).unwrap() + 1;
        whats.push(json!({
            "kind": "request", "exchange": 1, "client": "c", "path": path, "method": "POST", "target": "/mcp",
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
        let transcript = Transcript { header, entries: entries.collect() };
        of(&History::new(&transcript), &could_not_tell(at, String::new())).map(|(cause, _)| cause)
    }

    #[test]
    fn a_cause_has_one_name_everywhere() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), json!(cause.id()));
            assert!(!cause.seen().is_empty() && !cause.remedies().is_empty());
        }
    }

    #[test]
    fn a_known_sdk_gets_its_own_line_first_and_what_the_scenario_says_besides() {
        let own =
            "Service: `x: ClientIP`, or a hub that finds a session from every replica, or Deployment: `y: 1`";
        assert_eq!(sessions_anywhere(own, None), own);
        let python = sessions_anywhere(own, Some(Sdk::Python));
        assert!(
            python.contains("stateless_http=True")
                && python.ends_with("elicitation), or Service: `x: ClientIP`, or Deployment: `y: 1`"),
            "{python}"
        );
        assert_eq!(
            sessions_anywhere("see that it becomes ready", None),
            SESSIONS_ANYWHERE,
            "that mends nothing here"
        );
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
    fn behind_a_url_it_takes_two_replicas_that_were_seen() {
        let header =
            |replicas| Header { replicas, ..Header::made_by_hand("url", Some(Transport::Streamable)) };
        let unseen = |replicas| cause_in(header(replicas), json!("service"), json!(null), Some(404), &[]);
        assert_eq!(unseen(2), Some(Cause::SessionsInOneProcess));
        assert_eq!(unseen(1), None, "one process forgot its own session");
    }

    #[test]
    fn an_owner_that_is_gone_explains_the_refusal() {
        let kill = json!({ "kind": "fault", "fault": "kill", "replica": "a" });
        assert_eq!(cause("b", Some(404), &[kill]), None);
    }
}
