//! Carries a request to the replica that owns its session, and streams the answer back.
//!
//! At most once: a request that may have been written is never sent again, and one that arrives forwarded is never forwarded.
//! Connections are kept per owner, because a new one for each call halves the throughput.
//! Knows no JSON-RPC: what it carries is bytes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
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
/// Well below the time after which an owner closes an idle connection (`serve::HEADER_READ_LIMIT`): we close first.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// A connection whose last answer was just read is ready again within this time, or not used.
const READY_LIMIT: Duration = Duration::from_millis(5);
const IDLE_PER_OWNER: usize = 256;

type Outgoing = Request<Full<Bytes>>;
type Sender = SendRequest<Full<Bytes>>;
type Idle = Mutex<HashMap<SocketAddr, Vec<(Sender, Instant)>>>;

/// Kept connections to other replicas.
#[derive(Default)]
pub struct Forwarder(Arc<Idle>);

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
        let body = match body::read(body, replica.limits.body).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let Some(outgoing) = outgoing(replica, id, &owner, parts, body) else {
            return reply::no_session();
        };
        let defects = replica.defects;
        match self.send(owner.address, outgoing, defects).await {
            Ok((response, sender)) => {
                let (mut parts, incoming) = response.into_parts();
                parts.version = Version::HTTP_11;
                end_to_end(&mut parts.headers);
                let back = Back {
                    incoming,
                    has_ended: false,
                    is_dead: false,
                    connection: Some((sender, owner.address, self.0.clone())),
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

    async fn send(
        &self,
        to: SocketAddr,
        mut request: Outgoing,
        defects: Defects,
    ) -> Result<(Response<Incoming>, Sender), Failure> {
        let deadline = Instant::now() + HEADERS_LIMIT;
        loop {
            let (mut sender, is_reused) = match self.kept(to).await {
                Some(sender) => (sender, true),
                None => (connect(to).await?, false),
            };
            let response = sender.try_send_request(request);
            let result = if defects.has(Defect::WaitsForStoppedOwner) {
                response.await
            } else {
                timeout_at(deadline, response).await.map_err(|_| Failure::Silent)?
            };
            match result {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written: the owner closed this connection while it was idle.
                    Some(unsent) if is_reused => request = unsent,
                    // It may have been executed. If nobody is there any more, then the session is gone, and 404 says the truth.
                    _ => return Err(connect(to).await.err().unwrap_or(Failure::Lost)),
                },
            }
        }
    }

    /// A kept connection that is ready for a request.
    async fn kept(&self, to: SocketAddr) -> Option<Sender> {
        loop {
            let (mut sender, since) = lock(&self.0).get_mut(&to)?.pop()?;
            if since.elapsed() < IDLE_LIMIT
                && !sender.is_closed()
                && timeout(READY_LIMIT, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
            {
                return Some(sender);
            }
        }
    }

    /// Closes connections that were idle for too long, until the process ends.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(IDLE_LIMIT / 2);
        loop {
            tick.tick().await;
            lock(&self.0).retain(|_, kept| {
                kept.retain(|(sender, since)| since.elapsed() < IDLE_LIMIT && !sender.is_closed());
                !kept.is_empty()
            });
        }
    }
}

async fn connect(to: SocketAddr) -> Result<Sender, Failure> {
    let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(to)).await {
        Err(_) => return Err(Failure::Gone),
        Ok(Err(error)) => {
            return Err(match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::TimedOut => Failure::Gone,
                _ => Failure::Local(error),
            });
        }
        Ok(Ok(stream)) => stream,
    };
    serve::tune(&stream);
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::Local(io::Error::other(error)))?;
    tokio::spawn(connection);
    Ok(sender)
}

fn outgoing(replica: &Replica, id: &str, owner: &Owner, parts: Parts, body: Bytes) -> Option<Outgoing> {
    let Ids::Forward { keyring, .. } = &replica.ids else {
        return None;
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri.path_and_query()?.clone().into();
    *request.headers_mut() = parts.headers;
    let headers = request.headers_mut();
    end_to_end(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
    headers.insert(HOST, HeaderValue::try_from(owner.address.to_string()).ok()?);
    headers.insert(MARK, HeaderValue::try_from(keyring.mark(id, owner)).ok()?);
    Some(request)
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

/// The owner's answer on its way back; afterwards its connection is kept.
struct Back {
    incoming: Incoming,
    has_ended: bool,
    is_dead: bool,
    connection: Option<(Sender, SocketAddr, Arc<Idle>)>,
    keeps_dead: bool,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for Back {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if this.is_dead {
            return Poll::Pending;
        }
        let frame = Pin::new(&mut this.incoming).poll_frame(cx);
        this.has_ended = matches!(frame, Poll::Ready(None));
        this.is_dead = this.keeps_dead && matches!(frame, Poll::Ready(Some(Err(_))));
        match frame {
            Poll::Pending if this.closing.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            _ if this.is_dead => Poll::Pending,
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        // A body that was not read to its end leaves a connection that cannot be used again.
        let was_read = self.has_ended || self.incoming.is_end_stream();
        let Some((sender, owner, idle)) = self.connection.take().filter(|_| was_read) else { return };
        let mut idle = lock(&idle);
        let kept = idle.entry(owner).or_default();
        if kept.len() < IDLE_PER_OWNER && !sender.is_closed() {
            kept.push((sender, Instant::now()));
        }
    }
}
