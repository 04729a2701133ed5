//! How a replica that is told to stop ends, and which of its processes did not.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::history::{At, History};
use harness::transcript::{Fault, PodChange, ProcessSeen, What};

/// The reason of an end that a kubelet came too late to see, with an exit code of 137 that it made up:
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/kubelet_pods.go>.
const MADE_UP: &str = "ContainerStatusUnknown";

/// The exit code of a process that got SIGKILL: what follows when the grace period is over.
const KILLED: i32 = 137;

/// Hub contract: SIGTERM is heard.
pub const EXITS_IN_GRACE: Check = Check {
    id: "exits-in-grace",
    level: Level::Contract,
    sentence: "a process that is told to stop exits by itself within its grace period",
    source: HUB_CONTRACT,
    remedy: "hub: handle SIGTERM (as PID 1 a process has no default action: run Node.js under `tini`, or add a handler), \
             end streams, exit; Deployment: `terminationGracePeriodSeconds` longer than the longest call",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (told, fault) in &history.faults {
            let (Fault::Delete { replica, grace_s: 1.. } | Fault::Evict { replica, .. }) = fault else {
                continue;
            };
            let ended = history.entries().iter().find_map(|entry| match &entry.what {
                What::Pod { pod, change: PodChange::Terminated { reason, exit_code, .. } }
                    if pod == replica && entry.seq > told.seq && reason != MADE_UP =>
                {
                    Some((entry.place(), *exit_code))
                }
                _ => None,
            });
            let Some((at, exit_code)) = ended else { continue };
            judgement.judged();
            let signalled = signalled(history, replica, *told, at);
            let expected = format!("`{replica}` exits by itself after SIGTERM");
            if exit_code == KILLED {
                let who = signalled.map(|signalled| format!(": {}", signalled.why())).unwrap_or_default();
                let after = told.until(at).as_millis();
                judgement.breach(expected, format!("it was killed after {after} ms{who}"), at);
            } else if let Some(signalled) = signalled.filter(Signalled::would_ignore_it) {
                let command = &signalled.main.command;
                let actual = format!(
                    "the kernel ended `{command}`, which has no handler for SIGTERM; in a pod it is PID 1, which then \
                     ignores the signal"
                );
                judgement.breach(expected, actual, at);
            }
        }
        judgement
    },
};

/// The processes of a container when SIGTERM was sent to the first of them.
struct Signalled<'a> {
    main: &'a ProcessSeen,
    is_pid_1: bool,
    below: &'a [ProcessSeen],
}

/// Which processes a replica had when it was sent SIGTERM, between two places, where that can be seen.
fn signalled<'a>(history: &History<'a>, replica: &str, from: At, to: At) -> Option<Signalled<'a>> {
    let amid = |entry: &&harness::transcript::Entry| entry.seq > from.seq && entry.seq < to.seq;
    history.entries().iter().filter(amid).find_map(|entry| match &entry.what {
        What::Sigterm { pod, main, is_pid_1, below } if pod == replica => {
            Some(Signalled { main, is_pid_1: *is_pid_1, below })
        }
        _ => None,
    })
}

// === impl Signalled ===

impl Signalled<'_> {
    /// Whether the process ended only because it was not PID 1.
    fn would_ignore_it(&self) -> bool {
        !self.is_pid_1 && !self.main.heeds_sigterm
    }

    /// Why it did not end, as far as its processes show that.
    fn why(&self) -> String {
        let command = &self.main.command;
        let place = if self.is_pid_1 { "PID 1" } else { "the main process" };
        let below: Vec<String> = self.below.iter().map(|process| format!("`{}`", process.command)).collect();
        let below = below.join(", ");
        match (self.main.heeds_sigterm, self.below.is_empty()) {
            (false, true) => format!("`{command}` is {place} and has no handler for SIGTERM"),
            (false, false) => format!(
                "`{command}` is {place}, has no handler for SIGTERM and does not pass it on to {below}: start the hub \
                 with `exec`, or without this launcher"
            ),
            (true, true) => format!("`{command}` is {place}, handles SIGTERM and does not exit"),
            (true, false) => format!(
                "`{command}` is {place}, handles SIGTERM and does not exit; below it runs {below}, which gets the signal \
                 only if it is passed on"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_hand::breached;

    #[test]
    fn a_replica_that_is_evicted_exits_by_itself() {
        let evicted = |reason: &str, exit_code: i32| {
            let replica = "mcp-hub-a".to_owned();
            let ended = PodChange::Terminated { reason: reason.to_owned(), exit_code, by: None };
            let change = |change| What::Pod { pod: replica.clone(), change };
            let evict = Fault::Evict { replica: replica.clone(), grace_s: 3 };
            vec![What::Fault(evict), change(PodChange::Terminating), change(ended)]
        };
        assert!(breached(&EXITS_IN_GRACE, evicted("Error", KILLED)));
        assert!(!breached(&EXITS_IN_GRACE, evicted("Completed", 0)));
        assert!(!breached(&EXITS_IN_GRACE, evicted(MADE_UP, KILLED)), "nobody saw how");
    }

    fn seen(command: &str, heeds_sigterm: bool) -> ProcessSeen {
        ProcessSeen { command: command.to_owned(), heeds_sigterm }
    }

    fn why(main: &ProcessSeen, below: &[ProcessSeen]) -> String {
        Signalled { main, is_pid_1: true, below }.why()
    }

    #[test]
    fn the_process_that_swallows_the_signal_is_named() {
        let hub = seen("python hub.py", true);
        let alone = why(&seen("node hub.js", false), &[]);
        assert_eq!(alone, "`node hub.js` is PID 1 and has no handler for SIGTERM");
        let shell = why(&seen("sh -c 'python hub.py; true'", false), std::slice::from_ref(&hub));
        assert!(
            shell.contains("does not pass it on to `python hub.py`: start the hub with `exec`"),
            "{shell}"
        );
        let launcher = why(&seen("npm exec hub", true), std::slice::from_ref(&hub));
        assert!(launcher.contains("below it runs `python hub.py`"), "{launcher}");
        assert!(why(&hub, &[]).ends_with("handles SIGTERM and does not exit"));
    }

    #[test]
    fn what_ends_without_a_handler_ends_only_outside_of_pods() {
        let (deaf, hub) = (seen("node hub.js", false), seen("python hub.py", true));
        let would_ignore_it = |main, is_pid_1| Signalled { main, is_pid_1, below: &[] }.would_ignore_it();
        assert!(would_ignore_it(&deaf, false));
        assert!(!would_ignore_it(&hub, false));
        assert!(!would_ignore_it(&deaf, true), "then it was seen what it does");
    }
}
