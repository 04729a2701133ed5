//! A KIND cluster on this machine's Docker: made, reused, given images, and looked into where Kubernetes does not look.
//!
//! The only place that names `bollard`. Knows Docker and nodes; what runs on them is [`super::kubernetes`]' business.
//! A cluster is ours when its nodes have a mount that only we give them, from their creation on: others are never
//! touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::future::join_all;
use tokio::io::split;
use tokio::net::TcpStream;

use self::cli::Cli;
use self::exits::Exits;
use self::leftovers::{in_use, labelled, remove_images, remove_relays, user_of};
use self::node::Node;
use self::state::{Matter, Turn};
use super::ProcessCount;
use super::gate::{Entry, GateError, NoWay, Relays};
use super::passing::both_ways;
use super::process::Signal;

mod archive;
mod cli;
mod error;
mod exits;
mod image;
mod late;
mod leftovers;
mod load;
mod node;
mod relay;
mod state;

pub use error::KindError;
pub use exits::Exit;
pub use image::{Binaries, Image, ImageError, LATE};
pub use load::Loaded;
pub(super) use node::Tracker;
pub(super) use relay::RelayContainers;
pub use state::RunLock;
pub(super) use state::home;

/// The cluster's name, unless another is chosen.
pub const CLUSTER: &str = "hubcheck";

/// How long the nodes of a new cluster may take to be ready.
const NODES_READY: Duration = Duration::from_secs(120);

/// How long the nodes of a cluster that is there may take: they may have been started again just now.
const NODES_AGAIN: Duration = Duration::from_secs(30);

/// How long the first rules of a new cluster's Services may take.
const RULES_COME: Duration = Duration::from_secs(5);

/// Between two looks at the nodes of a new cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A KIND cluster that is healthy.
pub struct Kind {
    docker: Docker,
    lock: Arc<RunLock>,
    kubeconfig: String,
    nodes: Vec<Arc<Node>>,
    relays: Arc<RelayContainers>,
    /// By node.
    exits: Vec<(String, Exits)>,
    /// Whether the nodes' rules can be read: kube-proxy writes them for iptables by default.
    rules_are_readable: bool,
}

/// Whether a cluster goes when nobody uses it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// With the last run that uses it, when this one made it.
    WithLastRun,
    /// It stays, whoever made it.
    Never,
}

/// What became of the cluster that was there.
enum Found {
    Nothing,
    Healthy { kubeconfig: String, nodes: Vec<Arc<Node>> },
    Unfit(String),
}

// === impl Kind ===

impl Kind {
    /// Reuses the cluster when it is healthy, makes it when there is none, and makes it anew when it is not.
    ///
    /// # Errors
    ///
    /// [`KindError`]; [`KindError::NotOurs`] when somebody else made it. `is_making` says whether it is half made.
    pub async fn up(
        lock: Arc<RunLock>,
        goes: Goes,
        is_making: &AtomicBool,
        say: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, KindError> {
        let docker = connect().await?;
        let cluster = lock.cluster();
        let cli = Cli::new(cluster)?;
        if Turn::is_taken(Matter::Cluster(cluster)) {
            say(&format!("waiting for another run, which makes or removes cluster {cluster}"));
        }
        let _turn = Turn::take(Matter::Cluster(cluster)).await?;
        match found(&docker, &cli).await? {
            Found::Healthy { kubeconfig, nodes } => {
                if goes == Goes::Never {
                    cli.set_goes(false)?;
                }
                return Self::of(docker, lock, kubeconfig, nodes).await;
            }
            Found::Nothing => {}
            Found::Unfit(why) => {
                if let Some(run) = user_of(cluster, Some(&lock)) {
                    let cluster = cluster.to_owned();
                    return Err(KindError::InUse { cluster, run, unfit: Some(why) });
                }
                say(&format!("recreating cluster {cluster}: {why}"));
                cli.delete().await?;
            }
        }
        say(&format!("creating cluster {cluster}"));
        is_making.store(true, Ordering::Relaxed);
        cli.create().await?;
        let (kubeconfig, nodes) = ready(&docker, &cli).await?;
        cli.set_goes(goes == Goes::WithLastRun)?;
        is_making.store(false, Ordering::Relaxed);
        Self::of(docker, lock, kubeconfig, nodes).await
    }

    /// Removes everything of a cluster of ours from Docker: the cluster, relays, images. Only what no other run uses.
    ///
    /// # Errors
    ///
    /// [`KindError`]; [`KindError::InUse`] when another run than the one with this lock uses the cluster,
    /// [`KindError::NotOurs`] when somebody else made it.
    pub async fn remove(cluster: &str, own: Option<&RunLock>) -> Result<(), KindError> {
        let docker = connect().await?;
        let cli = Cli::new(cluster)?;
        let _turn = Turn::take(Matter::Cluster(cluster)).await?;
        if let Some(run) = user_of(cluster, own) {
            return Err(KindError::InUse { cluster: cluster.to_owned(), run, unfit: None });
        }
        let nodes = nodes(&docker, &cli).await?;
        if !nodes.iter().all(|node| node.is_ours) {
            return Err(KindError::NotOurs(cluster.to_owned()));
        }
        if !nodes.is_empty() {
            cli.delete().await?;
        }
        let own_run = own.map(RunLock::run);
        remove_relays(&docker, |run| Some(run) == own_run || !RunLock::is_held(run)).await?;
        remove_images(&docker, own_run).await?;
        cli.forget();
        Ok(())
    }

    async fn of(
        docker: Docker,
        lock: Arc<RunLock>,
        kubeconfig: String,
        nodes: Vec<Arc<Node>>,
    ) -> Result<Self, KindError> {
        let rules_are_readable = match nodes.first() {
            Some(node) => rules_come(node).await,
            None => false,
        };
        join_all(nodes.iter().map(|node| node.tell_of_every_refusal())).await;
        let network = nodes.first().map(|node| node.network.clone()).unwrap_or_default();
        let node = nodes.iter().find(|node| !node.is_worker).or(nodes.first());
        let node = node.map(|node| node.name.clone()).unwrap_or_default();
        let relays = Arc::new(RelayContainers::new(docker.clone(), network, node, &lock));
        let exits = nodes.iter().map(|node| async { (node.name.clone(), Exits::start(node).await) });
        let exits = join_all(exits).await;
        Ok(Self { docker, lock, kubeconfig, nodes, relays, exits, rules_are_readable })
    }

    /// Whether the cluster goes now that this run ends: whoever made it did not want to keep it, and nobody else uses it.
    pub fn goes_now(&self) -> bool {
        let cluster = self.lock.cluster();
        Cli::new(cluster).is_ok_and(|cli| cli.goes()) && user_of(cluster, Some(&self.lock)).is_none()
    }

    /// The kubeconfig, as YAML.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Where the kubeconfig is written, for whoever wants to use `kubectl`.
    ///
    /// # Errors
    ///
    /// [`KindError::File`].
    pub fn kubeconfig_path(cluster: &str) -> Result<std::path::PathBuf, KindError> {
        Ok(Cli::new(cluster)?.kubeconfig_path())
    }

    /// Brings an image into every node that runs pods of ours and lacks it.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub async fn load(&self, image: &Image) -> Result<Loaded, KindError> {
        self.lock.uses(&image.reference).await?;
        let (loaded, looked) = load::into_nodes(&self.docker, &self.nodes_for_pods(), image).await?;
        let _turn = Turn::take(Matter::Images).await?;
        load::forget_unused(looked, &in_use()).await;
        Ok(loaded)
    }

    /// Builds the reference hub's image, or finds that it was built already.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub async fn build(&self, binaries: &Binaries) -> Result<Image, KindError> {
        binaries.image_in(&self.docker, &self.lock).await
    }

    /// Lets wire clients into the cluster: relays run this image from now on.
    pub fn open_relays(&self, image: &Image) {
        self.relays.open(image.reference.clone());
    }

    /// The same with an image that was given. Nobody removes it while the run goes on.
    ///
    /// # Errors
    ///
    /// [`KindError::NoRelayImage`].
    pub async fn open_relays_given(&self, image: &Image) -> Result<(), KindError> {
        self.lock.uses(&image.reference).await?;
        if self.docker.inspect_image(&image.reference).await.is_err() {
            return Err(KindError::NoRelayImage(image.reference.clone()));
        }
        self.open_relays(image);
        Ok(())
    }

    /// A way for wire clients to a node port, for the cell of this number.
    pub(super) async fn entry(&self, cell: usize, node_port: u16) -> Result<(Entry, Relays), GateError> {
        // One node for all clients of a cell: kube-proxy remembers clients per node.
        let nodes = self.nodes_for_pods();
        let node = nodes.get(cell % nodes.len().max(1)).ok_or(GateError::NoNode)?;
        let to = SocketAddr::new(node.ip.ok_or(GateError::NoNode)?, node_port);
        let entry = Entry { to, node: Some((node.name.clone(), node.tracker().await)) };
        Ok((entry, Relays::Containers(Arc::clone(&self.relays))))
    }

    /// The same at every node, in the order of their names: a node port is served by all of them.
    pub(super) async fn entries(&self, node_port: u16) -> Result<Vec<(Entry, Relays)>, GateError> {
        let mut entries = Vec::new();
        for node in &self.nodes {
            let to = SocketAddr::new(node.ip.ok_or(GateError::NoNode)?, node_port);
            let entry = Entry { to, node: Some((node.name.clone(), node.tracker().await)) };
            entries.push((entry, Relays::Containers(Arc::clone(&self.relays))));
        }
        Ok(entries)
    }

    /// The image that relays run, in every node that runs pods of ours.
    pub(super) async fn relay_image(&self) -> Result<Image, KindError> {
        let image = Image { reference: self.relays.image().unwrap_or_default() };
        self.load(&image).await?;
        Ok(image)
    }

    /// Passes a connection on to a pod's own address, past the Service, until it ends; why there is none.
    ///
    /// # Errors
    ///
    /// What the relay said, or that there is none.
    pub(super) async fn aim(&self, client: &mut TcpStream, to: SocketAddr) -> Result<(), NoWay> {
        let mut through = self.relays.aim(to).await?;
        if both_ways(client.split(), split(&mut through.stream)).await {
            return Ok(());
        }
        through.reset();
        Err(NoWay::Refused("the connection broke".to_owned()))
    }

    /// The process id, on its node, of a container's main process.
    ///
    /// # Errors
    ///
    /// [`KindError::NoProcess`] when it is gone.
    pub async fn pid(&self, node: &str, container: &str) -> Result<u32, KindError> {
        self.node(node)?.pid(container).await
    }

    /// How many processes a container of a node has.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub(crate) async fn processes(&self, node: &str, container: &str) -> Result<ProcessCount, KindError> {
        self.node(node)?.processes(container).await
    }

    /// Signals a process of a node.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub(crate) async fn signal(&self, node: &str, pid: u32, signal: Signal) -> Result<(), KindError> {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        self.node(node)?.sh(&format!("kill -{name} {pid}")).await.map(drop)
    }

    /// How and when a container of a node ended, in its runtime's words; when that was seen.
    pub fn exit(&self, node: &str, container: &str) -> Option<Exit> {
        self.exits.iter().find(|(name, _)| name == node)?.1.of(container)
    }

    /// Whether the node gives a Service's connections (`namespace/name`) to exactly these pods; nothing when its rules
    /// cannot be read.
    pub async fn routes(&self, node: &str, service: &str, pods: &[IpAddr]) -> Option<bool> {
        if !self.rules_are_readable {
            return None;
        }
        Some(match self.node(node) {
            // A pod is there once for each port of the Service.
            Ok(node) => matches!(node.routes(service).await, Ok(Some(routed))
                if routed.iter().collect::<BTreeSet<_>>() == pods.iter().collect()),
            Err(_) => false,
        })
    }

    /// Whether connections can be told apart by the replica that they reached.
    pub async fn tells_routes(&self) -> bool {
        let looks = self.nodes.iter().map(|node| node.sh("command -v conntrack"));
        join_all(looks).await.iter().all(Result::is_ok)
    }

    /// Removes what this run made in Docker beside the cluster.
    pub async fn finish(&self) {
        self.relays.close().await;
        self.forget_own().await;
        if let Err(error) = remove_relays(&self.docker, |run| run == self.lock.run()).await {
            tracing::warn!("removing relays: {error}");
        }
    }

    /// Removes the relays of runs that are over, and the images that we built and no run uses.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub async fn reap(&self) -> Result<(), KindError> {
        remove_relays(&self.docker, |run| run != self.lock.run() && !RunLock::is_held(run)).await?;
        remove_images(&self.docker, None).await
    }

    /// The workers; of a cluster without workers, every node.
    fn nodes_for_pods(&self) -> Vec<Arc<Node>> {
        let workers: Vec<Arc<Node>> = self.nodes.iter().filter(|node| node.is_worker).cloned().collect();
        if workers.is_empty() { self.nodes.clone() } else { workers }
    }

    fn node(&self, name: &str) -> Result<&Arc<Node>, KindError> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| KindError::NoNode(name.to_owned()))
    }
}

// === helpers ===

async fn connect() -> Result<Docker, KindError> {
    let docker = Docker::connect_with_defaults().map_err(KindError::docker("finding Docker"))?;
    docker.negotiate_version().await.map_err(KindError::docker("asking Docker"))
}

/// Looks at the cluster of our name.
async fn found(docker: &Docker, cli: &Cli) -> Result<Found, KindError> {
    let nodes = nodes(docker, cli).await?;
    if nodes.is_empty() {
        return Ok(Found::Nothing);
    }
    if !nodes.iter().all(|node| node.is_ours) {
        return Err(KindError::NotOurs(cli.cluster().to_owned()));
    }
    if let Some(stopped) = nodes.iter().find(|node| !node.is_running) {
        return Ok(Found::Unfit(format!("node {} does not run", stopped.name)));
    }
    if let Some(wanted) = cli.node_image()
        && let Some(other) = nodes.iter().find(|node| node.image != wanted)
    {
        return Ok(Found::Unfit(format!("its nodes are {}, wanted is {wanted}", other.image)));
    }
    if nodes.len() != cli.node_count() {
        return Ok(Found::Unfit(format!("it has {} nodes, wanted are {}", nodes.len(), cli.node_count())));
    }
    if !become_ready(&nodes, NODES_AGAIN).await {
        return Ok(Found::Unfit(format!("its nodes are not ready after {} s", NODES_AGAIN.as_secs())));
    }
    Ok(Found::Healthy { kubeconfig: cli.kubeconfig().await?, nodes })
}

/// Waits for the nodes of a cluster that was just made.
async fn ready(docker: &Docker, cli: &Cli) -> Result<(String, Vec<Arc<Node>>), KindError> {
    let nodes = nodes(docker, cli).await?;
    if !become_ready(&nodes, NODES_READY).await {
        return Err(KindError::NodesNotReady);
    }
    Ok((cli.kubeconfig().await?, nodes))
}

/// Whether the nodes are ready within the limit.
async fn become_ready(nodes: &[Arc<Node>], limit: Duration) -> bool {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let all_ready = async {
        while !node::all_ready(nodes).await {
            look.tick().await;
        }
    };
    tokio::time::timeout(limit, all_ready).await.is_ok()
}

/// Whether the node's rules can be read: kube-proxy may be about to write the first of them, or use another table.
async fn rules_come(node: &Node) -> bool {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let come = async {
        while let Err(error) = node.sh("iptables-save -t nat | grep -c KUBE-SERVICES").await {
            tracing::debug!("the rules of {}: {error}", node.name);
            look.tick().await;
        }
    };
    tokio::time::timeout(RULES_COME, come).await.is_ok()
}

async fn nodes(docker: &Docker, cli: &Cli) -> Result<Vec<Arc<Node>>, KindError> {
    let of_cluster = [format!("{}={}", node::LABEL_CLUSTER, cli.cluster())];
    let found = labelled(docker, &of_cluster).await?;
    let inspected = found.into_iter().map(|(id, _)| async move {
        let inspected = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
        inspected.map(|inspected| Arc::new(Node::of(docker.clone(), inspected)))
    });
    let nodes: Result<Vec<_>, _> = join_all(inspected).await.into_iter().collect();
    let mut nodes = nodes.map_err(KindError::docker("inspecting a node"))?;
    nodes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(nodes)
}
