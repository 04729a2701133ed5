//! What a scenario does to a cluster.

use serde::{Deserialize, Serialize};

/// Something the harness did to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL to the replica's process.
    Kill {
        /// The replica.
        replica: String,
    },
    /// SIGSTOP to the replica's process.
    Stop {
        /// The replica.
        replica: String,
    },
    /// SIGCONT to the replica's process.
    Continue {
        /// The replica.
        replica: String,
    },
    /// The replica is made to take more memory than it may have.
    Starve {
        /// The replica.
        replica: String,
    },
    /// The pod is deleted.
    Delete {
        /// The replica.
        replica: String,
        /// The grace period, in seconds.
        grace_s: u64,
    },
    /// The eviction of the pod is asked for: whether it is granted is for the cluster to say.
    Evict {
        /// The replica.
        replica: String,
        /// The pod's grace period, in seconds.
        grace_s: u64,
    },
    /// New pods of the cell are kept off a node; those that run there stay.
    Cordon {
        /// The node.
        node: String,
    },
    /// Pods of the cell are let onto the node again.
    Uncordon {
        /// The node.
        node: String,
    },
    /// The Deployment is scaled.
    Scale {
        /// From so many.
        from: usize,
        /// To so many.
        to: usize,
    },
    /// The Deployment's template changes, so that every pod is replaced.
    Roll,
    /// An image is brought into the nodes.
    Load {
        /// The image.
        image: String,
    },
    /// Edited manifests are applied.
    Apply {
        /// What changed, in words that hold on every backend; never a value of a Secret.
        change: String,
    },
}
