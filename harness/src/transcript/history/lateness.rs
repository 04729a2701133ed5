//! How much later than on `local` things may happen on a real cluster, or be told, without anyone being to blame.

use std::time::Duration;

use super::History;
use crate::timeouts::{self, RULES_FOLLOW};

/// The backend whose controller records what it does as it does it.
const LOCAL: &str = "local";

/// The backend whose replicas are reached through the API server only.
const KUBE: &str = "kube";

/// How much later than a pod's node a watch may tell us that the pod ends: 0.2 s were seen on a machine with 25 processes a core.
const TOLD_LATE: Duration = Duration::from_secs(1);

/// A replica whose probe allowed 3 s was in the rules for 11.2 s, with 25 cells on three nodes that shared two cores.
const LEAVES_LATE: Duration = Duration::from_secs(15);

/// The embedded cluster probes and follows by itself, on the same busy machine.
const LEAVES_LATE_ON_LOCAL: Duration = Duration::from_secs(2);

/// A process of whose end nobody tells may live on for so long after its pod's record is gone. A kubelet gives every process 2 s
/// (`minimumGracePeriodInSeconds`), also one deleted without grace, and a busy one was 0.6 s late with that; it has 2 s more.
const OUTLIVES_ITS_RECORD: Duration = Duration::from_secs(4);

impl History<'_> {
    /// For so long the Service may still give connections to a replica of which the cluster has told that it is not ready.
    pub fn follows_within(&self) -> Duration {
        self.unless_local(RULES_FOLLOW)
    }

    /// How much later than its probe's budget a replica that hangs may leave the Service: a busy kubelet probes late, and what it
    /// finds takes a while to reach the rules.
    pub fn leaves_within(&self) -> Duration {
        if self.is_local() { LEAVES_LATE_ON_LOCAL } else { LEAVES_LATE }
    }

    /// What our own way there and back may add to how long a hub takes.
    pub fn way_late(&self) -> Duration {
        timeouts::way(&self.transcript.header.backend)
    }

    /// How much later than it came the end of a connection may reach us: a relay of ours tells it at once, an API server that
    /// forwards does not.
    pub fn end_late(&self) -> Duration {
        if self.transcript.header.backend == KUBE { self.way_late() } else { Duration::ZERO }
    }

    /// How much later than the node of a pod we may be told that it ends.
    pub(super) fn told_late(&self) -> Duration {
        self.unless_local(TOLD_LATE)
    }

    /// For how long a process may outlive its pod's record.
    pub(super) fn outlives_its_record(&self) -> Duration {
        self.unless_local(OUTLIVES_ITS_RECORD)
    }

    pub(super) fn is_local(&self) -> bool {
        self.transcript.header.backend == LOCAL
    }

    fn unless_local(&self, late: Duration) -> Duration {
        if self.is_local() { Duration::ZERO } else { late }
    }
}
