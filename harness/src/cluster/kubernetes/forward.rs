//! One replica aimed at: a local listener whose connections go straight to its pod, past kube-proxy.
//!
//! What the replica refuses is seen as a reset: the listener here has taken the connection by then.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::split;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::context::said;
use crate::cluster::accept;
use crate::cluster::gate::NoWay;
use crate::cluster::kind::Kind;
use crate::cluster::passing::both_ways;
use crate::transcript::Recorder;

/// The listener of one replica. Dropping it closes every connection.
pub(super) struct Forward {
    addr: SocketAddr,
    pod: watch::Sender<Option<IpAddr>>,
    _task: AbortOnDropHandle<()>,
}

/// How the pod is reached.
#[derive(Clone)]
pub(super) enum Way {
    /// At its own address, through a relay in the network of a node.
    Relay(Arc<Kind>),
    /// By its name, through the API server, which tells of closed streams and refusals when it likes.
    PortForward(Box<Api<Pod>>, String),
}

// === impl Forward ===

impl Forward {
    pub(super) fn open(way: Way, port: u16, recorder: Recorder) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        let (pod, address) = watch::channel(None);
        let task = tokio::spawn(serve(listener, way, address, port, recorder));
        Ok(Self { addr, pod, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the pod is now; nowhere once its record is gone: the address may be given to another one.
    pub(super) fn is_at(&self, ip: Option<IpAddr>) {
        self.pod.send_replace(ip);
    }
}

async fn serve(
    listener: TcpListener,
    way: Way,
    pod: watch::Receiver<Option<IpAddr>>,
    port: u16,
    recorder: Recorder,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (client, _) = accept::next(&listener) => {
                let ip = *pod.borrow();
                let (way, recorder) = (way.clone(), recorder.clone());
                connections.spawn(async move { way.pass(client, ip, port, &recorder).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

// === impl Way ===

impl Way {
    async fn pass(&self, mut client: TcpStream, ip: Option<IpAddr>, port: u16, recorder: &Recorder) {
        let _ = client.set_nodelay(true);
        let passed = match (self, ip) {
            (Way::Relay(kind), Some(ip)) => kind.aim(&mut client, SocketAddr::new(ip, port)).await,
            (Way::Relay(_), None) => Err(NoWay::Refused("no pod".to_owned())),
            (Way::PortForward(pods, pod), _) => port_forward(&mut client, pods, pod, port).await,
        };
        if let Err(why) = passed {
            tracing::debug!("passing on to {ip:?}: {why}");
            why.note(recorder);
            let _ = client.set_zero_linger();
        }
    }
}

async fn port_forward(client: &mut TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> Result<(), NoWay> {
    let forwarded = pods.portforward(pod, &[port]).await;
    let mut forwarded = forwarded.map_err(|error| {
        let why = format!("forwarding to {pod}: {}", said(&error));
        match error {
            // The cluster says so: there is no such pod, or its container does not run.
            kube::Error::Api(_) | kube::Error::UpgradeConnection(_) => NoWay::Refused(why),
            _ => NoWay::NoRelay(why),
        }
    })?;
    let (Some(mut replica), Some(refused)) = (forwarded.take_stream(port), forwarded.take_error(port)) else {
        return Ok(());
    };
    tokio::select! {
        ended_well = both_ways(client.split(), split(&mut replica)) => {
            let broke = || NoWay::Refused(format!("forwarding to {pod}: the connection broke"));
            if ended_well { Ok(()) } else { Err(broke()) }
        }
        // The kubelet tells on a channel of its own that the replica refused.
        Some(why) = refused => Err(NoWay::Refused(format!("forwarding to {pod}: {why}"))),
    }
}
