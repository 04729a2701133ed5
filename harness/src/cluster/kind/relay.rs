//! RelayContainers: containers on the cluster's network, one per wire client, so that each has an address of its own.
//!
//! From this machine every client would look alike to a node. RelayContainers are of the run, not of a cell: which client an
//! address is matters to one Service at a time. They are started as clients appear.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::KindError;
use crate::cluster::kubernetes::{LABEL_MANAGED_BY, LABEL_RUN, MANAGER};

/// Where a relay listens.
const PORT: u16 = 7000;

/// So many relays are started before anyone asks.
const AT_ONCE: usize = 8;

/// So many containers are started at a time: more would not be faster.
const STARTING: usize = 4;

/// How long a new relay may take to listen.
const LISTENS: Duration = Duration::from_secs(10);

const TRY_AGAIN: Duration = Duration::from_millis(20);

/// The relays of one run.
pub(in crate::cluster) struct RelayContainers {
    docker: Docker,
    network: String,
    run: String,
    image: Mutex<Option<String>>,
    started: Mutex<Vec<Arc<OnceCell<SocketAddr>>>>,
    starting: Mutex<JoinSet<()>>,
    permits: Semaphore,
}

// === impl RelayContainers ===

impl RelayContainers {
    pub(super) fn new(docker: Docker, network: String, run: String) -> Self {
        Self {
            docker,
            network,
            run,
            image: Mutex::default(),
            started: Mutex::default(),
            starting: Mutex::default(),
            permits: Semaphore::new(STARTING),
        }
    }

    /// From now on relays run this image; the first of them are started.
    pub(super) fn open(self: &Arc<Self>, image: String) {
        *lock(&self.image) = Some(image);
        (0..AT_ONCE).for_each(|number| self.prepare(number));
    }

    /// Starts the relay of the client of this number in the background.
    pub(in crate::cluster) fn prepare(self: &Arc<Self>, number: usize) {
        if self.cell(number).initialized() {
            return;
        }
        let relays = Arc::clone(self);
        let mut starting = lock(&self.starting);
        while starting.try_join_next().is_some() {}
        starting.spawn(async move {
            if let Err(error) = relays.addr(number).await {
                tracing::warn!("relay {number}: {error}");
            }
        });
    }

    /// A way to the relay of the client of this number, which is started when it is not yet there.
    pub(in crate::cluster) async fn pipe(&self, number: usize) -> Result<TcpStream, String> {
        let relay = self.addr(number).await.map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(relay).await.map_err(|error| format!("relay {number}: {error}"))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Starts no more.
    pub(super) async fn close(&self) {
        let mut starting = std::mem::take(&mut *lock(&self.starting));
        // One that is cut off between creation and start would be left: they are few, and fast.
        while starting.join_next().await.is_some() {}
    }

    async fn addr(&self, number: usize) -> Result<SocketAddr, KindError> {
        self.cell(number).get_or_try_init(|| self.start(number)).await.copied()
    }

    fn cell(&self, number: usize) -> Arc<OnceCell<SocketAddr>> {
        let mut started = lock(&self.started);
        if started.len() <= number {
            started.resize_with(number + 1, Arc::default);
        }
        Arc::clone(&started[number])
    }

    async fn start(&self, number: usize) -> Result<SocketAddr, KindError> {
        let _permit = self.permits.acquire().await;
        let name = format!("hubcheck-relay-{}-{number}", self.run);
        let labels = [(LABEL_MANAGED_BY, MANAGER), (LABEL_RUN, &self.run)];
        let mut host = HostConfig {
            network_mode: Some(self.network.clone()),
            auto_remove: Some(true),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            ..HostConfig::default()
        };
        let port = format!("{PORT}/tcp");
        let is_published = !cfg!(target_os = "linux");
        if is_published {
            // Elsewhere containers run in a virtual machine whose network this one does not reach.
            let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
            host.port_bindings = Some([(port.clone(), Some(vec![binding]))].into());
        }
        let body = ContainerCreateBody {
            image: lock(&self.image).clone(),
            entrypoint: Some(vec!["/relay".to_owned()]),
            cmd: Some(vec![format!("0.0.0.0:{PORT}")]),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            exposed_ports: is_published.then(|| vec![port.clone()]),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let doing = || format!("starting {name}");
        let made = self.docker.create_container(Some(options), body).await;
        let id = made.map_err(KindError::docker(doing()))?.id;
        let started = self.docker.start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(KindError::docker(doing()))?;
        let inspected = self.docker.inspect_container(&id, None::<InspectContainerOptions>).await;
        let settings = inspected.map_err(KindError::docker(doing()))?.network_settings.unwrap_or_default();
        let published = || {
            let bindings = settings.ports.clone()?.remove(&port)??;
            let port = bindings.first()?.host_port.as_ref()?.parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let own = || {
            let endpoint = settings.networks.as_ref()?.get(&self.network)?.clone();
            let ip: IpAddr = endpoint.ip_address?.to_string().parse().ok()?;
            Some(SocketAddr::new(ip, PORT))
        };
        let addr = if is_published { published() } else { own() };
        let addr = addr.ok_or_else(|| KindError::NoNode(name.clone()))?;
        let mut again = tokio::time::interval(TRY_AGAIN);
        let listens = async {
            while TcpStream::connect(addr).await.is_err() {
                again.tick().await;
            }
        };
        if tokio::time::timeout(LISTENS, listens).await.is_err() {
            tracing::warn!("{name} does not listen at {addr}");
        }
        Ok(addr)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
