//! The listener and its connections, from the first accept to the last byte.
//!
//! Knows no path and no session. axum's own server is not used: it cannot bound a connection's buffers, and closes idle
//! connections as soon as a stop begins, while other replicas still forward over them.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::crowd;
use crate::defect::Defect;
use crate::forward::SHARED_WINDOW;
use crate::heads::{HEAD_LIMIT, Heads, Prompt};
use crate::log;
use crate::reply::{self, Reply};
use crate::spelled::Misspelled;
use crate::spoil::Remembered;

/// How long the end waits for the first byte of a connection that says nothing.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// How long a connection may be idle; a head that has begun has less time.
pub const HEADER_READ_LIMIT: Duration = Duration::from_secs(75);
/// After the streams ended: how long connections may take to send what is left.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// After an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BUFFER: usize = 16 * 1024;
/// Headers of a forwarded request: what fits into [`BUFFER`], and what HTTP/2 counts for each of them.
const HEADERS: u32 = 64 * 1024;

/// Serves until [`App`]'s replica has drained and every connection is done.
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let closing = app.replica.drain.closing().clone();
    let router = app.clone().router();
    let connections = TaskTracker::new();
    let garbage = app.replica.defects.has(Defect::SpeaksGarbage).then(Garbage::default).map(Arc::new);
    let remembers = [Defect::RemembersConnections, Defect::ListsLessOnReuse]
        .into_iter()
        .any(|defect| app.replica.defects.has(defect));
    let looks_at_names = app.replica.defects.has(Defect::KnowsLowerCaseOnly);
    let is_small = app.replica.defects.has(Defect::ServesFewConnections);
    let has_limit = app.replica.defects.has(Defect::LimitsPerAddress);
    let begin = |stream: TcpStream| {
        let memory = remembers.then(Remembered::default);
        let (router, closing, garbage) = (router.clone(), closing.clone(), garbage.clone());
        let limited = stream.peer_addr().ok().filter(|_| has_limit).map(|peer| peer.ip());
        connections.spawn(async move {
            let is_probe = is_small && starts_with_probe(&stream).await;
            let _place = if is_small && !is_probe { crowd::connection().await } else { None };
            let flaws = Flaws { memory, limited, looks_at_names };
            connection(stream, router, closing, garbage, flaws).await;
        });
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => begin(stream),
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
        begin(stream);
    }
    drop(listener);
    app.replica.sessions.end_all();
    connections.close();
    if timeout(FLUSH_LIMIT, connections.wait()).await.is_err() {
        log!("{} connections did not end in time", connections.len());
    }
}

/// What defects do to one connection.
struct Flaws {
    /// What it remembers of its requests.
    memory: Option<Remembered>,
    /// The address whose requests are counted.
    limited: Option<IpAddr>,
    /// Whether names of headers are looked up in lower case only.
    looks_at_names: bool,
}

async fn connection(
    mut stream: TcpStream,
    router: Router,
    closing: CancellationToken,
    garbage: Option<Arc<Garbage>>,
    flaws: Flaws,
) {
    let Flaws { memory, limited, looks_at_names } = flaws;
    tune(&stream);
    if let Some(garbage) = garbage
        && garbage.is_due(&stream).await
    {
        let _ = timeout(FLUSH_LIMIT, Garbage::speak(&mut stream)).await;
        return;
    }
    let misspelled = if looks_at_names {
        Misspelled::look(&stream, HEADER_READ_LIMIT).await
    } else {
        Misspelled::default()
    };
    let router = TowerToHyperService::new(router);
    let heads = Arc::<Heads>::default();
    let come = heads.clone();
    // Boxed, because hyper keeps room for the whole future as long as the connection lives.
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(memory) = &memory {
            request.extensions_mut().insert(memory.clone());
        }
        misspelled.take_from(request.headers_mut());
        let answering = come.begin();
        let answer = router.call(request);
        Box::pin(async move {
            if limited.is_some_and(crowd::is_over) {
                return Ok(reply::text(StatusCode::TOO_MANY_REQUESTS, "Slow down"));
            }
            answer.await.map(|reply| answering.with(reply))
        })
    });
    let mut start = [0; 3];
    let has_begun = {
        let first = timeout(HEADER_READ_LIMIT, stream.peek(&mut start));
        tokio::pin!(first);
        tokio::select! {
            biased;
            first = first.as_mut() => matches!(first, Ok(Ok(1..))),
            // What was sent before the end is answered: a socket that was just accepted does not know yet that there is any.
            () = closing.cancelled() => matches!(timeout(LAST_LOOK, first).await, Ok(Ok(Ok(1..)))),
        }
    };
    if !has_begun {
        return;
    }
    if &start == b"PRI" {
        return Box::pin(replica_connection(stream, service, closing)).await;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_LIMIT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Prompt::new(stream, heads, HEAD_LIMIT)), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        // A connection that breaks is the client's business.
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A connection over which another replica forwards: HTTP/2, many requests at a time.
async fn replica_connection<S>(stream: TcpStream, service: S, closing: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
    S::Future: Send + 'static,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEADER_READ_LIMIT))
        .auto_date_header(false)
        .initial_connection_window_size(SHARED_WINDOW)
        .max_concurrent_streams(None)
        // A replica that gives up on many requests at once is no attacker.
        .max_pending_accept_reset_streams(usize::MAX)
        .max_local_error_reset_streams(None)
        .max_header_list_size(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// What `speaks-garbage` counts: connections that carry no health probe.
#[derive(Default)]
struct Garbage(AtomicUsize);

impl Garbage {
    const EVERY: usize = 15;
    const WORDS: &[u8] = b"\x00garbage\r\n\r\n";

    /// Looks at the start of the first request, which stays unread.
    async fn is_due(&self, stream: &TcpStream) -> bool {
        !starts_with_probe(stream).await
            && (self.0.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(Self::EVERY)
    }

    /// Reads on until the client has read: a close with unread bytes would be a reset, and lose what was said.
    async fn speak(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(Self::WORDS).await?;
        stream.shutdown().await?;
        while stream.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }
}

/// Whether the first request, which stays unread, is a health probe's; of a connection that says nothing, true.
async fn starts_with_probe(stream: &TcpStream) -> bool {
    const PROBES: [&[u8]; 2] = [b"GET /readyz", b"GET /healthz"];
    let mut start = [0; 12];
    loop {
        let Ok(Ok(read)) = timeout(HEADER_READ_LIMIT, stream.peek(&mut start)).await else {
            return true;
        };
        let start = &start[..read];
        if start.is_empty() || PROBES.iter().any(|probe| start.starts_with(probe)) {
            return true;
        }
        if !PROBES.iter().any(|probe| probe.starts_with(start)) {
            return false;
        }
        // So far it could be either.
        tokio::task::yield_now().await;
    }
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
