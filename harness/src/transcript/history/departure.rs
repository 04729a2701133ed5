//! How replicas go, and when they have gone.

use std::time::Duration;

use super::{At, Exchange, History};
use crate::timeouts::RULES_FOLLOW;
use crate::transcript::{Fault, Path, PodChange, What};

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
        if self.is_local() || exchange.request.path != Path::Service {
            return false;
        }
        self.entries().iter().any(|entry| {
            let What::Pod { pod, change: PodChange::Terminating } = &entry.what else { return false };
            if exchange.replica.is_some_and(|replica| replica != pod) {
                return false;
            }
            let Some((ended, told)) = self.last_told(pod, entry.place()) else { return false };
            // What the API tells of an end comes after it.
            let since = if told == ToldBy::Runtime { ended } else { entry.place() };
            since.us <= exchange.at.us && ended.until(exchange.at) <= RULES_FOLLOW
        })
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
        let late = if told == ToldBy::Nobody { self.outlives_its_record() } else { Duration::ZERO };
        Some(At { us: at.us.saturating_add(u64::try_from(late.as_micros()).unwrap_or(u64::MAX)), ..at })
    }

    /// When a replica's process ended, from this place on, as whoever knows it best says.
    fn last_told(&self, replica: &str, since: At) -> Option<(At, ToldBy)> {
        let mut ended = None;
        for entry in self.entries().iter().filter(|entry| entry.seq >= since.seq) {
            match (&entry.what, ended) {
                (What::Pod { pod, change: PodChange::Terminated { .. } }, None) if pod == replica => {
                    ended = Some((entry.place(), ToldBy::Status));
                }
                (What::Pod { pod, change: PodChange::Deleted }, None) if pod == replica => {
                    ended = Some((entry.place(), ToldBy::Nobody));
                }
                (What::Pod { pod, change: PodChange::Running { .. } }, Some(_)) if pod == replica => break,
                (What::Exited { pod, at_us }, Some((told, _))) if pod == replica => {
                    return Some((At { seq: told.seq, us: (*at_us).max(since.us) }, ToldBy::Runtime));
                }
                _ => {}
            }
        }
        ended
    }
}

/// Who told of the end of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ToldBy {
    /// Its node's runtime.
    Runtime,
    /// Its pod's status, some time after it.
    Status,
    /// Nobody: its pod's record went. That of one deleted without grace goes before its process does.
    Nobody,
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

    /// Whether a request through the Service, sent so long after a pod was told to go, may have met nobody. Its process ends after
    /// 1 s, and its status says so after 2 s.
    fn may_have_met_nobody(backend: &str, runtime_tells: bool, sent_at_ms: u64) -> bool {
        let pod = |change| What::Pod { pod: "a".to_owned(), change };
        let ended = PodChange::Terminated { reason: "Completed".to_owned(), exit_code: 0, by: None };
        let request = serde_json::json!({
            "kind": "request", "exchange": 1, "client": "a", "path": "service", "method": "POST", "target": "/mcp",
            "headers": [], "connection": "fresh",
        });
        let exited = runtime_tells.then(|| (2_000, What::Exited { pod: "a".to_owned(), at_us: 1_000_000 }));
        let whats = [
            (0, pod(PodChange::Terminating)),
            (2_000, pod(ended)),
            (sent_at_ms, serde_json::from_value(request).unwrap()),
        ];
        let entries = (1..).zip(whats.into_iter().chain(exited));
        let entries = entries.map(|(seq, (ms, what))| Entry { seq, at_us: ms * 1000, what });
        let header = Header::made_by_hand(backend, None);
        let transcript = Transcript { header, entries: entries.collect() };
        let history = History::new(&transcript);
        history.exchanges.values().any(|exchange| history.may_have_met_nobody(exchange))
    }

    #[test]
    fn a_nodes_rules_may_lead_to_a_pod_that_has_just_gone() {
        assert!(may_have_met_nobody("kind", true, 1_200));
        assert!(!may_have_met_nobody("kind", true, 800), "it was there yet, as its node's runtime says");
        assert!(!may_have_met_nobody("kind", true, 6_100), "then the rules have followed");
        assert!(may_have_met_nobody("kube", false, 800), "its status says so later than it ended");
        assert!(!may_have_met_nobody("kube", false, 7_100));
        assert!(!may_have_met_nobody("local", true, 1_200), "the balancer follows at once");
    }
}
