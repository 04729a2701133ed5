//! What a real cluster has and this machine has not: nodes, by each of which the Service is reached, and evictions.

use std::time::Instant;

use super::{Stage, target};
use crate::cluster::Condition;
use crate::transcript::{Path, Symptom};
use crate::wire::Target;

/// The Service at one node.
pub struct Door {
    /// The node's name.
    pub node: String,
    /// The way through it.
    pub target: Target,
}

impl Stage {
    /// The Service at every node, in the order of the nodes' names, once every node routes by what the cluster tells.
    ///
    /// # Errors
    ///
    /// When there are no nodes, or they do not route so in time.
    pub async fn at_nodes(&self) -> anyhow::Result<Vec<Door>> {
        let found = self.cluster.at_nodes().await?;
        // From now on a wait looks at the rules of all of them.
        self.wait(Condition::Ready(self.replicas)).await?;
        let door = |(node, address)| Door { node, target: target(Path::Service, address) };
        Ok(found.into_iter().map(door).collect())
    }

    /// The Service as a pod of the cluster reaches it: by its ClusterIP.
    ///
    /// # Errors
    ///
    /// When there is no such way.
    pub async fn within(&self) -> anyhow::Result<Target> {
        Ok(target(Path::Service, self.cluster.within().await?))
    }

    /// The node that a replica runs on, where there are nodes.
    pub fn node_of(&self, replica: &str) -> Option<String> {
        self.cluster.node_of(replica)
    }

    /// Asks for a replica's eviction, which a budget must refuse: what the cluster said is in the transcript, for checks to
    /// judge.
    ///
    /// # Errors
    ///
    /// When there are no evictions, or the API refuses for another reason.
    pub async fn evict_in_vain(&self, replica: &str, naming: &[&str]) -> anyhow::Result<()> {
        let began = Instant::now();
        let told = self.cluster.evict(replica).await?;
        let told = told.ok_or_else(|| "the eviction was granted".to_owned());
        self.told(Symptom::Budget, naming, began, told);
        Ok(())
    }
}
