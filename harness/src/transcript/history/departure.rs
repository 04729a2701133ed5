//! How replicas go, and how late that is told and followed.

use std::time::Duration;

use super::{At, Exchange, History};
use crate::transcript::{Fault, Path, PodChange, What};

/// The backend whose controller records what it does as it does it.
const LOCAL: &str = "local";

/// How much later than a pod's node a watch may tell us that the pod ends: 0.2 s were seen on a machine with 25 processes a core.
const TOLD_LATE: Duration = Duration::from_secs(1);

/// For so long after its end a pod may still be given connections by the rules of a real cluster's busy node, which follow the
/// endpoints: kube-proxy took over 2.6 s once, and what it sends to an address that is gone is answered by nobody.
const RULES_LATE: Duration = Duration::from_secs(5);

/// A replica whose probe allowed 3 s was in the rules for 11.2 s, with 25 cells on three nodes that shared two cores.
const LEAVES_LATE: Duration = Duration::from_secs(15);

/// The embedded cluster probes and follows by itself, on the same busy machine.
const LEAVES_LATE_ON_LOCAL: Duration = Duration::from_secs(2);

/// What our own way to a replica of a real cluster adds to an answer: a relay, a node's rules or the API server, each a process
/// that a busy machine lets wait. A hub that gave up an owner after its own second was heard 3.3 s after it was asked.
const WAY_LATE: Duration = Duration::from_secs(2);

/// A process of whose end nobody tells may live on for so long after its pod's record is gone. A kubelet gives every process 2 s
/// (`minimumGracePeriodInSeconds`), also one deleted without grace, and a busy one was 0.6 s late with that; it has 2 s more.
const UNTOLD_END: Duration = Duration::from_secs(4);

/// Why a session's owner is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Its process was killed, or its pod deleted without grace.
    Killed,
    /// Its process was stopped: it holds its connections and says nothing.
    Stopped,
    /// It was made to take more memory than it may have: its process is killed when it has.
    Starved,
    /// Its pod was asked to end and given time.
    Graceful,
}

impl History<'_> {
    /// When and how a replica went, first; `None` while it stays.
    pub fn departure(&self, replica: &str) -> Option<(At, Departure)> {
        self.entries().iter().find_map(|entry| {
            let departure = match &entry.what {
                What::Fault(Fault::Kill { replica: gone }) if gone == replica => Departure::Killed,
                What::Fault(Fault::Delete { replica: gone, grace_s: 0 }) if gone == replica => {
                    Departure::Killed
                }
                What::Fault(Fault::Stop { replica: gone }) if gone == replica => Departure::Stopped,
                What::Fault(Fault::Starve { replica: gone }) if gone == replica => Departure::Starved,
                What::Pod { pod, change: PodChange::Terminating | PodChange::Terminated { .. } }
                    if pod == replica =>
                {
                    Departure::Graceful
                }
                _ => return None,
            };
            Some((entry.place(), departure))
        })
    }

    /// Whether a replica was away at any time between two places: gone, or on its way out or back.
    ///
    /// On a real cluster a controller's decision to end a pod reaches its node and us by two ways: the process may have
    /// acted on it before we were told.
    pub fn was_away(&self, replica: &str, from: At, to: At) -> bool {
        let mut away = false;
        for entry in self.entries() {
            if entry.seq > to.seq {
                if to.until(entry.place()) > self.told_late() {
                    break;
                }
                if matches!(&entry.what, What::Pod { pod, change: PodChange::Terminating } if pod == replica)
                {
                    return true;
                }
                continue;
            }
            match &entry.what {
                What::Fault(
                    Fault::Kill { replica: gone }
                    | Fault::Stop { replica: gone }
                    | Fault::Starve { replica: gone }
                    | Fault::Delete { replica: gone, .. },
                ) if gone == replica => away = true,
                What::Pod { pod, change: PodChange::Terminating | PodChange::Terminated { .. } }
                    if pod == replica =>
                {
                    away = true;
                }
                What::Pod { pod, change: PodChange::Ready } if pod == replica => away = false,
                _ => {}
            }
            if away && entry.seq >= from.seq {
                return true;
            }
        }
        away
    }

    /// Whether an exchange through the Service may have met nobody: on a real cluster, soon after the end of a pod.
    pub fn may_have_met_nobody(&self, exchange: &Exchange<'_>) -> bool {
        if self.transcript.header.backend == LOCAL || exchange.request.path != Path::Service {
            return false;
        }
        self.entries().iter().any(|entry| {
            let What::Pod { pod, change: PodChange::Terminating } = &entry.what else { return false };
            if exchange.replica.is_some_and(|replica| replica != pod) {
                return false;
            }
            let ended = self.process_ended(pod, entry.place());
            ended.is_some_and(|ended| ended.us <= exchange.at.us && ended.until(exchange.at) <= RULES_LATE)
        })
    }

    /// For so long the Service may still give connections to a replica of which the cluster has told that it is not ready.
    pub fn follows_within(&self) -> Duration {
        if self.transcript.header.backend == LOCAL { Duration::ZERO } else { RULES_LATE }
    }

    /// How much later than its probe's budget a replica that hangs may leave the Service: a busy kubelet probes late, and what it
    /// finds takes a while to reach the rules.
    pub fn leaves_within(&self) -> Duration {
        if self.transcript.header.backend == LOCAL { LEAVES_LATE_ON_LOCAL } else { LEAVES_LATE }
    }

    /// What our own way there and back may add to how long a hub takes.
    pub fn way_late(&self) -> Duration {
        if self.transcript.header.backend == LOCAL { Duration::ZERO } else { WAY_LATE }
    }

    /// How much later than the node of a pod we may be told that it ends.
    fn told_late(&self) -> Duration {
        if self.transcript.header.backend == LOCAL { Duration::ZERO } else { TOLD_LATE }
    }

    /// When a replica's process ended, from this place on: told by its node's runtime where that tells, else when the
    /// cluster told of it.
    pub fn process_ended(&self, replica: &str, since: At) -> Option<At> {
        self.last_told(replica, since).map(|(at, _)| at)
    }

    /// When a replica's process had ended for certain, from this place on: as [`History::process_ended`], but where only its
    /// pod's record is known to have gone, the process had a while yet.
    pub fn surely_ended(&self, replica: &str, since: At) -> Option<At> {
        let (at, told) = self.last_told(replica, since)?;
        let is_untold = told == Told::Record && self.transcript.header.backend != LOCAL;
        let late = if is_untold { UNTOLD_END } else { Duration::ZERO };
        Some(At { us: at.us.saturating_add(u64::try_from(late.as_micros()).unwrap_or(u64::MAX)), ..at })
    }

    /// When a replica's process ended, from this place on, as whoever knows it best says.
    fn last_told(&self, replica: &str, since: At) -> Option<(At, Told)> {
        let mut ended = None;
        for entry in self.entries().iter().filter(|entry| entry.seq >= since.seq) {
            match (&entry.what, ended) {
                (What::Pod { pod, change: PodChange::Terminated { .. } }, None) if pod == replica => {
                    ended = Some((entry.place(), Told::Process));
                }
                (What::Pod { pod, change: PodChange::Deleted }, None) if pod == replica => {
                    ended = Some((entry.place(), Told::Record));
                }
                (What::Pod { pod, change: PodChange::Running { .. } }, Some(_)) if pod == replica => break,
                (What::Exited { pod, at_us }, Some((told, _))) if pod == replica => {
                    return Some((At { seq: told.seq, us: (*at_us).max(since.us) }, Told::Process));
                }
                _ => {}
            }
        }
        ended
    }
}

/// What an end was told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Of the process itself.
    Process,
    /// Of the pod's record only: deleted without grace, it goes before its process does.
    Record,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Entry, Header, Transcript};

    /// Whether replica `a` was away between 0.1 s and 0.2 s, when it is told to end later.
    fn was_away(backend: &str, told_at_ms: u64) -> bool {
        let header = Header::made_by_hand(backend, None);
        let changes = [(0, PodChange::Ready), (told_at_ms, PodChange::Terminating)];
        let entries = (1..).zip(changes).map(|(seq, (ms, change))| Entry {
            seq,
            at_us: ms * 1000,
            what: What::Pod { pod: "a".to_owned(), change },
        });
        let transcript = Transcript { header, entries: entries.collect() };
        let place = |ms: u64| At { seq: 1, us: ms * 1000 };
        History::new(&transcript).was_away("a", place(100), place(200))
    }

    #[test]
    fn a_real_cluster_may_tell_of_an_end_after_its_node_has_acted() {
        assert!(was_away("kind", 400));
        assert!(!was_away("kind", 1_300), "that is later than a watch tells it");
        assert!(!was_away("local", 400), "the embedded controller records what it does at once");
    }

    /// Whether a request through the Service, sent so long after a pod's process had ended, may have met nobody.
    fn may_have_met_nobody(backend: &str, later_ms: u64) -> bool {
        let pod = |change| What::Pod { pod: "a".to_owned(), change };
        let ended = PodChange::Terminated { reason: "Completed".to_owned(), exit_code: 0, by: None };
        let request = serde_json::json!({
            "kind": "request", "exchange": 1, "client": "a", "path": "service", "method": "POST", "target": "/mcp",
            "headers": [], "connection": "fresh",
        });
        let whats = [
            (0, pod(PodChange::Terminating)),
            (1_000, pod(ended)),
            (1_000 + later_ms, serde_json::from_value(request).unwrap()),
        ];
        let entries = (1..).zip(whats).map(|(seq, (ms, what))| Entry { seq, at_us: ms * 1000, what });
        let header = Header::made_by_hand(backend, None);
        let transcript = Transcript { header, entries: entries.collect() };
        let history = History::new(&transcript);
        history.exchanges.values().any(|exchange| history.may_have_met_nobody(exchange))
    }

    #[test]
    fn a_nodes_rules_may_lead_to_a_pod_that_has_just_gone() {
        assert!(may_have_met_nobody("kind", 200));
        assert!(!may_have_met_nobody("kind", 6_000), "then the rules have followed");
        assert!(!may_have_met_nobody("local", 200), "the balancer follows at once");
    }
}
