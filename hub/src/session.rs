//! One session as rmcp sees it: an inbox of client messages, and a way out for what the server says.
//!
//! The same type serves both session eras. HTTP+SSE has one stream per session; Streamable HTTP has one per request, and at most
//! one more that a GET opened. Everything is bounded: the calls in flight by `--queue`, and what a slow reader leaves unread by
//! the channels, because a call stays in flight until its answer was taken.
//! Knows no HTTP, no ids of other replicas and no tools.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ClientRequest, GetExtensions, GetMeta, ProgressToken, ProtocolVersion, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerResult,
};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::drain::Call;
use crate::lock;
use crate::replay::{Opens, Place, Streams};
use crate::sessions::Sessions;

/// How long a message waits for a place in the inbox. Well below the time another replica waits for our answer.
const INBOX_WAIT: Duration = Duration::from_millis(500);
/// How long an answer that a defect sends elsewhere is held back.
const CROSSING: Duration = Duration::from_millis(100);
/// Messages that wait in the inbox or for a reader. Small: the calls in flight are what `--queue` bounds.
pub(crate) const CHANNEL: usize = 16;

/// One piece of an HTTP+SSE stream, with the call that it answers.
pub(crate) type Frame = (Bytes, Option<Call>);

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many calls in flight.
    Full,
    /// A call with the same id is in flight: whose an answer is could not be told.
    Repeated,
    /// The session has ended.
    Ended,
}

/// A request that was taken and not yet answered.
#[derive(Default)]
pub(crate) struct Pending {
    /// Counts as in flight until the answer was written (HTTP+SSE; Streamable counts the response body).
    call: Option<Call>,
    /// Where the answer goes (Streamable).
    route: Option<Route>,
    progress: Option<ProgressToken>,
    is_tool_call: bool,
    /// Its place among the calls that the session may have: until its answer was taken by the stream, however long nobody reads.
    slot: Option<OwnedSemaphorePermit>,
}

impl Pending {
    /// A message of an HTTP+SSE session, in flight as `call`.
    pub(crate) fn counted(call: Call) -> Self {
        Self { call: Some(call), ..Self::default() }
    }

    /// A message whose answer goes to `reply`.
    pub(crate) fn answered_to(reply: mpsc::Sender<ServerSseMessage>) -> Self {
        Self { route: Some(Route::Reply(reply)), ..Self::default() }
    }

    /// A message whose answer goes to this stream of its session.
    pub(crate) fn answered_on(stream: u32) -> Self {
        Self { route: Some(Route::Stream(stream)), ..Self::default() }
    }
}

/// Where what belongs to a request goes (Streamable).
#[derive(Clone)]
enum Route {
    /// To whoever waits for it: the answer to `initialize`.
    Reply(mpsc::Sender<ServerSseMessage>),
    /// To a stream that can be resumed.
    Stream(u32),
}

/// Where messages of the server go.
pub(crate) enum Out {
    /// HTTP+SSE: all of them to the session's one stream.
    Stream(mpsc::Sender<Frame>),
    /// Streamable HTTP: what belongs to a request to its stream, the rest to the stream that a GET opened.
    Routes(Streams),
}

/// A session of this process.
pub struct Session {
    id: Arc<str>,
    inbox: mpsc::Sender<Box<ClientJsonRpcMessage>>,
    pub(crate) out: Out,
    pending: Mutex<HashMap<RequestId, Pending>>,
    /// How many calls it may have in flight.
    slots: Arc<Semaphore>,
    ended: CancellationToken,
    begun: Instant,
    used: AtomicU64,
    open: AtomicUsize,
    requests: AtomicUsize,
    is_primed: AtomicBool,
    /// Turns a message into other ones: what defects change on their way out.
    pub(crate) tamper: Option<Tamper>,
}

/// What a defect does to an answer to a tool call; the first two only on an HTTP+SSE stream.
pub(crate) enum Tamper {
    /// Sends it twice.
    Twice,
    /// Sends it to another session's stream, when there is one.
    Elsewhere(Arc<Sessions>),
    /// Sends it with another id.
    Renumbered,
    /// The same to a request whose id is a string, whatever it is.
    Mangled,
    /// Sends every answer of a Streamable session to the stream that a GET opened, too.
    Broadcast,
    /// Sends every message, whatever it answers, as an event of another type.
    Misnamed,
}

impl Session {
    /// A session and the transport that rmcp serves it on.
    pub(crate) fn new(id: Arc<str>, out: Out, limit: usize, tamper: Option<Tamper>) -> (Arc<Self>, Pipe) {
        let (inbox, messages) = mpsc::channel(CHANNEL);
        let session = Arc::new(Self {
            id,
            inbox,
            out,
            pending: Mutex::default(),
            slots: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            ended: CancellationToken::new(),
            begun: Instant::now(),
            used: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            is_primed: AtomicBool::new(false),
            tamper,
        });
        (session.clone(), Pipe { session, messages, cancelled: None })
    }

    /// Its id, as clients send it.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Ends it: calls are cancelled, streams end, messages are refused.
    pub fn end(&self) {
        self.ended.cancel();
        if let Some(streams) = self.streams() {
            streams.close_all();
        }
    }

    /// The streams of a Streamable session.
    pub(crate) fn streams(&self) -> Option<&Streams> {
        match &self.out {
            Out::Routes(streams) => Some(streams),
            Out::Stream(_) => None,
        }
    }

    /// How its streams begin, by the version that was agreed on.
    pub(crate) fn opens(&self) -> Opens {
        if self.is_primed.load(Ordering::Relaxed) { Opens::Primed } else { Opens::Plain }
    }

    /// Fires when it has ended.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Notes a request, and that the session is in use until the guard is dropped. Answers the how-manieth request it is.
    pub fn begin(self: &Arc<Self>) -> (usize, Use) {
        (self.requests.fetch_add(1, Ordering::Relaxed) + 1, self.hold())
    }

    /// Notes that the session is in use until the guard is dropped.
    pub fn hold(self: &Arc<Self>) -> Use {
        self.open.fetch_add(1, Ordering::Relaxed);
        Use(self.clone())
    }

    /// How long nothing has used it; `None` while a request or a stream is open.
    pub fn idle(&self) -> Option<Duration> {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        (self.open.load(Ordering::Relaxed) == 0).then(|| self.begun.elapsed().saturating_sub(used))
    }

    /// Takes a message of the client.
    ///
    /// # Errors
    /// When the session has ended, has too many calls in flight, or has one with the same id.
    pub(crate) async fn take(
        &self,
        message: ClientJsonRpcMessage,
        mut pending: Pending,
    ) -> Result<(), Refused> {
        if self.ended.is_cancelled() {
            return Err(Refused::Ended);
        }
        // First of all: between noting a call and handing it over, its client must not be able to go away.
        let place = match timeout(INBOX_WAIT, self.inbox.reserve()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Refused::Ended),
            Err(_) => return Err(Refused::Full),
        };
        match &message {
            ClientJsonRpcMessage::Request(request) => {
                let Ok(slot) = self.slots.clone().try_acquire_owned() else {
                    return Err(Refused::Full);
                };
                let mut all = lock(&self.pending);
                if all.contains_key(&request.id) {
                    return Err(Refused::Repeated);
                }
                pending.progress = request.request.get_meta().get_progress_token();
                pending.is_tool_call = matches!(request.request, ClientRequest::CallToolRequest(_));
                pending.slot = Some(slot);
                all.insert(request.id.clone(), pending);
            }
            // rmcp never answers a cancelled request: its stream ends, and nothing waits for it any more.
            ClientJsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.abandon(id);
                }
            }
            ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => {}
        }
        place.send(Box::new(message));
        Ok(())
    }

    /// Ends the stream of a request that will not be answered.
    fn abandon(&self, id: &RequestId) {
        let pending = lock(&self.pending).remove(id);
        if let (Out::Routes(streams), Some(Route::Stream(stream))) =
            (&self.out, pending.and_then(|pending| pending.route))
        {
            streams.close(stream);
        }
    }

    /// Brings a message of the server to whoever waits for it; without a reader it is dropped.
    async fn deliver(&self, mut message: ServerJsonRpcMessage) {
        let answered = match &message {
            ServerJsonRpcMessage::Response(response) => Some(&response.id),
            ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
            ServerJsonRpcMessage::Request(_) | ServerJsonRpcMessage::Notification(_) => None,
        };
        let is_answer = answered.is_some();
        let pending = answered.and_then(|id| lock(&self.pending).remove(id));
        if matches!(self.tamper, Some(Tamper::Renumbered)) && pending.as_ref().is_some_and(|p| p.is_tool_call)
        {
            renumber(&mut message);
        }
        if matches!(self.tamper, Some(Tamper::Mangled)) {
            mangle(&mut message);
        }
        match &self.out {
            Out::Stream(stream) => {
                let pending = pending.unwrap_or_default();
                let mut frame = message_frame(&message);
                if matches!(self.tamper, Some(Tamper::Misnamed)) {
                    frame = [b"event: reply", &frame[b"event: message".len()..]].concat().into();
                }
                let tamper = self.tamper.as_ref().filter(|_| pending.is_tool_call);
                let mut stream = stream.clone();
                match tamper {
                    None
                    | Some(Tamper::Renumbered | Tamper::Misnamed | Tamper::Mangled | Tamper::Broadcast) => {}
                    Some(Tamper::Twice) => {
                        let _ = stream.send((frame.clone(), None)).await;
                    }
                    Some(Tamper::Elsewhere(sessions)) => {
                        if let Some(Out::Stream(other)) =
                            sessions.other_than(&self.id).as_deref().map(|s| &s.out)
                        {
                            stream = other.clone();
                            // Until the other session has asked under the same id: an answer that comes first is none.
                            sleep_until(tokio::time::Instant::now() + CROSSING).await;
                        }
                    }
                }
                // A send fails only when the stream, and with it the session, is gone. Only then is the slot another call's.
                let _ = stream.send((frame, pending.call)).await;
                drop(pending.slot);
            }
            Out::Routes(streams) => {
                if let Some(initialized) = initialized(&message) {
                    let is_primed = *initialized >= ProtocolVersion::V_2025_11_25;
                    self.is_primed.store(is_primed, Ordering::Relaxed);
                }
                if let (Some(Tamper::Broadcast), Some(listener), true) =
                    (&self.tamper, streams.listener(), is_answer)
                {
                    streams.say(listener, message.clone(), Place::Within).await;
                }
                let route = match pending {
                    Some(pending) => pending.route,
                    None if is_answer => None,
                    None => self.call_route(&message).or_else(|| streams.listener().map(Route::Stream)),
                };
                match route {
                    Some(Route::Reply(reply)) => {
                        let _ = reply.send(ServerSseMessage::from_message(message)).await;
                    }
                    Some(Route::Stream(stream)) => {
                        let place = if is_answer { Place::Last } else { Place::Within };
                        streams.say(stream, message, place).await;
                    }
                    None => {}
                }
            }
        }
    }

    /// The stream of the call that a message belongs to: a request or a log line says which, progress has a token.
    fn call_route(&self, message: &ServerJsonRpcMessage) -> Option<Route> {
        let origin = match message {
            ServerJsonRpcMessage::Request(request) => request.request.extensions(),
            ServerJsonRpcMessage::Notification(notification) => match &notification.notification {
                ServerNotification::ProgressNotification(progress) => {
                    let token = &progress.params.progress_token;
                    let pending = lock(&self.pending);
                    let call = pending.values().find(|pending| pending.progress.as_ref() == Some(token));
                    return call.and_then(|call| call.route.clone());
                }
                ServerNotification::LoggingMessageNotification(line) => &line.extensions,
                _ => return None,
            },
            ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_) => return None,
        };
        let OriginatingRequestId(id) = origin.get()?;
        lock(&self.pending).get(id).and_then(|call| call.route.clone())
    }
}

/// The version that an answer to `initialize` agrees on.
fn initialized(message: &ServerJsonRpcMessage) -> Option<&ProtocolVersion> {
    match message {
        ServerJsonRpcMessage::Response(response) => match &response.result {
            ServerResult::InitializeResult(result) => Some(&result.protocol_version),
            _ => None,
        },
        _ => None,
    }
}

/// Keeps a session from being idle.
pub struct Use(Arc<Session>);

impl Drop for Use {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.used.store(now, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn renumber(message: &mut ServerJsonRpcMessage) {
    match answered_id(message) {
        Some(RequestId::Number(number)) => *number = number.saturating_add(1000),
        Some(RequestId::String(text)) => *text = format!("{text}1000").into(),
        None => {}
    }
}

fn mangle(message: &mut ServerJsonRpcMessage) {
    if let Some(RequestId::String(text)) = answered_id(message) {
        *text = format!("{text}1000").into();
    }
}

fn answered_id(message: &mut ServerJsonRpcMessage) -> Option<&mut RequestId> {
    match message {
        ServerJsonRpcMessage::Response(response) => Some(&mut response.id),
        ServerJsonRpcMessage::Error(error) => error.id.as_mut(),
        ServerJsonRpcMessage::Request(_) | ServerJsonRpcMessage::Notification(_) => None,
    }
}

/// `message` as one SSE frame of the HTTP+SSE transport.
pub(crate) fn message_frame(message: &ServerJsonRpcMessage) -> Bytes {
    let mut frame = Vec::with_capacity(256);
    frame.extend_from_slice(b"event: message\ndata: ");
    // Serialisation of rmcp's own types does not fail; JSON text holds no raw line end.
    let _ = serde_json::to_writer(&mut frame, message);
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// The session's end that rmcp reads from and writes to.
pub struct Pipe {
    session: Arc<Session>,
    messages: mpsc::Receiver<Box<ClientJsonRpcMessage>>,
    /// Once the session has ended: the calls that are still to be cancelled.
    cancelled: Option<Vec<RequestId>>,
}

impl Transport<RoleServer> for Pipe {
    type Error = Infallible;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let session = self.session.clone();
        async move {
            session.deliver(message).await;
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        if self.cancelled.is_none() {
            tokio::select! {
                biased;
                () = self.session.ended.cancelled() => {}
                message = self.messages.recv() => if let Some(message) = message {
                    return Some(*message);
                },
            }
        }
        // rmcp lets handlers run on for seconds after the end of the stream, so it is told to cancel each first.
        let pending = &self.session.pending;
        let rest = self.cancelled.get_or_insert_with(|| lock(pending).drain().map(|(id, _)| id).collect());
        let id = rest.pop()?;
        let cancel = CancelledNotification::new(CancelledNotificationParam::new(Some(id), None));
        Some(ClientJsonRpcMessage::notification(ClientNotification::CancelledNotification(cancel)))
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        self.session.end();
        Ok(())
    }
}
