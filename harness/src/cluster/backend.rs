//! The cluster that a cell runs on, whichever backend it is of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::kubernetes::Kubernetes;
use super::lease::LeaseError;
use super::local::Local;
use super::manifest::Manifests;
use super::{Condition, FaultError, Page, ProcessCount, Replica, Unmet};
use crate::source::Source;
use crate::transcript::{Symptom, Told};

/// A cluster that is up.
pub enum Cluster {
    /// The embedded one.
    Local(Local),
    /// A namespace of a real one.
    Kubernetes(Box<Kubernetes>),
    /// A hub that is already running, at one address. Nothing of it is ours to change.
    Fixed(Address),
}

/// Where something is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its address.
    pub addr: SocketAddr,
    /// What a client calls it: the `Host` header.
    pub authority: String,
    /// The name that its TLS certificate must bear, when it speaks TLS.
    pub tls: Option<String>,
}

/// A plan admits no fault on a hub that is not ours; should one come, it is refused like one on a cluster that is down.
impl Cluster {
    /// The path through the Service.
    pub fn service(&self) -> Address {
        match self {
            Cluster::Local(local) => Address::plain(local.service()),
            Cluster::Kubernetes(cell) => {
                Address { addr: cell.service(), authority: cell.authority(), tls: None }
            }
            Cluster::Fixed(address) => address.clone(),
        }
    }

    /// The path through the Service by each node, in the order of the nodes' names.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where there are no nodes, or they are not ours.
    pub async fn at_nodes(&self) -> Result<Vec<(String, Address)>, FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.at_nodes().await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// The path through the Service by its own address, which only pods have.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where there is no such address.
    pub async fn within(&self) -> Result<Address, FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.within().await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// The node that a replica runs on, where there are nodes.
    pub fn node_of(&self, replica: &str) -> Option<String> {
        match self {
            Cluster::Kubernetes(cell) => cell.node_of(replica),
            Cluster::Local(_) | Cluster::Fixed(_) => None,
        }
    }

    /// The path straight to one replica; `None` when it is gone or cannot be reached on its own.
    pub fn at(&self, replica: &str) -> Option<Address> {
        self.replica(replica).ok().map(|replica| Address::plain(replica.addr))
    }

    /// The pods, the oldest first.
    pub fn replicas(&self) -> Vec<Replica> {
        match self {
            Cluster::Local(local) => local.replicas(),
            Cluster::Kubernetes(cell) => cell.replicas(),
            Cluster::Fixed(_) => Vec::new(),
        }
    }

    /// Names of the pods that receive new connections, the oldest first.
    pub fn ready_replicas(&self) -> Vec<String> {
        let serving = self.replicas().into_iter().filter(|replica| replica.ready && !replica.terminating);
        serving.map(|replica| replica.name).collect()
    }

    /// A pod by its name.
    ///
    /// # Errors
    ///
    /// [`FaultError::NoReplica`].
    pub fn replica(&self, name: &str) -> Result<Replica, FaultError> {
        let found = self.replicas().into_iter().find(|replica| replica.name == name);
        found.ok_or_else(|| FaultError::NoReplica(name.to_owned()))
    }

    /// A source address for the client of this number, where clients can have one of their own, once it can be used.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] when there are more clients than addresses.
    pub async fn client_address(&self, number: usize) -> Result<Option<Source>, LeaseError> {
        match self {
            Cluster::Local(local) => Ok(Some(local.client_address(number)?.into())),
            Cluster::Kubernetes(cell) => cell.client_address(number).await.map(Some),
            Cluster::Fixed(_) => Ok(None),
        }
    }

    /// Whether it records which replica each connection through the Service was given to.
    pub async fn tells_routes(&self) -> bool {
        match self {
            Cluster::Local(_) => true,
            Cluster::Kubernetes(cell) => cell.tells_routes().await,
            Cluster::Fixed(_) => false,
        }
    }

    /// Returns once it is recorded which replica each connection so far was given to, or will not be: of the client with this
    /// address, or of all.
    pub async fn routes_told(&self, of: Option<IpAddr>) {
        match self {
            Cluster::Kubernetes(cell) => cell.routes_told(of).await,
            // It tells before it connects, or never.
            Cluster::Local(_) | Cluster::Fixed(_) => {}
        }
    }

    /// Waits for a condition and records the wait.
    ///
    /// # Errors
    ///
    /// [`Unmet`] when it did not come true in time.
    pub async fn wait(&self, condition: &Condition, limit: Duration) -> Result<(), Unmet> {
        match self {
            Cluster::Local(local) => local.wait(condition, limit).await,
            Cluster::Kubernetes(cell) => cell.wait(condition, limit).await,
            Cluster::Fixed(_) => Ok(()),
        }
    }

    /// How many processes a replica's container has.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where they cannot be seen.
    pub async fn processes(&self, replica: &str) -> Result<ProcessCount, FaultError> {
        match self {
            Cluster::Local(local) => local.processes(replica),
            Cluster::Kubernetes(cell) => cell.processes(replica).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Kills a replica's process.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn kill(&self, replica: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.kill(replica).await,
            Cluster::Kubernetes(cell) => cell.kill(replica).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Stops a replica's process, which keeps its connections and says nothing.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn stop(&self, replica: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.stop(replica).await,
            Cluster::Kubernetes(cell) => cell.stop(replica).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Lets a stopped process go on.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn cont(&self, replica: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.cont(replica).await,
            Cluster::Kubernetes(cell) => cell.cont(replica).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Deletes a pod; without a grace period, with the pod's own.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn delete(&self, replica: &str, grace: Option<Duration>) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.delete(replica, grace).await,
            Cluster::Kubernetes(cell) => cell.delete(replica, grace).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Scales the Deployment.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn scale(&self, replicas: usize) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.scale(replicas).await,
            Cluster::Kubernetes(cell) => cell.scale(replicas).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Replaces every pod, as `kubectl rollout restart` does.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn roll(&self) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.roll().await,
            Cluster::Kubernetes(cell) => cell.roll().await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// The manifests as they are now, to be edited and applied.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn manifests(&self) -> Result<Manifests, FaultError> {
        match self {
            Cluster::Local(local) => local.manifests().await,
            Cluster::Kubernetes(cell) => cell.manifests().await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Makes these the manifests; the words say what changed, in the same way on every backend.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn apply(&self, manifests: Manifests, change: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Local(local) => local.apply(manifests, Some(change)).await,
            Cluster::Kubernetes(cell) => cell.apply(manifests, Some(change)).await,
            Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Whether pods can be evicted, and how many must stay can be said.
    pub fn evicts(&self) -> bool {
        match self {
            Cluster::Kubernetes(cell) => cell.evicts(),
            Cluster::Local(_) | Cluster::Fixed(_) => false,
        }
    }

    /// Lets evictions leave at least so many of the pods available, and waits until the cluster counts them.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where there are no evictions.
    pub async fn keep_available(&self, count: usize) -> Result<(), FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.keep_available(count).await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Keeps new pods off a node, of this cluster's only; those that run there stay.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where there are no nodes, or they are not ours.
    pub async fn cordon(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.cordon(node).await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Lets pods onto the node again.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where there are no nodes, or they are not ours.
    pub async fn uncordon(&self, node: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.uncordon(node).await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Asks for a pod's eviction; what the cluster says when its budget does not allow it.
    ///
    /// # Errors
    ///
    /// [`FaultError`].
    pub async fn evict(&self, replica: &str) -> Result<Option<Told>, FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.evict(replica).await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// The hub's image under a name that no node has, until it is loaded. It goes with the cell.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where nodes have no images, or are not ours.
    pub async fn late_image(&self) -> Result<String, FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.late_image().await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Brings an image into the nodes.
    ///
    /// # Errors
    ///
    /// [`FaultError`] where nodes have no images, or are not ours.
    pub async fn load(&self, image: &str) -> Result<(), FaultError> {
        match self {
            Cluster::Kubernetes(cell) => cell.load(image).await,
            Cluster::Local(_) | Cluster::Fixed(_) => Err(FaultError::NotHere),
        }
    }

    /// Waits until the cluster tells of this, in words that hold these names. Other words count when no better ones come.
    ///
    /// # Errors
    ///
    /// What was last seen, when it does not within the limit.
    pub async fn told(&self, symptom: Symptom, naming: &[&str], limit: Duration) -> Result<Told, String> {
        match self {
            Cluster::Local(local) => local.told(symptom, limit).await,
            Cluster::Kubernetes(cell) => cell.told(symptom, naming, limit).await,
            Cluster::Fixed(_) => Err("a hub that is not ours".to_owned()),
        }
    }

    /// What the cluster has of the cell now, for people; Secrets are not asked for.
    pub async fn described(&self) -> Vec<Page> {
        match self {
            Cluster::Local(_) => {
                let pods: String = self.replicas().iter().map(|replica| format!("{replica:#?}\n")).collect();
                vec![Page { name: "pods.txt".to_owned(), text: pods }]
            }
            Cluster::Kubernetes(cell) => cell.described().await,
            Cluster::Fixed(_) => Vec::new(),
        }
    }

    /// Ends everything that is ours.
    pub async fn down(self) {
        match self {
            Cluster::Local(local) => local.down().await,
            Cluster::Kubernetes(cell) => cell.down().await,
            Cluster::Fixed(_) => {}
        }
    }
}

impl Address {
    fn plain(addr: SocketAddr) -> Self {
        Self { addr, authority: addr.to_string(), tls: None }
    }
}
