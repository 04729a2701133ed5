//! Streamable HTTP on `/mcp`: sessions (2025-03-26 to 2025-11-25) and requests without one (2026-07-28).
//!
//! rmcp speaks the protocol; here are its sessions, with our ids, and what must be decided before rmcp sees a request: whose
//! session it is, and whether a new one may begin. Knows no tools.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use rmcp::model::{ClientJsonRpcMessage, ProtocolVersion, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::app::App;
use crate::batch;
use crate::body::{self, Counted};
use crate::children;
use crate::defect::Defect;
use crate::forward::MARK;
use crate::handler::Handler;
use crate::replay::{Slip, Streams};
use crate::replica::{Place, Replica};
use crate::reply::{self, Reply};
use crate::session::{CHANNEL, Out, Pending, Pipe, Refused, Session, Tamper};
use crate::sse::is_unheard;
use crate::sse::{KEEP_ALIVE, is_json, stream_reply};

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const LAST_EVENT_ID: &str = "last-event-id";
/// When `cuts-idle-streams` ends a stream.
pub(crate) const CUT_AFTER: Duration = Duration::from_secs(1);

/// rmcp's service with our sessions.
pub type Service = StreamableHttpService<Handler, Table>;

/// The service of this replica.
pub fn service(replica: Arc<Replica>, handler: Arc<Handler>) -> Service {
    let config = StreamableHttpServerConfig::default()
        // Any name of the Service may be in `Host`; origins and sizes are checked for every path alike, before.
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(usize::MAX)
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        // Event ids are ours: rmcp's own first event has the same one on every stream.
        .with_sse_retry(None)
        // Only 2026-07-28 asks: an answer without progress is plain JSON (a stream again where a defect needs one).
        .with_json_response(!replica.defects.has(Defect::AnswersTwice))
        .with_cancellation_token(replica.drain.closing().clone());
    StreamableHttpService::new(move || Ok(handler.for_session()), Arc::new(Table(replica)), config)
}

tokio::task_local! {
    /// Why rmcp could not do what this request asked for. rmcp itself would call all of it an internal error.
    static REFUSAL: Cell<Option<Refusal>>;
}

#[derive(Clone, Copy)]
enum Refusal {
    Busy(&'static str),
    Repeated,
    Ended,
}

/// Any request on `/mcp`.
pub async fn handle(app: Arc<App>, request: Request<Body>) -> Reply {
    let headers = request.headers();
    // 2026-07-28 has no sessions: a stale id is ignored.
    let has_sessions = headers
        .get(VERSION)
        .and_then(|version| version.to_str().ok())
        .is_none_or(|version| version < ProtocolVersion::V_2026_07_28.as_str());
    match headers.get(SESSION).filter(|_| has_sessions).map(|id| id.to_str().unwrap_or_default().to_owned()) {
        Some(id) => in_session(app, &id, request).await,
        None if has_sessions && request.method() == Method::POST && app.replica.has_one_too_many() => {
            reply::json_error(StatusCode::BAD_REQUEST, -32600, reply::ALREADY_INITIALIZED)
        }
        None => serve(&app, request, None).await,
    }
}

async fn in_session(app: Arc<App>, id: &str, request: Request<Body>) -> Reply {
    let defects = app.replica.defects;
    let is_post = request.method() == Method::POST;
    let mark = request.headers().get(MARK).and_then(|mark| mark.to_str().ok());
    let place = app.replica.locate(id, mark);
    let is_stray = !matches!(place, Place::Here(_));
    if is_stray && is_post && defects.has(Defect::SwallowsStrays) {
        return stream_reply(Body::new(Silence));
    }
    if is_stray && defects.has(Defect::HangsOnStrays) {
        return reply::never().await;
    }
    match place {
        Place::Here(session) => serve(&app, request, Some(session)).await,
        Place::Elsewhere(_)
            if request.method() == Method::DELETE && defects.has(Defect::RefusesStrayDeletes) =>
        {
            reply::no_session()
        }
        Place::Elsewhere(owner) => app.forwarder.forward(&app.replica, id, owner, request).await,
        Place::Nowhere(_) if is_post && defects.has(Defect::AcceptsUnknown) => {
            reply::text(StatusCode::ACCEPTED, "Accepted")
        }
        Place::Nowhere(answer) => answer,
    }
}

/// Lets rmcp answer, here.
async fn serve(app: &App, request: Request<Body>, session: Option<Arc<Session>>) -> Reply {
    let replica = &app.replica;
    let method = request.method().clone();
    let call = (method == Method::POST).then(|| replica.drain.call());
    let in_use = session.as_ref().map(Session::begin);
    if replica.defects.has(Defect::LosesSessions) && in_use.as_ref().is_some_and(|(which, _)| which % 2 == 0)
    {
        return reply::no_session();
    }
    let resumes = request.headers().contains_key(LAST_EVENT_ID);
    if method == Method::POST && in_use.as_ref().is_some_and(|(which, _)| is_unheard(replica, *which)) {
        return stream_reply(Body::empty());
    }
    if method == Method::GET && !resumes && session.as_ref().is_some_and(has_open_stream) {
        return reply::text(StatusCode::CONFLICT, "This session already has a stream");
    }
    let says_json = is_json(&request);
    let (mut parts, body) = request.into_parts();
    let body = match body::read(body, &replica.limits).await {
        Ok(body) => body,
        Err(answer) => {
            if let Some(session) = session.filter(|_| replica.defects.has(Defect::BigBodyEndsSession)) {
                session.end();
            }
            return answer;
        }
    };
    if replica.defects.has(Defect::DemandsInitialized)
        && in_use.as_ref().is_some_and(|(which, _)| *which == 1)
        && contains(&body, b"\"ping\"")
    {
        return reply::text(StatusCode::BAD_REQUEST, "Not initialized");
    }
    if replica.drain.is_closing() {
        return reply::busy(reply::STOPPING);
    }
    prepare(&mut parts.headers);
    let twice = replica.defects.has(Defect::AnswersTwice) && contains(&body, b"tools/call");
    let messages = session.as_ref().and_then(|_| batch::messages(&parts.headers, &body));
    let (response, refusal) = REFUSAL
        .scope(Cell::new(None), async {
            let response = if let Some(messages) = messages {
                let mut answers = Vec::with_capacity(messages.len());
                for message in messages {
                    let request = Request::from_parts(parts.clone(), Full::new(message));
                    answers.push(app.mcp.handle(request).await);
                }
                batch::joined(answers)
            } else {
                app.mcp.handle(Request::from_parts(parts, Full::new(body.clone()))).await.map(Body::new)
            };
            (response, REFUSAL.with(Cell::get))
        })
        .await;
    match refusal {
        Some(Refusal::Busy(why)) => return reply::busy(why),
        Some(Refusal::Repeated) => {
            return reply::json_error(StatusCode::BAD_REQUEST, -32600, reply::REPEATED_ID);
        }
        Some(Refusal::Ended) => return reply::no_session(),
        None => {}
    }
    let (mut parts, inner) = response.into_parts();
    match parts.status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE if says_json => return unreadable(&body),
        StatusCode::ACCEPTED if method == Method::DELETE => parts.status = StatusCode::NO_CONTENT,
        _ => {}
    }
    let inner = if twice { Body::new(Twice { inner, again: None }) } else { inner };
    let inner = if method == Method::GET && replica.defects.has(Defect::CutsIdleStreams) {
        Body::new(Cut { inner, at: Box::pin(sleep_until(Instant::now() + CUT_AFTER)) })
    } else {
        inner
    };
    let counted = Counted::new(inner, call, in_use.map(|(_, in_use)| in_use));
    let counted = if method == Method::POST { counted.settle().await } else { counted };
    http::Response::from_parts(parts, Body::new(counted))
}

/// Makes the headers what rmcp expects: HTTP/1.0 clients send no `Host`, and rmcp insists on a well-formed one.
fn prepare(headers: &mut HeaderMap) {
    headers.insert(HOST, HeaderValue::from_static("hub"));
    headers.remove(MARK);
}

/// 400 for a body that is no JSON-RPC message; rmcp would say 415.
fn unreadable(body: &[u8]) -> Reply {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let (code, message) = if is_json { (-32600, "Invalid request") } else { (-32700, "Parse error") };
    reply::json_error(StatusCode::BAD_REQUEST, code, message)
}

fn has_open_stream(session: &Arc<Session>) -> bool {
    session.streams().is_some_and(Streams::is_listened_to)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The Streamable sessions of this replica, as rmcp wants them.
pub struct Table(Arc<Replica>);

/// Why rmcp gets no session; the answer is made from [`Refusal`].
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub struct NoSession;

fn refuse(why: Refusal) -> NoSession {
    // Outside a request there is nobody to tell.
    let _ = REFUSAL.try_with(|refusal| refusal.set(Some(why)));
    NoSession
}

impl Table {
    fn find(&self, id: &SessionId) -> Result<Arc<Session>, NoSession> {
        self.0.sessions.find(id).ok_or_else(|| refuse(Refusal::Ended))
    }

    /// Hands `message` to its session; what it says about the message comes out of the returned stream.
    async fn ask(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<mpsc::Receiver<ServerSseMessage>, NoSession> {
        let (reply, answers) = mpsc::channel(CHANNEL);
        self.give(id, message, Pending::answered_to(reply)).await?;
        Ok(answers)
    }

    async fn give(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
        pending: Pending,
    ) -> Result<(), NoSession> {
        self.find(id)?.take(message, pending).await.map_err(|refused| {
            refuse(match refused {
                Refused::Full => Refusal::Busy(reply::TOO_MANY_MESSAGES),
                Refused::Repeated => Refusal::Repeated,
                Refused::Ended => Refusal::Ended,
            })
        })
    }
}

impl SessionManager for Table {
    type Error = NoSession;
    type Transport = Pipe;

    async fn create_session(&self) -> Result<(SessionId, Pipe), NoSession> {
        self.0.admit().map_err(|why| refuse(Refusal::Busy(why)))?;
        let slips = [
            (Defect::ResumesLate, Slip::Late),
            (Defect::ResumesEarly, Slip::Early),
            (Defect::ResumesAllStreams, Slip::Mixed),
            (Defect::RepeatsEventIds, Slip::SameIds),
            (Defect::PrimesNothing, Slip::Unprimed),
            (Defect::ProgressAside, Slip::Aside),
        ];
        let slip = slips.into_iter().find_map(|(defect, slip)| self.0.defects.has(defect).then_some(slip));
        let out = Out::Routes(Streams::new(slip));
        let tampers = [
            (Defect::RenumbersAnswers, Tamper::Renumbered),
            (Defect::ManglesStringIds, Tamper::Mangled),
            (Defect::BroadcastsAnswers, Tamper::Broadcast),
        ];
        let tamper =
            tampers.into_iter().find_map(|(defect, tamper)| self.0.defects.has(defect).then_some(tamper));
        let (session, pipe) = Session::new(self.0.mint(), out, self.0.limits.queue, tamper);
        self.0.sessions.insert(session.clone());
        children::accompany(self.0.defects, &session);
        Ok((session.id().clone(), pipe))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, NoSession> {
        let mut answers = self.ask(id, message).await?;
        let answer = answers.recv().await.and_then(|answer| answer.message);
        answer.map(|message| ServerJsonRpcMessage::clone(&message)).ok_or_else(|| refuse(Refusal::Ended))
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, NoSession> {
        Ok(self.0.sessions.find(id).is_some())
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), NoSession> {
        self.0.sessions.end(id);
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        let session = self.find(id)?;
        let streams = session.streams().ok_or_else(|| refuse(Refusal::Ended))?;
        let (stream, messages) = streams.open(session.opens());
        let given = self.give(id, message, Pending::answered_on(stream)).await;
        given.inspect_err(|_| streams.close(stream))?;
        Ok(Messages(messages))
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), NoSession> {
        self.give(id, message, Pending::default()).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        let session = self.find(id)?;
        let streams = session.streams().ok_or_else(|| refuse(Refusal::Ended))?;
        Ok(Messages(streams.listen(session.opens())))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, NoSession> {
        let session = self.find(id)?;
        let streams = session.streams().ok_or_else(|| refuse(Refusal::Ended))?;
        // What is no longer known is answered with a stream that ends: a GET is answered with a stream, or with 405.
        streams.resume(&last_event_id).map(Messages).map_err(|_| NoSession)
    }
}

/// The messages of one stream, as rmcp wants them.
pub struct Messages(mpsc::Receiver<ServerSseMessage>);

impl Stream for Messages {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerSseMessage>> {
        self.0.poll_recv(cx)
    }
}

/// An SSE stream without a single event (`swallows-strays`).
struct Silence;

impl http_body::Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// An SSE stream that ends too early (`cuts-idle-streams`).
struct Cut {
    inner: Body,
    at: Pin<Box<Sleep>>,
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.at.as_mut().poll(cx).is_ready() {
            // The session is told now, so that its client can open another stream at once.
            self.inner = Body::empty();
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }
}

/// An SSE stream that carries each answer twice (`answers-twice`).
struct Twice {
    inner: Body,
    again: Option<Bytes>,
}

impl http_body::Body for Twice {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(again) = self.again.take() {
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.again = frame.data_ref().filter(|data| contains(data, b"\"result\"")).cloned();
        }
        frame
    }
}
