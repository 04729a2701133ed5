//! What is left of sessions that have ended: no process.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::What;
use harness::transcript::history::{At, History};

use super::{AFTER, AGAIN, BEFORE, DURING};

/// Hub contract: the specification knows no processes.
pub const CHILDREN_END_WITH_SESSIONS: Check = Check {
    id: "children-end-with-sessions",
    level: Level::Contract,
    sentence: "A process that the hub starts for a session must end within 10 s after the client ended the session.",
    source: HUB_CONTRACT,
    remedy: "hub: when a session's stream closes or its DELETE comes, close its process's standard input, then send SIGTERM, then SIGKILL",
    transports: &[],
    needs: &[],
    judge: children_end,
};

/// Hub contract: a process that has ended takes a place in the kernel's table until its parent waits for it.
pub const CHILDREN_REAPED: Check = Check {
    id: "children-reaped",
    level: Level::Should,
    sentence: "The hub should wait for its processes that have ended: each one otherwise stays as a zombie.",
    source: HUB_CONTRACT,
    remedy: "hub: wait for every process that it starts; image: run the hub under an init such as `tini`",
    transports: &[],
    needs: &[],
    judge: children_reaped,
};

/// One count of a replica's processes.
#[derive(Clone, Copy)]
struct Count {
    running: usize,
    unreaped: usize,
    at: At,
}

/// The counts of a transcript that has those which every judgement needs.
struct Counts {
    before: Count,
    during: Count,
    after: Count,
    again: Option<Count>,
    /// How many sessions were open at once.
    sessions: usize,
    /// The end of the wait until the processes had ended.
    waited: At,
    waited_ms: u64,
}

impl Counts {
    fn of(history: &History<'_>) -> Option<Self> {
        let count = |wanted: &str| {
            history.entries().iter().find_map(|entry| match &entry.what {
                What::Processes { when, running, unreaped, .. } if when == wanted => {
                    Some(Count { running: *running, unreaped: *unreaped, at: entry.place() })
                }
                _ => None,
            })
        };
        let (before, during) = (count(BEFORE)?, count(DURING)?);
        let is_meant = |at: At| at.seq > before.at.seq && at.seq < during.at.seq;
        let opened = history.entries().iter().filter(|entry| matches!(entry.what, What::Session { .. }));
        let (waited, waited_ms) = history.entries().iter().find_map(|entry| match &entry.what {
            What::Awaited { condition, took_ms, .. } if condition == AFTER => Some((entry.place(), *took_ms)),
            _ => None,
        })?;
        Some(Self {
            before,
            during,
            after: count(AFTER)?,
            again: count(AGAIN),
            sessions: opened.filter(|entry| is_meant(entry.place())).count(),
            waited,
            waited_ms,
        })
    }

    /// How many processes the sessions started.
    fn started(&self) -> usize {
        self.during.running.saturating_sub(self.before.running)
    }

    /// How many are left of them.
    fn left(&self) -> usize {
        self.after.running.saturating_sub(self.before.running)
    }
}

/// Where sessions have a process each, those are gone when the sessions are. A few that stay are the hub's own business, and so are
/// those that the next sessions get.
fn children_end(history: &History<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(counts) = Counts::of(history) else { return judgement };
    if let Some(status) = refused_delete(history) {
        judgement.idle_because(format!("DELETE is answered {status}: a client cannot end its session"));
        return judgement;
    }
    judgement.judged();
    let (started, left) = (counts.started(), counts.left());
    // The process of the session before them may have been counted before them.
    let has_one_each = counts.sessions > 0 && started + 1 >= counts.sessions;
    let used_again =
        counts.again.map_or(0, |again| (counts.after.running + started).saturating_sub(again.running));
    if has_one_each && left * 4 > started && used_again * 2 < left {
        judgement.breach(
            format!("the {} processes that ran before {} sessions were opened", counts.before.running, counts.sessions),
            format!(
                "{} processes {:.1} s after the sessions ended: {left} of {started} that they started still run",
                counts.after.running,
                counts.waited_ms as f64 / 1000.0
            ),
            counts.waited,
        );
    }
    judgement
}

/// Zombies of fewer than half the sessions are no pattern: one may have ended just now.
fn children_reaped(history: &History<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(counts) = Counts::of(history) else { return judgement };
    judgement.judged();
    // Those that are waited for when the next process is started are few at any time.
    let still = counts.again.map_or(counts.after.unreaped, |again| again.unreaped.min(counts.after.unreaped));
    let left = still.saturating_sub(counts.before.unreaped);
    if counts.sessions > 0 && left * 2 >= counts.sessions {
        judgement.breach(
            "no process that has ended and waits for its parent",
            format!(
                "{left} zombies, {:.1} s after {} sessions ended",
                counts.waited_ms as f64 / 1000.0,
                counts.sessions
            ),
            counts.waited,
        );
    }
    judgement
}

/// The status of a DELETE that did not end its session.
fn refused_delete(history: &History<'_>) -> Option<u16> {
    let deletes = history.exchanges.values().filter(|exchange| exchange.request.method == "DELETE");
    deletes.filter_map(|exchange| exchange.status()).find(|status| !(200..300).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_hand;

    /// Whether counts before, during and after twelve sessions, and with twelve more, breach each of the checks.
    fn breached(counts: [(usize, usize); 3], again: Option<(usize, usize)>) -> (bool, bool) {
        let processes = |when: &str, (running, unreaped): (usize, usize)| What::Processes {
            pod: "hub-1".to_owned(),
            when: when.to_owned(),
            running,
            unreaped,
        };
        let session = || What::Session { client: "a".to_owned(), id: Some("1".to_owned()), owner: None };
        let [before, during, after] = counts;
        let mut entries = vec![processes(BEFORE, before)];
        entries.extend((0..12).map(|_| session()));
        entries.push(processes(DURING, during));
        entries.push(What::Awaited { condition: AFTER.to_owned(), took_ms: 10_000, unmet: None });
        entries.push(processes(AFTER, after));
        entries.extend(again.map(|again| processes(AGAIN, again)));
        (
            by_hand::breached(&CHILDREN_END_WITH_SESSIONS, entries.clone()),
            by_hand::breached(&CHILDREN_REAPED, entries),
        )
    }

    #[test]
    fn processes_that_outlive_their_sessions_are_a_breach() {
        let breach = (true, false);
        assert_eq!(breached([(1, 0), (13, 0), (13, 0)], Some((25, 0))), breach);
        assert_eq!(
            breached([(2, 0), (26, 0), (14, 0)], Some((38, 0))),
            breach,
            "of two for each session one stays"
        );
        assert_eq!(breached([(1, 0), (13, 0), (7, 0)], Some((19, 0))), breach, "every second stays");
        assert_eq!(breached([(2, 0), (13, 0), (13, 0)], Some((25, 0))), breach, "one ended late");
    }

    #[test]
    fn what_is_bounded_is_no_breach() {
        let fine = (false, false);
        assert_eq!(breached([(1, 0), (13, 0), (1, 0)], None), fine);
        assert_eq!(breached([(1, 0), (13, 0), (13, 0)], Some((13, 0))), fine, "they serve the next sessions");
        assert_eq!(breached([(1, 0), (5, 0), (5, 0)], None), fine, "workers that the load started");
        assert_eq!(breached([(1, 0), (13, 0), (2, 0)], Some((14, 0))), fine, "one may be the hub's own");
    }

    #[test]
    fn zombies_of_the_sessions_are_a_breach() {
        assert_eq!(breached([(1, 0), (13, 0), (1, 12)], Some((13, 12))), (false, true));
        let fine = (false, false);
        assert_eq!(breached([(1, 0), (13, 0), (1, 12)], Some((13, 0))), fine, "waited for when others start");
        assert_eq!(breached([(1, 3), (13, 3), (1, 4)], None), (false, false));
    }
}
