//! One replica aimed at: a local listener whose connections go through a port-forward of the API server.
//!
//! This passes kube-proxy by. What the replica refuses is seen as a reset: the listener here has taken the connection
//! by then.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The listener of one replica. Dropping it closes every connection.
pub(super) struct Forward {
    addr: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

// === impl Forward ===

impl Forward {
    pub(super) fn open(pods: Api<Pod>, pod: String, port: u16) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, pods, pod, port));
        Ok(Self { addr, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn serve(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(pass(client, pods.clone(), pod.clone(), port));
                }
                Err(error) => tracing::debug!("accepting for {pod}: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut client: TcpStream, pods: Api<Pod>, pod: String, port: u16) {
    let _ = client.set_nodelay(true);
    let mut forwarded = match pods.portforward(&pod, &[port]).await {
        Ok(forwarded) => forwarded,
        Err(error) => {
            tracing::debug!("forwarding to {pod}: {error}");
            let _ = client.set_zero_linger();
            return;
        }
    };
    let (Some(mut replica), Some(refused)) = (forwarded.take_stream(port), forwarded.take_error(port)) else {
        return;
    };
    let copied = tokio::select! {
        copied = copy_bidirectional(&mut client, &mut replica) => copied.is_ok(),
        // The kubelet tells on a channel of its own that the replica refused.
        Some(why) = refused => {
            tracing::debug!("forwarding to {pod}: {why}");
            false
        }
    };
    if !copied {
        let _ = client.set_zero_linger();
    }
}
