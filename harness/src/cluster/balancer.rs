//! The Service, with kube-proxy's rules: a ready endpoint per TCP connection.
//!
//! `None` picks at random; `ClientIP` picks what this client's address had before, until its timeout has passed
//! since the last new connection or the endpoint is gone. Established connections stay where they are when their
//! endpoint leaves. Without endpoints a connection is refused. Bytes, half-closes and resets pass both ways.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::accept;
use super::lease::random;
use super::passing::both_ways;
use super::reach::Reach;
use crate::transcript::{Recorder, What};

/// How many connections [`Balancer::routed`] remembers.
const REMEMBERED: usize = 16 * 1024;

/// A pod that receives new connections.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The pod's name.
    pub(crate) pod: String,
    /// Where it is.
    pub(crate) reach: Reach,
    /// The port at which its server listens.
    pub(crate) port: u16,
}

/// What the balancer goes by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    /// The ready endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
    /// `ClientIP` with its timeout; `None` picks at random.
    pub(crate) affinity: Option<Duration>,
}

/// The listening side of a Service. Dropping it closes every connection.
#[derive(Debug)]
pub(crate) struct Balancer {
    addr: SocketAddr,
    service: watch::Sender<Service>,
    history: Arc<Mutex<History>>,
    recorder: Recorder,
    task: JoinHandle<()>,
}

/// What the balancer's task works with.
#[derive(Clone, Debug, Default)]
struct Service {
    routes: Routes,
    /// There while there are endpoints.
    listener: Option<Arc<TcpListener>>,
}

/// Which connection got which replica, the latest last.
#[derive(Debug, Default)]
struct History {
    replicas: HashMap<SocketAddr, String>,
    order: VecDeque<SocketAddr>,
}

/// Which client address got which endpoint, and when it last opened a connection.
#[derive(Debug, Default)]
struct Stickiness {
    clients: HashMap<IpAddr, (String, Instant)>,
}

// === impl Balancer ===

impl Balancer {
    /// Reserves the address; connections are refused until there are endpoints.
    pub(crate) fn start(addr: SocketAddr, recorder: Recorder) -> io::Result<Self> {
        // Bound and not listening: while there are no endpoints the port is given to nobody who does not insist on it.
        let reserved = TcpSocket::new_v4()?;
        reserved.set_reuseaddr(true)?;
        reserved.bind(addr)?;
        // With port 0 it is chosen here, once: it must not be another one whenever there are endpoints again.
        let addr = reserved.local_addr()?;
        let (service, changed) = watch::channel(Service::default());
        let history = Arc::default();
        let task = tokio::spawn(serve(reserved, changed, recorder.clone(), Arc::clone(&history)));
        Ok(Self { addr, service, history, recorder, task })
    }

    /// Where clients connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on, when this returns, new connections go by these.
    pub(crate) fn route(&self, routes: Routes) {
        self.service.send_modify(|service| {
            if routes.endpoints.is_empty() {
                if let Some(listener) = service.listener.take() {
                    // Closed now, and not when the task lets go of it.
                    let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
                }
            } else if service.listener.is_none() {
                match accept::listen(self.addr) {
                    Ok(listener) => service.listener = Some(Arc::new(listener)),
                    // Refused connections would be taken for the hub's.
                    Err(error) => {
                        let reason = format!("the Service cannot listen at {}: {error}", self.addr);
                        self.recorder.record(What::Broken { reason });
                    }
                }
            }
            service.routes = routes;
        });
    }

    /// A handle that answers which replica a connection got.
    pub(crate) fn routed(&self, from: SocketAddr) -> Option<String> {
        lock(&self.history).replicas.get(&from).cloned()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl History ===

impl History {
    fn remember(&mut self, from: SocketAddr, replica: String) {
        if self.replicas.insert(from, replica).is_none() {
            self.order.push_back(from);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.replicas.remove(&oldest);
        }
    }
}

// === impl Stickiness ===

impl Stickiness {
    /// Picks an endpoint for a new connection.
    fn pick<'a>(&mut self, routes: &'a Routes, client: IpAddr, now: Instant) -> Option<&'a Endpoint> {
        let any = || routes.endpoints.get(random() as usize % routes.endpoints.len().max(1));
        let Some(timeout) = routes.affinity else { return any() };
        let known = self.clients.get(&client).filter(|(_, last)| now.duration_since(*last) < timeout);
        let known = known.and_then(|(pod, _)| routes.endpoints.iter().find(|endpoint| endpoint.pod == *pod));
        let picked = known.or_else(any)?;
        self.clients.insert(client, (picked.pod.clone(), now));
        Some(picked)
    }

    /// Forgets what led to endpoints that are gone, and everything when there is no affinity.
    fn forget_gone(&mut self, routes: &Routes) {
        if routes.affinity.is_none() {
            self.clients.clear();
        }
        self.clients.retain(|_, (pod, _)| routes.endpoints.iter().any(|endpoint| endpoint.pod == *pod));
    }
}

// === the balancer's task ===

async fn serve(
    _reserved: TcpSocket,
    mut changed: watch::Receiver<Service>,
    recorder: Recorder,
    history: Arc<Mutex<History>>,
) {
    let mut connections = JoinSet::new();
    let mut stickiness = Stickiness::default();
    loop {
        let Service { routes, listener } = changed.borrow_and_update().clone();
        stickiness.forget_gone(&routes);
        tokio::select! {
            biased;
            gone = changed.changed() => if gone.is_err() { return },
            Some(_) = connections.join_next() => {}
            (client, from) = accept::next_if_any(listener.as_deref()) => {
                // The freshest routes: they may have changed while the connection waited.
                let routes = changed.borrow().routes.clone();
                stickiness.forget_gone(&routes);
                let Some(endpoint) = stickiness.pick(&routes, from.ip(), Instant::now()) else {
                    reset(client);
                    continue;
                };
                lock(&history).remember(from, endpoint.pod.clone());
                recorder.record(What::Routed { from, replica: endpoint.pod.clone() });
                connections.spawn(connect_and_pass(client, from, endpoint.clone()));
            }
        }
    }
}

async fn connect_and_pass(client: TcpStream, from: SocketAddr, endpoint: Endpoint) {
    // The replica sees the client's own address, as behind a ClusterIP.
    match endpoint.reach.connect(from.ip(), endpoint.port).await {
        Ok(replica) => pass(client, replica).await,
        Err(_) => reset(client),
    }
}

/// Passes bytes both ways until both directions have ended or one broke.
async fn pass(mut client: TcpStream, mut replica: TcpStream) {
    let _ = client.set_nodelay(true);
    if !both_ways(client.split(), replica.split()).await {
        reset(client);
        reset(replica);
    }
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(pods: &[&str], affinity: Option<Duration>) -> Routes {
        let reach = Reach::new(([127, 0, 0, 1], 1).into());
        let endpoint = |pod: &&str| Endpoint { pod: (*pod).to_owned(), reach: reach.clone(), port: 1 };
        Routes { endpoints: pods.iter().map(endpoint).collect(), affinity }
    }

    #[test]
    fn an_entry_lives_from_the_last_new_connection_on() {
        let client = IpAddr::from([127, 0, 0, 9]);
        let second = Duration::from_secs(1);
        let pods: Vec<String> = (0..1000).map(|number| format!("p{number}")).collect();
        let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
        let routes = routes(&pods, Some(3 * second));
        let mut stickiness = Stickiness::default();
        let start = Instant::now();
        let mut pick = |at: Duration| stickiness.pick(&routes, client, start + at).unwrap().pod.clone();
        let first = pick(Duration::ZERO);
        assert_eq!(first, pick(2 * second));
        assert_eq!(first, pick(4 * second), "the second connection renewed it");
        let later: Vec<String> = (1..4).map(|round| pick(4 * second + round * 3 * second)).collect();
        assert!(later.iter().any(|pod| *pod != first), "an entry is over after its timeout");
    }

    #[test]
    fn an_entry_of_an_endpoint_that_left_is_dropped() {
        let client = IpAddr::from([127, 0, 0, 9]);
        let timeout = Some(Duration::from_secs(3));
        let mut stickiness = Stickiness::default();
        let now = Instant::now();
        assert_eq!(stickiness.pick(&routes(&["a"], timeout), client, now).unwrap().pod, "a");
        stickiness.forget_gone(&routes(&["b"], timeout));
        assert!(stickiness.clients.is_empty());
        assert_eq!(stickiness.pick(&routes(&["b"], timeout), client, now).unwrap().pod, "b");
        assert!(stickiness.pick(&routes(&[], timeout), client, now).is_none());
    }
}
