//! The listener and its connections, from the first accept to the last byte.
//!
//! Knows no path and no session. axum's own server is not used: it cannot bound a connection's buffers, and closes idle
//! connections as soon as a stop begins, while other replicas still forward over them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::log;

/// How long a connection may be idle, or take to send its headers.
pub const HEADER_READ_LIMIT: Duration = Duration::from_secs(75);
/// After the streams ended: how long connections may take to send what is left.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BUFFER: usize = 16 * 1024;

/// Serves until [`App`]'s replica has drained and every connection is done.
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let closing = app.replica.drain.closing().clone();
    let router = app.clone().router();
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), closing.clone()));
                }
                Err(error) => {
                    log!("cannot accept a connection: {error}");
                    let _ = timeout(ACCEPT_PAUSE, closing.cancelled()).await;
                }
            },
            () = closing.cancelled() => break,
        }
    }
    // Whoever connected before the listener closes gets an answer, not a reset.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        connections.spawn(connection(stream, router.clone(), closing.clone()));
    }
    drop(listener);
    app.replica.sessions.end_all();
    connections.close();
    if timeout(FLUSH_LIMIT, connections.wait()).await.is_err() {
        log!("{} connections did not end in time", connections.len());
    }
}

async fn connection(stream: TcpStream, router: Router, closing: CancellationToken) {
    tune(&stream);
    let router = TowerToHyperService::new(router);
    // Boxed, because hyper keeps room for the whole future as long as the connection lives.
    let service = service_fn(move |request| Box::pin(router.call(request)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_LIMIT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's business.
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Small messages go out at once, and a peer that vanished is noticed.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(20))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let set = || -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&keep_alive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(Duration::from_secs(35)))?;
        Ok(())
    };
    // A socket that refuses an option still works.
    let _ = set();
}
