//! What a replica that hangs may cost those who never meant it.

use std::time::Duration;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::history::{At, Exchange, History};
use harness::transcript::{End, Fault, Path, PodChange, What};

use super::exchange_text;
use crate::words::end_text;

/// Hub contract: one replica that hangs costs what the balancer sends there, for as long as its probe takes, and nothing else.
///
/// Kubernetes gives a pod up after `failureThreshold` probes in a row that failed, each `periodSeconds` after the last and failed
/// after `timeoutSeconds`:
/// <https://kubernetes.io/docs/concepts/workloads/pods/probes/>.
pub const HANG_CONTAINED: Check = Check {
    id: "hang-contained",
    level: Level::Contract,
    sentence: "a replica that hangs leaves the Service within what its readiness probe allows, and until then only requests fail \
               that the Service gave to it",
    source: HUB_CONTRACT,
    remedy: "Deployment: a `readinessProbe` with a short `periodSeconds` and `timeoutSeconds`; hub: wait for no other replica \
             without a limit, nor with a lock that other requests need",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for entry in history.entries() {
            if let What::Measured { what, took_ms, limit_ms: Some(limit_ms) } = &entry.what {
                judgement.judged();
                let limit = Duration::from_millis(*limit_ms) + history.leaves_within();
                if Duration::from_millis(*took_ms) > limit {
                    let expected = format!("{what} within {limit_ms} ms");
                    judgement.breach(expected, format!("after {took_ms} ms"), entry.place());
                }
            }
        }
        for hang in hangs(history) {
            let is_amid = |exchange: &&Exchange<'_>| {
                exchange.request.path == Path::Service && hang.from < exchange.at && exchange.at < hang.to
            };
            for exchange in history.exchanges.values().filter(is_amid) {
                judgement.judged();
                let Some((at, failure)) = failure(history, exchange) else { continue };
                if !hang.holds(exchange) {
                    let expected =
                        format!("`{}` alone hangs: an answer to {}", hang.replica, exchange_text(exchange));
                    let by = exchange.replica.map(|replica| format!(" at `{replica}`")).unwrap_or_default();
                    judgement.breach(expected, format!("{failure}{by}"), at);
                }
            }
        }
        judgement
    },
};

/// Whether nobody but a replica that hung could have answered: the Service gave it the request while it was still to be known.
pub(super) fn is_held_by_hanging(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    exchange.request.path == Path::Service && hangs(history).any(|hang| hang.holds(exchange))
}

/// A replica that did nothing for a while.
struct Hang<'t> {
    replica: &'t str,
    from: At,
    /// When the Service had been told for long enough.
    left: At,
    to: At,
}

impl Hang<'_> {
    /// Whether this replica has it, or may have: what comes back from nobody tells no name on every backend.
    fn holds(&self, exchange: &Exchange<'_>) -> bool {
        let ends = exchange.end.map_or(self.to, |(at, _)| at);
        exchange.replica.is_none_or(|replica| replica == self.replica)
            && exchange.at.us <= self.left.us
            && self.from < ends
    }
}

/// Every time that a replica was stopped, until it went on or its process ended.
fn hangs<'t>(history: &'t History<'_>) -> impl Iterator<Item = Hang<'t>> {
    history.faults.iter().filter_map(|(from, fault)| {
        let Fault::Stop { replica } = fault else { return None };
        let goes_on = history.faults.iter().find_map(|(at, fault)| match fault {
            Fault::Continue { replica: back } if back == replica && at > from => Some(*at),
            _ => None,
        });
        let to = goes_on.or_else(|| history.process_ended(replica, *from)).unwrap_or(history.end());
        let since = || history.entries().iter().filter(|entry| entry.seq > from.seq);
        let later = |at: At, late: Duration| At {
            us: at.us.saturating_add(u64::try_from(late.as_micros()).unwrap_or(u64::MAX)),
            ..at
        };
        let told = since().find_map(|entry| match &entry.what {
            What::Pod { pod, change: PodChange::NotReady } if pod == replica => Some(entry.place()),
            _ => None,
        });
        // Where the rules themselves were looked at, they may have followed later than they mostly do.
        let seen = since().find_map(|entry| match &entry.what {
            What::Measured { limit_ms: Some(_), .. } => Some(later(entry.place(), SLACK)),
            _ => None,
        });
        let told = told.map(|told| later(told, history.follows_within() + SLACK));
        let left = told.into_iter().chain(seen).max_by_key(|at| at.us).unwrap_or(to);
        Some(Hang { replica, from: *from, left, to })
    })
}

/// What a client saw that was not served.
fn failure(history: &History<'_>, exchange: &Exchange<'_>) -> Option<(At, String)> {
    if let Some(head) = exchange.head {
        let took = exchange.at.until(head.at);
        if head.status >= 500 {
            return Some((head.at, head.status.to_string()));
        } else if took > history.stretched(ANSWER + SLACK) {
            return Some((head.at, format!("an answer after {} ms", took.as_millis())));
        }
    }
    match exchange.end {
        Some((_, End::Complete | End::ClosedByClient)) | None => None,
        Some((at, end)) => Some((at, end_text(end))),
    }
}

#[cfg(test)]
mod tests {
    use harness::transcript::ExchangeId;

    use super::*;
    use crate::by_hand::{breached, request};

    const HANGS: &str = "mcp-hub-a";
    const SERVES: &str = "mcp-hub-b";

    fn leaves(took_ms: u64) -> What {
        let what = "a replica that hangs leaves the endpoints".to_owned();
        What::Measured { what, took_ms, limit_ms: Some(11_000) }
    }

    #[test]
    fn a_replica_that_hangs_leaves_within_its_probes_budget() {
        assert!(!breached(&HANG_CONTAINED, vec![leaves(19_000)]), "a busy kubelet probes late");
        assert!(breached(&HANG_CONTAINED, vec![leaves(30_000)]));
    }

    /// Whether it is somebody's fault that a request through the Service gets no answer, which went to this replica while one hung.
    fn is_faulty(routed: Option<&str>) -> bool {
        let (exchange, from) = (ExchangeId(1), "127.0.0.1:4000".parse().unwrap());
        let mut entries = vec![
            What::Fault(Fault::Stop { replica: HANGS.to_owned() }),
            What::Request(request(exchange, "POST", "/mcp")),
            What::Connected { exchange, from },
        ];
        entries.extend(routed.map(|replica| What::Routed { from, replica: replica.to_owned() }));
        let how = End::TimedOut { waiting_for: "head".to_owned(), limit_ms: 5000 };
        entries.push(What::End { exchange, how });
        entries.push(What::Pod { pod: HANGS.to_owned(), change: PodChange::NotReady });
        breached(&HANG_CONTAINED, entries)
    }

    #[test]
    fn only_what_the_service_gave_to_it_may_fail() {
        assert!(!is_faulty(Some(HANGS)));
        assert!(is_faulty(Some(SERVES)));
        assert!(!is_faulty(None), "nobody can tell who was silent");
    }
}
