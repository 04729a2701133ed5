//! Every limit in one place; each says what it bounds and who decided it.

use std::time::Duration;

/// The first event of an HTTP+SSE stream comes within this, from the request on (contract: a hub that is ready answers).
pub const FIRST_EVENT: Duration = Duration::from_secs(10);

/// Any answer to a request, a JSON-RPC answer or an HTTP error, comes within this (contract); later counts as silence.
pub const ANSWER: Duration = Duration::from_secs(5);

/// A stream or call whose replica went ends within this (contract).
pub const ORPHAN_NOTICED: Duration = Duration::from_secs(2);

/// A change of a real cluster takes at least this long before it counts as in vain: on a busy machine a kubelet took 30 s to start
/// one container, and a rollout starts them one after another.
pub const SETTLE_REAL: Duration = Duration::from_secs(120);

/// The rules of a real cluster's busy node follow its endpoints within this: kube-proxy took over 2.6 s once.
pub const RULES_FOLLOW: Duration = Duration::from_secs(5);

/// What our own way to a replica of a real cluster adds to an answer: a relay, a node's rules or the API server, each a process
/// that a busy machine lets wait. A hub that gave up an owner after its own second was heard 3.3 s after it was asked.
const WAY: Duration = Duration::from_secs(2);

/// The same where every connection is forwarded by the API server: a node's runtime waits 1 s for the other direction when
/// one has ended.
const WAY_FORWARDED: Duration = Duration::from_secs(3);

/// A hub has noticed that a client closed its stream within this (contract): it learns of that from its operating system.
pub const CLOSING: Duration = Duration::from_secs(1);

/// The processes that a hub keeps for a session have ended within this, once the client has ended the session (contract): the SDKs close a
/// child's standard input, wait for 2 s, send SIGTERM, wait for 2 s, and send SIGKILL.
pub const CHILDREN_END: Duration = Duration::from_secs(10);

/// What a scheduler and a busy machine may add to a limit before it counts as broken.
pub const SLACK: Duration = Duration::from_millis(500);

/// How long a stream is left alone unless a user says so: what ends streams for want of a sign of life in a hub itself shows within
/// this. Proxies have 60 s and more, for which no ordinary run has the time.
pub const IDLE: Duration = Duration::from_millis(1500);

/// How long things may take. What a check demands of a hub and what our own patience is are different fields.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// A TCP connection to a hub on this network (ours; a deleted pod's address never answers).
    pub connect: Duration,
    /// The first event of an HTTP+SSE stream, from the request on (contract: a hub that is ready answers).
    pub first_event: Duration,
    /// Any answer to a request: a JSON-RPC answer or an HTTP error (contract: 5 s, then it counts as silence).
    pub answer: Duration,
    /// A stream or call whose replica went must end within this (contract: 2 s).
    pub orphan_noticed: Duration,
    /// Our patience beyond a judged limit, so that a late answer is reported as late instead of missing.
    pub slack: Duration,
    /// A call that is held on purpose, beyond the time it is held for.
    pub held_call: Duration,
    /// How long nothing is said on a stream that is to live on (ours, or the user's: longer than the proxies on the way allow).
    pub idle: Duration,
    /// The cluster's replicas become ready for the first time (ours; slow hubs import much).
    pub ready: Duration,
    /// A change of the cluster (scale, roll, restart, removal) is complete.
    pub settle: Duration,
    /// What our own way to the hub and back may add to any of these (ours; see [`way`]).
    pub way: Duration,
}

/// What our own way to a hub on this backend may add to how long the hub takes.
pub fn way(backend: &str) -> Duration {
    match backend {
        "kind" => WAY,
        "kube" => WAY_FORWARDED,
        _ => Duration::ZERO,
    }
}

impl Timeouts {
    /// Makes everything that a hub is given longer by this factor, where the machine is slow.
    pub fn stretch(&mut self, factor: f64) {
        for limit in [
            &mut self.connect,
            &mut self.first_event,
            &mut self.answer,
            &mut self.orphan_noticed,
            &mut self.slack,
            &mut self.held_call,
        ] {
            *limit = limit.mul_f64(factor);
        }
    }

    /// A whole cell, far beyond what any needs: its replicas become ready, it changes its cluster a few times, and lets time pass (ours).
    pub fn cell(&self) -> Duration {
        self.ready + 3 * self.settle + self.idle
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_event: FIRST_EVENT,
            answer: ANSWER,
            orphan_noticed: ORPHAN_NOTICED,
            slack: Duration::from_secs(2),
            held_call: Duration::from_secs(10),
            idle: IDLE,
            ready: Duration::from_secs(60),
            settle: Duration::from_secs(60),
            way: Duration::ZERO,
        }
    }
}
