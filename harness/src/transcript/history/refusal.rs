//! Clients that a hub refused a session while nothing was wrong with the replica that they reached.

use super::{At, Exchange, History, Session};
use crate::plan::Transport;
use crate::transcript::{Entry, PodChange, What};

/// A session that a replica refused, although it was there, and all that it was asked came to that one.
#[derive(Debug)]
pub struct Refusal<'t> {
    /// The entry that says so.
    pub at: At,
    /// The client.
    pub client: &'t str,
    /// What came instead of a session.
    pub why: &'t str,
    /// The HTTP status of the refusal.
    pub status: u16,
    /// The replica that refused, when that is known.
    pub replica: Option<&'t str>,
    /// How many sessions of this cell that replica had given before.
    pub given: usize,
    /// Whether it is the opening itself that was refused, and not a later message as one of an unknown session.
    is_of_opening: bool,
    /// Whether something was done to the cluster before.
    is_after_fault: bool,
}

// === impl Refusal ===

impl Refusal<'_> {
    /// Whether the hub says that it has no room, or that clients come too fast.
    fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// Whether the replica serves one client and no other: it has given a session, and refuses the next one. A hub that is full
    /// may say so (503, 429) once several sessions are there. After a fault only a replica is meant that never gave a second
    /// session: any other one has shown that it can.
    fn is_of_second_client(&self) -> bool {
        let may_be_full = self.is_busy() && (self.given > 1 || self.is_after_fault);
        let never_gave_another = !self.is_after_fault || self.given == 1;
        self.is_of_opening && self.given > 0 && never_gave_another && !may_be_full
    }
}

// === impl History ===

impl<'t> History<'t> {
    /// The sessions that were refused before anything was done to the cluster.
    pub fn refusals(&self) -> Vec<Refusal<'t>> {
        self.every_refusal().filter(|refusal| !refusal.is_after_fault).collect()
    }

    /// The sessions that were refused because another client has one.
    pub fn second_refused(&self) -> Vec<Refusal<'t>> {
        self.every_refusal().filter(Refusal::is_of_second_client).collect()
    }

    fn every_refusal(&self) -> impl Iterator<Item = Refusal<'t>> {
        self.entries().iter().filter_map(|entry| match &entry.what {
            What::NoSession { client, why } => self.refusal(entry.place(), client, why),
            _ => None,
        })
    }

    fn refusal(&self, at: At, client: &'t str, why: &'t str) -> Option<Refusal<'t>> {
        let own = || self.exchanges.values().filter(|exchange| exchange.request.client == client);
        let last = own().rfind(|exchange| exchange.at < at)?;
        let opening = own().rfind(|exchange| exchange.at < at && self.begins_session(exchange))?;
        let status = last.status()?;
        // A stream that a scenario asks for in an odd way, by name, may be refused whoever asks.
        let is_odd = self.transport() == Some(Transport::Sse) && opening.request.probe.is_some();
        let has_error = || {
            let of_last = self.calls.iter().filter(|call| call.exchange == last.id);
            of_last.flat_map(|call| &call.answers).any(|(_, answer)| answer.get("error").is_some())
        };
        if is_odd || (status < 400 && !has_error()) {
            return None;
        }
        let is_opening = last.id == opening.id;
        // A message that reached another replica than the session's says nothing of sessions: it is a stray.
        let is_stray = last.replica != opening.replica
            || (last.replica.is_none() && self.transcript.header.replicas > 1);
        if !is_opening && is_stray {
            return None;
        }
        let replica = last.replica;
        let is_after_fault = self.faults.iter().any(|(fault, _)| *fault < at);
        let was_away = match replica {
            Some(replica) => self.was_away(replica, opening.at, at),
            None => is_after_fault,
        };
        if was_away {
            return None;
        }
        let since = replica.and_then(|replica| self.started(replica, opening.at));
        let of_process = |session: &&Session<'_>| since.is_none_or(|since| session.opened > since);
        let before = self.sessions.iter().filter(|session| session.opened < at).filter(of_process);
        let given = before.filter(|session| replica.is_none() || self.home_of(session) == replica).count();
        // HTTP+SSE: 400 and 404 are how a hub says that it does not know the session of a message.
        let is_initialize = last.request.message().is_some_and(|message| message["method"] == "initialize");
        let is_of_opening = is_opening || is_initialize && !matches!(status, 400 | 404);
        Some(Refusal { at, client, why, status, replica, given, is_of_opening, is_after_fault })
    }

    /// Whether a request is the one by which a client gets a session.
    fn begins_session(&self, exchange: &Exchange<'_>) -> bool {
        match self.transport() {
            Some(Transport::Sse) => exchange.request.method == "GET",
            _ => exchange.request.message().is_some_and(|message| message["method"] == "initialize"),
        }
    }

    /// When the process of a replica started that runs at this place.
    fn started(&self, replica: &str, at: At) -> Option<At> {
        let before = self.entries().iter().rev().skip_while(|entry| entry.seq > at.seq);
        let mut starts = before.filter(|entry| {
            matches!(&entry.what, What::Pod { pod, change: PodChange::Running { .. } } if pod == replica)
        });
        starts.next().map(Entry::place)
    }

    /// The replica that a session lives on: its owner, or the one that gave its id.
    fn home_of(&self, session: &Session<'t>) -> Option<&'t str> {
        session.owner.or_else(|| {
            let id = session.id?;
            let gives = |exchange: &&Exchange<'_>| {
                exchange.head.is_some_and(|head| head.header("mcp-session-id") == Some(id))
                    || exchange.endpoint().is_some_and(|endpoint| endpoint.contains(id))
            };
            self.exchanges.values().find(gives)?.replica
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transcript::{Fault, Header, Path, Transcript};

    /// What happens in a made-up cell.
    #[derive(Clone, Copy)]
    enum Step {
        /// A client asks a replica for a session and gets one.
        Given(&'static str),
        /// A client asks a replica for a session and gets this status.
        Refused(&'static str, u16),
        /// A replica is killed.
        Killed(&'static str),
    }

    /// How many sessions were refused before any fault, and how many because another client has one.
    fn refused(transport: Transport, steps: &[Step]) -> (usize, usize) {
        let mut whats: Vec<What> = Vec::new();
        for (idx, step) in (1_u32..).zip(steps) {
            let (client, exchange) = (format!("c{idx}"), idx);
            let mut asks = |replica: &str, status: u16| {
                let method = if transport == Transport::Sse { "GET" } else { "POST" };
                let path = Path::Replica(replica.to_owned());
                let entries = json!([
                    { "kind": "request", "exchange": exchange, "client": client, "path": path, "method": method,
                      "target": "/mcp", "headers": [], "connection": "fresh",
                      "body": { "json": { "jsonrpc": "2.0", "id": 1, "method": "initialize" } } },
                    { "kind": "head", "exchange": exchange, "status": status, "headers": [] },
                ]);
                let entries: Vec<What> = serde_json::from_value(entries).unwrap();
                whats.extend(entries);
            };
            match step {
                Step::Given(replica) => {
                    asks(replica, 200);
                    let (id, owner) = (Some(client.clone()), Some((*replica).to_owned()));
                    whats.push(What::Session { client, id, owner });
                }
                Step::Refused(replica, status) => {
                    asks(replica, *status);
                    whats.push(What::NoSession { client, why: status.to_string() });
                }
                Step::Killed(replica) => {
                    whats.push(What::Fault(Fault::Kill { replica: (*replica).to_owned() }));
                }
            }
        }
        let entries = (1..).zip(whats).map(|(seq, what)| Entry { seq, at_us: u64::from(seq), what });
        let header = Header { replicas: 2, ..Header::made_by_hand("local", Some(transport)) };
        let transcript = Transcript { header, entries: entries.collect() };
        let history = History::new(&transcript);
        (history.refusals().len(), history.second_refused().len())
    }

    #[test]
    fn a_replica_that_gave_one_session_and_refuses_the_next_serves_one_client_only() {
        use Step::{Given, Refused};
        for transport in [Transport::Sse, Transport::Streamable] {
            for status in [400, 500, 503] {
                assert_eq!(refused(transport, &[Given("a"), Refused("a", status)]), (1, 1), "{status}");
            }
            assert_eq!(
                refused(transport, &[Given("a"), Refused("a", 307)]),
                (0, 0),
                "a redirect refuses nobody"
            );
            assert_eq!(refused(transport, &[Refused("a", 500)]), (1, 0), "it serves nobody");
            assert_eq!(refused(transport, &[Given("a"), Refused("b", 500)]), (1, 0), "it is another replica");
            assert_eq!(
                refused(transport, &[Given("a"), Given("a"), Refused("a", 503)]),
                (1, 0),
                "it is full"
            );
            assert_eq!(refused(transport, &[Given("a"), Given("a"), Refused("a", 500)]), (1, 1));
        }
    }

    #[test]
    fn after_a_fault_only_a_replica_that_never_gave_two_sessions_is_meant() {
        use Step::{Given, Killed, Refused};
        let after = |steps: &[Step]| refused(Transport::Streamable, steps);
        assert_eq!(after(&[Given("a"), Given("b"), Killed("a"), Refused("b", 400)]), (0, 1));
        assert_eq!(after(&[Given("b"), Given("b"), Killed("a"), Refused("b", 500)]), (0, 0));
        assert_eq!(after(&[Given("a"), Killed("a"), Refused("a", 500)]), (0, 0), "it was killed");
        assert_eq!(after(&[Given("b"), Killed("a"), Refused("b", 503)]), (0, 0), "it has no room");
    }
}
