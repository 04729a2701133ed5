//! Relays: containers on the cluster's network, one per wire client, so that each has an address of its own.
//!
//! From this machine every client would look alike to a node. Relays are of the run, not of a cell: which client an
//! address is matters to one Service at a time. They are started as clients appear. One more relay runs in the network of
//! a node itself, from where every pod is reached at its own address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, NetworkSettings, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio_util::either::Either;

use super::{KindError, RunLock};
use crate::cluster::gate::{NoWay, Through, ask};
use crate::cluster::kubernetes::{LABEL_MANAGED_BY, LABEL_RUN, MANAGER};

/// The label that says for which cluster something is.
const LABEL_CLUSTER: &str = "hubcheck/cluster";

/// Where a relay listens.
const PORT: u16 = 7000;

/// So many relays are started before anyone asks.
const AT_ONCE: usize = 8;

/// So many containers are started at a time: more would not be faster.
const STARTING: usize = 4;

/// How long a new relay may take to listen.
const LISTENS: Duration = Duration::from_secs(30);

/// Elsewhere containers run in a virtual machine whose network this one does not reach: relays have a port here.
const IS_PUBLISHED: bool = !cfg!(target_os = "linux");

/// The relays of one run.
pub(in crate::cluster) struct RelayContainers {
    docker: Docker,
    network: String,
    run: String,
    cluster: String,
    image: Mutex<Option<String>>,
    started: Mutex<Vec<Arc<OnceCell<SocketAddr>>>>,
    starting: Mutex<JoinSet<()>>,
    permits: Semaphore,
    /// The node in whose network one more relay runs, and that relay.
    node: String,
    inside: OnceCell<SocketAddr>,
}

/// Where a relay runs.
#[derive(Clone, Copy, Debug)]
enum Spot {
    /// On the cluster's network, with an address of its own: the client's of this number.
    Client(usize),
    /// In the network of the node.
    Node,
}

// === impl RelayContainers ===

impl RelayContainers {
    pub(super) fn new(docker: Docker, network: String, node: String, run: &RunLock) -> Self {
        Self {
            docker,
            network,
            run: run.run().to_owned(),
            cluster: run.cluster().to_owned(),
            image: Mutex::default(),
            started: Mutex::default(),
            starting: Mutex::default(),
            permits: Semaphore::new(STARTING),
            node,
            inside: OnceCell::new(),
        }
    }

    /// From now on relays run this image; the first of them are started.
    pub(super) fn open(self: &Arc<Self>, image: String) {
        *lock(&self.image) = Some(image);
        let relays = Arc::clone(self);
        lock(&self.starting).spawn(async move {
            if let Err(error) = relays.inside().await {
                tracing::warn!("the relay in the node's network: {error}");
            }
        });
        (0..AT_ONCE).for_each(|number| self.prepare(number));
    }

    /// The image that they run, once it is known.
    pub(super) fn image(&self) -> Option<String> {
        lock(&self.image).clone()
    }

    /// Starts the relay of the client of this number in the background.
    fn prepare(self: &Arc<Self>, number: usize) {
        let relays = Arc::clone(self);
        lock(&self.starting).spawn(async move { relays.ready(number).await });
    }

    /// Returns when the relay of the client of this number is there, which is started when it is not, or cannot be had.
    pub(in crate::cluster) async fn ready(&self, number: usize) {
        if let Err(error) = self.addr(number).await {
            tracing::warn!("relay {number}: {error}");
        }
    }

    /// A way to the relay of the client of this number, which is started when it is not yet there.
    pub(in crate::cluster) async fn pipe(&self, number: usize) -> Result<TcpStream, String> {
        let relay = self.addr(number).await.map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(relay).await.map_err(|error| format!("relay {number}: {error}"))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Connects to a pod's own address, past the Service.
    pub(super) async fn aim(&self, to: SocketAddr) -> Result<Through, NoWay> {
        let broke = |error: io::Error| NoWay::NoRelay(error.to_string());
        let aimed = async {
            let relay = self.inside().await.map_err(|error| NoWay::NoRelay(error.to_string()))?;
            let stream = if IS_PUBLISHED {
                // The node's network is not reached from here either.
                let way = self.pipe(0).await.map_err(NoWay::NoRelay)?;
                match ask(BufReader::new(Either::Left(way)), relay).await {
                    Ok(through) => through.stream,
                    Err(NoWay::Refused(why) | NoWay::NoRelay(why)) => return Err(NoWay::NoRelay(why)),
                }
            } else {
                let stream = TcpStream::connect(relay).await.map_err(broke)?;
                stream.set_nodelay(true).map_err(broke)?;
                BufReader::new(Either::Left(stream))
            };
            ask(stream, to).await
        };
        aimed.await.map_err(|no_way| no_way.at("the relay in the node's network"))
    }

    /// Starts no more.
    pub(super) async fn close(&self) {
        let mut starting = std::mem::take(&mut *lock(&self.starting));
        // One that is cut off between creation and start would be left: they are few, and fast.
        while starting.join_next().await.is_some() {}
    }

    async fn addr(&self, number: usize) -> Result<SocketAddr, KindError> {
        self.cell(number).get_or_try_init(|| self.start(Spot::Client(number))).await.copied()
    }

    async fn inside(&self) -> Result<SocketAddr, KindError> {
        self.inside.get_or_try_init(|| self.start(Spot::Node)).await.copied()
    }

    fn cell(&self, number: usize) -> Arc<OnceCell<SocketAddr>> {
        let mut started = lock(&self.started);
        if started.len() <= number {
            started.resize_with(number + 1, Arc::default);
        }
        Arc::clone(&started[number])
    }

    async fn start(&self, spot: Spot) -> Result<SocketAddr, KindError> {
        let _permit = self.permits.acquire().await;
        let (name, network, listen) = match spot {
            Spot::Client(number) => {
                let name = format!("hubcheck-relay-{}-{number}", self.run);
                (name, self.network.clone(), format!("0.0.0.0:{PORT}"))
            }
            // Other runs have one there too: it takes any port, and says which.
            Spot::Node => {
                let name = format!("hubcheck-relay-{}-node", self.run);
                (name, format!("container:{}", self.node), "0.0.0.0:0".to_owned())
            }
        };
        let labels = [(LABEL_MANAGED_BY, MANAGER), (LABEL_RUN, &self.run), (LABEL_CLUSTER, &self.cluster)];
        let mut host = HostConfig {
            network_mode: Some(network),
            auto_remove: Some(true),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            ..HostConfig::default()
        };
        let port = format!("{PORT}/tcp");
        let is_published = IS_PUBLISHED && matches!(spot, Spot::Client(_));
        if is_published {
            let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
            host.port_bindings = Some([(port.clone(), Some(vec![binding]))].into());
        }
        let body = ContainerCreateBody {
            image: lock(&self.image).clone(),
            entrypoint: Some(vec!["/relay".to_owned()]),
            cmd: Some(vec![listen]),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            exposed_ports: is_published.then(|| vec![port.clone()]),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let doing = || format!("starting {name}");
        let made = self.docker.create_container(Some(options), body).await;
        let id = made.map_err(KindError::docker(doing()))?.id;
        let is_node = matches!(spot, Spot::Node);
        let published = is_published.then_some(&*port);
        let at = self.listens(&id, &name, is_node, published).await;
        if at.is_err() {
            // Its name is wanted by whoever tries again.
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            if let Err(error) = self.docker.remove_container(&id, Some(options)).await {
                tracing::debug!("removing {name}: {error}");
            }
        }
        at
    }

    /// Starts the container of a relay; where it is reached, once it says that it listens.
    async fn listens(
        &self,
        id: &str,
        name: &str,
        is_node: bool,
        published: Option<&str>,
    ) -> Result<SocketAddr, KindError> {
        let doing = || format!("starting {name}");
        let no_relay = || KindError::NoRelay(name.to_owned());
        let started = self.docker.start_container(id, None::<StartContainerOptions>).await;
        started.map_err(KindError::docker(doing()))?;
        let told = self.told(id).await;
        if is_node {
            let port = told.map(|told| told.port());
            let node = self.inspect(&self.node, &doing()).await?;
            return own_ip(&node, &self.network).zip(port).map(SocketAddr::from).ok_or_else(no_relay);
        }
        let inspected = self.inspect(id, &doing()).await?;
        let bound = |port: &str| {
            let bindings = inspected.ports.clone()?.remove(port)??;
            let port = bindings.first()?.host_port.as_ref()?.parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let own = || own_ip(&inspected, &self.network).map(|ip| SocketAddr::new(ip, PORT));
        let addr = published.map_or_else(own, bound);
        addr.filter(|_| told.is_some()).ok_or_else(no_relay)
    }

    /// Where a relay listens, in its own network, as it says once it does.
    async fn told(&self, id: &str) -> Option<SocketAddr> {
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).build();
        let mut output = self.docker.logs(id, Some(options));
        let told = async {
            let mut said = String::new();
            while let Some(Ok(chunk)) = output.next().await {
                said.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
                if let Some((line, _)) = said.split_once('\n') {
                    return line.parse().ok();
                }
            }
            None
        };
        tokio::time::timeout(LISTENS, told).await.ok().flatten()
    }

    async fn inspect(&self, container: &str, doing: &str) -> Result<NetworkSettings, KindError> {
        let inspected = self.docker.inspect_container(container, None::<InspectContainerOptions>).await;
        Ok(inspected.map_err(KindError::docker(doing))?.network_settings.unwrap_or_default())
    }
}

// === helpers ===

fn own_ip(settings: &NetworkSettings, network: &str) -> Option<IpAddr> {
    settings.networks.as_ref()?.get(network)?.ip_address.as_ref()?.to_string().parse().ok()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
