//! Carries a request to the replica that owns its session, and streams the answer back.
//!
//! At most once: a request that may have been written is never sent again, and one that arrives forwarded is never forwarded.
//! All requests to one owner share a connection (HTTP/2 with prior knowledge), so that many of them cost one system call. Each
//! has its own window, so an answer that nobody reads holds up no other one.
//! Knows no JSON-RPC: what it carries is bytes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Frame;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::body::{self, Counted};
use crate::defect::{Defect, Defects};
use crate::replica::{Ids, Replica};
use crate::reply::{self, Reply};
use crate::session_id::Owner;
use crate::{lock, log, serve};

/// What marks a forwarded request. Its value is made with the session key, so a client cannot set it.
pub const MARK: &str = "hubcheck-forwarded";
/// A replica that takes longer to accept is taken for gone.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A replica that takes longer for its response headers may be stopped, and may live: the client is told so.
const HEADERS_LIMIT: Duration = Duration::from_secs(2);
/// How long [`Defect::WaitsInLine`] waits for an owner: longer than any client.
const IN_LINE: Duration = Duration::from_secs(10);
/// How long a connection is kept that carries nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// What a client that reads slowly leaves in our memory at most; the owner's call waits for it.
const WINDOW: u32 = 64 * 1024;
/// All streams of a connection together: never less than each of them may have.
pub(crate) const SHARED_WINDOW: u32 = (1 << 31) - 1;

/// The connections to other replicas, one for each.
#[derive(Default)]
pub struct Forwarder {
    lines: Mutex<HashMap<SocketAddr, Line>>,
    opened: AtomicU64,
    /// What [`Defect::WaitsInLine`] waits for.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A connection to another replica.
#[derive(Clone)]
struct Line {
    number: u64,
    sender: SendRequest<Bytes>,
    authority: Authority,
    used: Instant,
}

/// A request as it leaves.
struct Outgoing {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// Why no response came.
enum Failure {
    /// Nobody is there: the session is gone.
    Gone,
    /// Somebody is there and did not answer in time.
    Silent,
    /// The connection ended after the request was written; it may have been executed.
    Lost,
    /// It could not be tried.
    Local(io::Error),
}

impl Forwarder {
    /// Carries `request`, which belongs to session `id`, to its owner.
    pub async fn forward(&self, replica: &Replica, id: &str, owner: Owner, request: Request<Body>) -> Reply {
        // A replica that stops waits for what it forwards, too; only a stream that a GET opened has no end to wait for.
        let call = (request.method() != Method::GET).then(|| replica.drain.call());
        let (parts, body) = request.into_parts();
        // The body is read whole first, so that a slow client does not use up the owner's time.
        let body = match body::read(body, &replica.limits).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        // Nobody would read the answer.
        if replica.drain.is_closing() {
            return reply::busy(reply::STOPPING);
        }
        let Some(outgoing) = outgoing(replica, id, &owner, parts, body) else {
            return reply::no_session();
        };
        let defects = replica.defects;
        match self.send(owner.address, outgoing, defects).await {
            Ok(response) => {
                let (mut parts, incoming) = response.into_parts();
                parts.version = Version::HTTP_11;
                end_to_end(&mut parts.headers);
                let back = Back {
                    incoming,
                    is_dead: false,
                    keeps_dead: defects.has(Defect::KeepsDeadStreams),
                    closing: Box::pin(replica.drain.closing().clone().cancelled_owned()),
                };
                let is_call = call.is_some();
                let body = Counted::new(Body::new(back), call, None);
                let body = if is_call { body.settle().await } else { body };
                Response::from_parts(parts, Body::new(body))
            }
            Err(Failure::Gone | Failure::Lost) if defects.has(Defect::KeepsDeadStreams) => {
                reply::never().await
            }
            Err(Failure::Gone) => reply::no_session(),
            Err(Failure::Silent) => reply::text(StatusCode::GATEWAY_TIMEOUT, reply::OWNER_SILENT),
            Err(Failure::Lost) => reply::text(StatusCode::BAD_GATEWAY, reply::OWNER_LOST),
            Err(Failure::Local(error)) => {
                log!("cannot forward to {}: {error}", owner.address);
                reply::busy("This replica cannot reach the session's owner now")
            }
        }
    }

    /// Waits until no request is on its way to another replica.
    pub async fn turn(&self) {
        drop(self.turn.lock().await);
    }

    async fn send(
        &self,
        to: SocketAddr,
        request: Outgoing,
        defects: Defects,
    ) -> Result<Response<RecvStream>, Failure> {
        let deadline = Instant::now() + HEADERS_LIMIT;
        let (number, response) = self.written(to, request).await?;
        let response = if defects.has(Defect::WaitsForStoppedOwner) {
            response.await
        } else if defects.has(Defect::WaitsInLine) {
            let turn = self.turn.clone().lock_owned().await;
            // Whoever asked may have given up before that.
            let waiting = tokio::spawn(async move {
                let _turn = turn;
                timeout(IN_LINE, response).await
            });
            waiting.await.ok().and_then(Result::ok).ok_or(Failure::Silent)?
        } else {
            timeout_at(deadline, response).await.map_err(|_| {
                // It may be stopped, and its machine may be gone: the next call finds out with a connection of its own.
                self.forget(to, number);
                Failure::Silent
            })?
        };
        match response {
            Ok(response) => Ok(response),
            // It may have been executed. If nobody is there any more, then the session is gone, and 404 says the truth.
            Err(_) => Err(connect(to).await.err().unwrap_or(Failure::Lost)),
        }
    }

    /// Writes `request` to a kept connection, or to a new one.
    async fn written(&self, to: SocketAddr, request: Outgoing) -> Result<(u64, ResponseFuture), Failure> {
        let kept = {
            let mut lines = lock(&self.lines);
            lines.get_mut(&to).map(|line| {
                line.used = Instant::now();
                line.clone()
            })
        };
        let mut line = match kept {
            Some(line) => match line.ready().await {
                Ok(line) => line,
                // The owner closed it while it was idle.
                Err(number) => {
                    self.forget(to, number);
                    self.open(to).await?
                }
            },
            None => self.open(to).await?,
        };
        let failed = |error: h2::Error| Failure::Local(io::Error::other(error));
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(line.authority.clone());
        uri.path_and_query = Some(request.path);
        let mut head = Request::new(());
        *head.method_mut() = request.method;
        *head.uri_mut() = Uri::from_parts(uri).map_err(|error| Failure::Local(io::Error::other(error)))?;
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = request.headers;
        let (response, mut body) = line.sender.send_request(head, request.body.is_empty()).map_err(failed)?;
        if !request.body.is_empty() {
            body.send_data(request.body, true).map_err(failed)?;
        }
        Ok((line.number, response))
    }

    /// A new connection, kept for the calls after this one.
    async fn open(&self, to: SocketAddr) -> Result<Line, Failure> {
        let stream = connect(to).await?;
        let failed = |error: h2::Error| Failure::Local(io::Error::other(error));
        let authority = Authority::try_from(to.to_string())
            .map_err(|error| Failure::Local(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(SHARED_WINDOW)
            .initial_max_send_streams(usize::MAX)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(failed)?;
        tokio::spawn(connection);
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let line = Line { number, sender, authority, used: Instant::now() };
        // Of several that were opened at the same time the last one stays; each of the others ends with its call.
        lock(&self.lines).insert(to, line.clone());
        Ok(line)
    }

    fn forget(&self, to: SocketAddr, number: u64) {
        let mut lines = lock(&self.lines);
        if lines.get(&to).is_some_and(|line| line.number == number) {
            lines.remove(&to);
        }
    }

    /// Closes connections that were idle for too long, until the process ends; what still runs on one goes on.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(IDLE_LIMIT / 2);
        loop {
            tick.tick().await;
            lock(&self.lines).retain(|_, line| line.used.elapsed() < IDLE_LIMIT);
        }
    }
}

impl Line {
    /// Itself, when it still takes requests, or its number.
    async fn ready(mut self) -> Result<Self, u64> {
        match self.sender.ready().await {
            Ok(sender) => {
                self.sender = sender;
                Ok(self)
            }
            Err(_) => Err(self.number),
        }
    }
}

async fn connect(to: SocketAddr) -> Result<TcpStream, Failure> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(to)).await {
        Err(_) => Err(Failure::Gone),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut => Failure::Gone,
            _ => Failure::Local(error),
        }),
        Ok(Ok(stream)) => {
            serve::tune(&stream);
            Ok(stream)
        }
    }
}

fn outgoing(replica: &Replica, id: &str, owner: &Owner, parts: Parts, body: Bytes) -> Option<Outgoing> {
    let Ids::Forward { keyring, .. } = &replica.ids else {
        return None;
    };
    let path = parts.uri.path_and_query()?.clone();
    let mut headers = parts.headers;
    end_to_end(&mut headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        headers.remove(name);
    }
    let mut mark = HeaderValue::try_from(keyring.mark(id, owner)).ok()?;
    // Each is another one: not worth a place in the compression table.
    mark.set_sensitive(true);
    headers.insert(MARK, mark);
    Some(Outgoing { method: parts.method, path, headers, body })
}

/// Removes what concerns one connection only.
fn end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, TRAILER] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The owner's answer on its way back. Dropping it before its end tells the owner that nobody reads on.
struct Back {
    incoming: RecvStream,
    is_dead: bool,
    keeps_dead: bool,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Back {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if this.is_dead {
            return Poll::Pending;
        }
        match this.incoming.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                // The next piece may come: whoever asked for this one has room for it.
                let _ = this.incoming.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(error))) => {
                this.is_dead = this.keeps_dead;
                if this.is_dead { Poll::Pending } else { Poll::Ready(Some(Err(error))) }
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.closing.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
