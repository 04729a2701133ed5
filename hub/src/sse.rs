//! The HTTP+SSE transport of 2024-11-05: a GET opens the session's one stream, POSTs carry the client's messages.
//!
//! The session lives exactly as long as its stream. Knows no tools, and rmcp only as what serves a session.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Frame as BodyFrame;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest};
use rmcp::service::{RunningService, serve_directly_with_ct};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::app::App;
use crate::body;
use crate::children;
use crate::defect::Defect;
use crate::drain::Call;
use crate::forward::MARK;
use crate::handler::Handler;
use crate::replica::{Place, Replica};
use crate::reply::{self, Reply};
use crate::session::{CHANNEL, Frame, Out, Pending, Refused, Session, Tamper, Use};
use crate::session_id::is_plausible;
use crate::sessions::Sessions;

/// How often an idle stream carries a comment, so that proxies and dead clients are noticed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Where messages go. Root-relative: the client resolves it against the URL of its GET.
pub const MESSAGES: &str = "/messages";

/// `GET /sse`: a new session and its stream.
pub async fn open(app: Arc<App>, request: Request<Body>) -> Reply {
    if request.method() == Method::HEAD {
        // A health check must not begin a session.
        return stream_reply(Body::empty());
    }
    let replica = &app.replica;
    if replica.has_one_too_many() {
        return reply::json_error(StatusCode::BAD_REQUEST, -32600, reply::ALREADY_INITIALIZED);
    }
    if let Err(why) = replica.admit() {
        return reply::busy(why);
    }
    let defects = replica.defects;
    let tamper = if defects.has(Defect::MisnamesEvents) {
        Some(Tamper::Misnamed)
    } else if defects.has(Defect::AnswersTwice) {
        Some(Tamper::Twice)
    } else if defects.has(Defect::CrossesStreams) {
        Some(Tamper::Elsewhere(replica.sessions.clone()))
    } else if defects.has(Defect::RenumbersAnswers) {
        Some(Tamper::Renumbered)
    } else if defects.has(Defect::ManglesStringIds) {
        Some(Tamper::Mangled)
    } else {
        None
    };
    let (outgoing, frames) = mpsc::channel(CHANNEL);
    let (session, pipe) = Session::new(replica.mint(), Out::Stream(outgoing), replica.limits.queue, tamper);
    replica.sessions.insert(session.clone());
    children::accompany(defects, &session);
    let service = serve_directly_with_ct(app.handler.for_session(), pipe, None, session.ended().clone());
    let origin = if defects.has(Defect::EndpointElsewhere) { "http://elsewhere.example" } else { "" };
    let before = if defects.has(Defect::EndpointSecond) { "event: message\ndata: \"hello\"\n\n" } else { "" };
    let endpoint =
        format!("{before}event: endpoint\ndata: {origin}{MESSAGES}?session_id={}\n\n", session.id());
    stream_reply(Body::new(Stream {
        first: Some(endpoint.into()),
        frames,
        written: None,
        keep_alive: Box::pin(sleep_until(Instant::now() + KEEP_ALIVE)),
        ended: Box::pin(session.ended().clone().cancelled_owned()),
        has_ended: false,
        _use: session.hold(),
        session,
        sessions: replica.sessions.clone(),
        _service: service,
    }))
}

/// `POST /messages?session_id=..`: one message of the client, here or at the session's owner.
pub async fn post(app: Arc<App>, request: Request<Body>) -> Reply {
    let Some(id) = session_id(request.uri()) else {
        return reply::text(StatusCode::BAD_REQUEST, "Missing session ID");
    };
    if !is_plausible(&id) {
        return reply::text(StatusCode::BAD_REQUEST, "Invalid session ID");
    }
    let defects = app.replica.defects;
    let mark = request.headers().get(MARK).and_then(|mark| mark.to_str().ok());
    let place = app.replica.locate(&id, mark);
    let is_stray = !matches!(place, Place::Here(_));
    if is_stray && defects.has(Defect::SwallowsStrays) {
        return accepted();
    }
    if is_stray && defects.has(Defect::HangsOnStrays) {
        return reply::never().await;
    }
    match place {
        Place::Here(session) => take(&app, &session, request).await,
        Place::Elsewhere(owner) => app.forwarder.forward(&app.replica, &id, owner, request).await,
        Place::Nowhere(_) if defects.has(Defect::AcceptsUnknown) => accepted(),
        Place::Nowhere(answer) => answer,
    }
}

/// The id that the URI of a message names.
pub(crate) fn session_id(uri: &Uri) -> Option<String> {
    let id = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("session_id="))?;
    (!id.is_empty()).then(|| id.to_owned())
}

async fn take(app: &App, session: &Arc<Session>, request: Request<Body>) -> Reply {
    let replica = &app.replica;
    let (which, _use) = session.begin();
    if replica.defects.has(Defect::LosesSessions) && which % 2 == 0 {
        return reply::no_session();
    }
    // The call counts from here, so that a stop which begins while its body arrives still waits for it.
    let call = replica.drain.call();
    if !is_json(&request) {
        return reply::text(StatusCode::BAD_REQUEST, "Content-Type must be application/json");
    }
    let body = match body::read(request.into_body(), &replica.limits).await {
        Ok(body) => body,
        Err(answer) => {
            if replica.defects.has(Defect::BigBodyEndsSession) {
                session.end();
            }
            return answer;
        }
    };
    if replica.drain.is_closing() {
        return reply::busy(reply::STOPPING);
    }
    let message = match serde_json::from_slice::<ClientJsonRpcMessage>(&body) {
        Ok(message) => message,
        Err(_) if replica.defects.has(Defect::AcceptsGarbage) => return accepted(),
        Err(_) if replica.defects.has(Defect::FailsOnGarbage) => {
            return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
        Err(error) => {
            if replica.defects.has(Defect::GarbageEndsSession) {
                session.end();
            }
            return reply::text(StatusCode::BAD_REQUEST, format!("Could not parse message: {error}"));
        }
    };
    if is_dropped(replica, which, &message) {
        return accepted();
    }
    // The first is `initialize`.
    if replica.defects.has(Defect::DemandsInitialized)
        && which == 2
        && matches!(&message, ClientJsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::PingRequest(_)))
    {
        return reply::text(StatusCode::BAD_REQUEST, "Not initialized");
    }
    if replica.defects.has(Defect::EarlyListEndsSession)
        && which <= 2
        && matches!(&message, ClientJsonRpcMessage::Request(request) if matches!(request.request, ClientRequest::ListToolsRequest(_)))
    {
        session.end();
    }
    match session.take(message, Pending::counted(call)).await {
        Ok(()) => accepted(),
        Err(Refused::Full) => reply::busy(reply::TOO_MANY_MESSAGES),
        Err(Refused::Repeated) => reply::text(StatusCode::BAD_REQUEST, reply::REPEATED_ID),
        Err(Refused::Ended) => reply::no_session(),
    }
}

/// Whether a defect drops the `which`th message of a session, over any transport.
pub(crate) fn is_unheard(replica: &Replica, which: usize) -> bool {
    (replica.defects.has(Defect::DropsInCrowd) && which == 20)
        || (replica.defects.has(Defect::MuteInThrong) && which > 1 && replica.sessions.count() > 10)
}

/// Whether a defect drops this message, the `which`th of its session.
fn is_dropped(replica: &Replica, which: usize, message: &ClientJsonRpcMessage) -> bool {
    let initializes = matches!(message, ClientJsonRpcMessage::Request(request)
        if matches!(request.request, ClientRequest::InitializeRequest(_)));
    (replica.defects.has(Defect::DropsFirstMessage) && which == 1 && !initializes)
        || is_unheard(replica, which)
}

/// Whether the body is declared as JSON, with or without parameters.
pub(crate) fn is_json(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn accepted() -> Reply {
    reply::text(StatusCode::ACCEPTED, "Accepted")
}

/// A 200 that carries an SSE stream and tells proxies to leave it alone.
pub(crate) fn stream_reply(body: Body) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// The session's stream. Dropping it, as hyper does when the client goes, ends the session.
struct Stream {
    first: Option<Bytes>,
    frames: mpsc::Receiver<Frame>,
    /// The call whose answer was handed to the connection last: it is written when the next frame is asked for.
    written: Option<Call>,
    keep_alive: Pin<Box<Sleep>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    has_ended: bool,
    /// An open stream is a use, however long nothing is said.
    _use: Use,
    session: Arc<Session>,
    sessions: Arc<Sessions>,
    _service: RunningService<RoleServer, Handler>,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        this.written = None;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(BodyFrame::data(first))));
        }
        this.has_ended = this.has_ended || this.ended.as_mut().poll(cx).is_ready();
        let frame = match this.frames.poll_recv(cx) {
            Poll::Ready(Some((frame, call))) => {
                this.written = call;
                frame
            }
            // What was answered before the end has been sent; the body ends with a proper last chunk.
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if this.has_ended => return Poll::Ready(None),
            Poll::Pending => {
                std::task::ready!(this.keep_alive.as_mut().poll(cx));
                Bytes::from_static(b": keep-alive\n\n")
            }
        };
        this.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Ok(BodyFrame::data(frame))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.sessions.end(self.session.id());
        self.session.end();
    }
}
