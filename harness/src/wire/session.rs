//! A session of one client: what it sends, what it listens to, and how it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::connection::Kept;
use super::exchange::{Exchange, Sink};
use super::inbox::{Asked, Inbox};
use super::message::{self, Voice};
use super::patience::Patience;
use super::pending::{Outcome, Pending, Progress};
use super::stream::{Opening, State, Stream, ends_within};
use super::{Answer, Client, Raw, Target, endpoint};
use crate::plan::Transport;
use crate::transcript::{Frame, What};

/// A session, or in the stateless era a conversation; clones share it. The last one to be dropped closes its
/// stream, without saying goodbye to the hub.
///
/// Requests are numbered from 1 in every session, so that concurrent sessions share ids on purpose.
#[derive(Clone, Debug)]
pub struct Session {
    core: Arc<Core>,
}

/// Whether a session has a stream of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Listening {
    /// It is open.
    Streaming,
    /// The hub has none (405); `None` in the stateless era, which knows none, and where it is not asked for.
    NotOffered(Option<u16>),
    /// It could not be opened.
    Failed(Outcome),
}

#[derive(Debug)]
struct Core {
    client: Client,
    voice: Arc<Voice>,
    inbox: Arc<Inbox>,
    next: AtomicU64,
    kept: Arc<Kept>,
    stream: Mutex<Option<Stream>>,
    replies: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Where the hub's own requests are answered; where it was reached when it asked, unless set.
    replies_at: Arc<Mutex<Option<Target>>>,
}

/// Brings what comes with a POST to the inbox.
struct PostSink {
    inbox: Arc<Inbox>,
    target: Target,
    number: Option<u64>,
    /// How long the hub may take to end a stream on which it has answered.
    grace: Duration,
    /// Whether messages may come with the answer: in HTTP+SSE none do, and an HTTP error carries no answer.
    carries_messages: bool,
}

// === impl Session ===

impl Session {
    pub(super) fn begin(client: &Client, voice: Voice, inbox: Arc<Inbox>) -> Self {
        let kept = Kept::default();
        kept.want(client.keeps);
        let core = Core {
            client: client.clone(),
            voice: Arc::new(voice),
            inbox,
            next: AtomicU64::new(1),
            kept: Arc::new(kept),
            stream: Mutex::default(),
            replies: Mutex::default(),
            replies_at: Arc::default(),
        };
        Self { core: Arc::new(core) }
    }

    /// The same session, now that it has an id and a version.
    pub(super) fn named(&self, voice: Voice) -> Self {
        let core = &self.core;
        let core = Core {
            client: core.client.clone(),
            voice: Arc::new(voice),
            inbox: Arc::clone(&core.inbox),
            next: AtomicU64::new(core.next.load(Ordering::SeqCst)),
            kept: Arc::clone(&core.kept),
            stream: Mutex::default(),
            replies: Mutex::default(),
            replies_at: Arc::default(),
        };
        Self { core: Arc::new(core) }
    }

    /// Replaces the session's own stream.
    pub(super) fn listen_to(&self, stream: Stream) {
        *self.stream() = Some(stream);
    }

    /// From now on the hub's own requests are answered, one after another, each on a fresh connection.
    pub(super) fn reply_to(&self, mut asked: mpsc::Receiver<Asked>) {
        let (client, voice) = (self.core.client.clone(), Arc::clone(&self.core.voice));
        let (inbox, elsewhere) = (Arc::clone(&self.core.inbox), Arc::clone(&self.core.replies_at));
        let task = tokio::spawn(async move {
            while let Some(Asked { target, id, method }) = asked.recv().await {
                let elsewhere = elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let target = elsewhere.unwrap_or(target);
                let message = match method.as_str() {
                    "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
                    _ => json!({ "jsonrpc": "2.0", "id": id,
                                 "error": { "code": -32601, "message": "method not found" } }),
                };
                drop(client.exchange(&target, voice.post(&message)).await);
                inbox.answered();
            }
        });
        *self.core.replies.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(AbortOnDropHandle::new(task));
    }

    /// From now on the hub's own requests are answered there, wherever it was reached when it asked.
    pub fn reply_at(&self, target: Target) {
        *self.core.replies_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// The client that holds it.
    pub fn client(&self) -> &str {
        self.core.client.name()
    }

    /// The id that the hub gave: `Mcp-Session-Id`, or of HTTP+SSE what looks like the id in the endpoint's URI.
    pub fn id(&self) -> Option<&str> {
        self.core.voice.session_id()
    }

    /// Its era.
    pub fn transport(&self) -> Transport {
        self.core.voice.transport
    }

    /// Whether POSTs share one connection from now on; without, each has a connection of its own.
    ///
    /// They take turns on it, as HTTP/1.1 wants. When the hub has closed it before a request is written, the
    /// transcript has an exchange on a kept connection that is cut with [`super::NOTHING_WRITTEN`], and the
    /// request follows on a fresh one. A request of which anything was written is never sent again.
    pub fn keep_connection(&self, keep: bool) {
        self.core.kept.want(keep);
    }

    /// Closes the kept connection, so that the next request has a fresh one.
    pub fn drop_connection(&self) {
        self.core.kept.forget();
    }

    /// Sends a request and waits for what becomes of it.
    pub async fn request(&self, target: &Target, method: &str, params: Value) -> Outcome {
        self.start(target, method, params, Duration::ZERO, Progress::No).await.outcome().await
    }

    /// Calls a tool.
    pub async fn call(&self, target: &Target, tool: &str, arguments: Value) -> Outcome {
        self.request(target, "tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Sends a request and returns when it has been written, or cannot be.
    ///
    /// `hold` is how long the call is known to take; it is added to the limits.
    pub async fn start(
        &self,
        target: &Target,
        method: &str,
        params: Value,
        hold: Duration,
        progress: Progress,
    ) -> Pending {
        let number = self.core.next.fetch_add(1, Ordering::SeqCst);
        let message = self.core.voice.request(number, method, params, progress);
        self.start_raw(target, self.core.voice.post(&message), number, hold).await
    }

    async fn start_raw(&self, target: &Target, raw: Raw, number: u64, hold: Duration) -> Pending {
        let core = &self.core;
        let news = core.inbox.expect(number);
        let patience = core.client.patience(hold);
        let until = Instant::now() + patience;
        let is_sse = self.transport() == Transport::Sse;
        // An HTTP+SSE hub accepts at once, however long the call takes.
        let limit = if is_sse { core.client.patience(Duration::ZERO) } else { patience };
        let (written, is_written) = oneshot::channel();
        let post = self.exchange(target, raw, limit, Some(number), Some(written));
        let post = AbortOnDropHandle::new(tokio::spawn(post));
        // An error says that it never will be.
        let _ = is_written.await;
        let pending = Pending::new(number, self.transport(), Arc::clone(&core.inbox), news, post);
        match self.state().filter(|_| is_sse) {
            Some(state) => pending.on(state, until),
            None => pending,
        }
    }

    /// Sends a notification.
    pub async fn notify(&self, target: &Target, method: &str, params: Value) -> Outcome {
        let message = self.core.voice.notification(method, params);
        let limit = self.core.client.patience(Duration::ZERO);
        let post = self.core.voice.post(&message);
        Outcome::of_acceptance(self.exchange(target, post, limit, None, None).await)
    }

    /// The next request as it would be sent, for a probe to change and to send with [`Session::send`] or, where no
    /// answer on the session's stream is awaited, with [`Client::exchange`].
    pub fn raw(&self, method: &str, params: Value) -> Raw {
        self.raw_asking(method, params, Progress::No)
    }

    /// The same, with or without a progress token.
    pub fn raw_asking(&self, method: &str, params: Value, progress: Progress) -> Raw {
        let number = self.core.next.fetch_add(1, Ordering::SeqCst);
        self.core.voice.post(&self.core.voice.request(number, method, params, progress))
    }

    /// A notification as it would be sent, for a probe to change.
    pub fn raw_notification(&self, method: &str, params: Value) -> Raw {
        self.core.voice.post(&self.core.voice.notification(method, params))
    }

    /// The DELETE that ends this session as it would be sent, for a probe to change. It ends nothing here.
    pub fn raw_delete(&self) -> Raw {
        self.core.voice.delete()
    }

    /// The GET of this session's stream as it would be sent, for a probe to change.
    pub fn raw_get(&self) -> Raw {
        self.core.voice.get()
    }

    /// Sends a request made with [`Session::raw`] and waits for what becomes of it, wherever its answer belongs. What is
    /// no JSON-RPC request with a number as id is done with the answer to its POST.
    pub async fn send(&self, target: &Target, raw: Raw) -> Outcome {
        match self.send_held(target, raw.clone(), Duration::ZERO).await {
            Some(pending) => pending.outcome().await,
            None => {
                let limit = self.core.client.patience(Duration::ZERO);
                Outcome::of_acceptance(self.exchange(target, raw, limit, None, None).await)
            }
        }
    }

    /// Sends a request made with [`Session::raw`] that is known to take `hold`, and returns when it has been written;
    /// `None`, and nothing sent, when it is no JSON-RPC request with a number as id.
    pub async fn send_held(&self, target: &Target, raw: Raw, hold: Duration) -> Option<Pending> {
        let message: Value = serde_json::from_slice(&raw.body).ok()?;
        message.get("method")?;
        let number = message.get("id")?.as_u64()?;
        Some(self.start_raw(target, raw, number, hold).await)
    }

    /// Goes on with the stream of the request of this number, by a GET made with [`Session::raw_get`] that says `Last-Event-ID`, and
    /// waits for what becomes of the request, which is known to take `hold`.
    pub async fn resume(&self, target: &Target, get: Raw, number: u64, hold: Duration) -> Outcome {
        self.start_raw(target, get, number, hold).await.outcome().await
    }

    /// Opens the session's own stream where the era opens it later: the GET stream of Streamable HTTP.
    pub async fn listen(&self, target: &Target) -> Listening {
        match self.transport() {
            Transport::Stateless => return Listening::NotOffered(None),
            Transport::Sse => {
                return match self.state().map(|state| State::end(&state)) {
                    Some(None) => Listening::Streaming,
                    Some(Some(end)) => Listening::Failed(Outcome::of_end(end)),
                    None => Listening::NotOffered(None),
                };
            }
            Transport::Streamable if !self.core.client.dialect().listens => {
                return Listening::NotOffered(None);
            }
            Transport::Streamable => {}
        }
        let core = &self.core;
        let limit = core.client.patience(Duration::ZERO);
        let inbox = Arc::clone(&core.inbox);
        let mut stream = Stream::start(&core.client, target, core.voice.get(), inbox, Opening::Head, limit);
        match stream.head().await {
            Ok(()) => {
                self.listen_to(stream);
                Listening::Streaming
            }
            Err(answer) if answer.status == Some(405) => Listening::NotOffered(answer.status),
            Err(answer) => Listening::Failed(Outcome::of_failure(answer)),
        }
    }

    /// Waits until the session's own stream has ended; true when it did within the limit, or there is none.
    pub async fn stream_ended(&self, limit: Duration) -> bool {
        match self.state() {
            Some(state) => ends_within(state, limit).await,
            None => true,
        }
    }

    /// Whether the session's own stream is open.
    pub fn stream_is_open(&self) -> bool {
        self.state().is_some_and(|state| State::end(&state).is_none())
    }

    /// A twin of this session with another id, to probe unknown and terminated ones: it has no stream, so that
    /// what an HTTP+SSE hub takes from it is [`Outcome::Accepted`].
    pub fn with_id(&self, id: String) -> Session {
        let (inbox, _asked) = Inbox::new();
        Session::begin(&self.core.client, self.core.voice.with_id(id), inbox)
    }

    /// Whether the hub refuses a request of this session by an HTTP error; the request is not recorded.
    pub async fn is_refused(&self, target: &Target) -> bool {
        let (inbox, _asked) = Inbox::new();
        let client = self.core.client.unrecorded();
        let twin = Session::begin(&client, Voice::clone(&self.core.voice), inbox);
        matches!(twin.request(target, "ping", Value::Null).await, Outcome::Http { status, .. } if status >= 300)
    }

    /// A random id of the same form as this session's.
    pub fn made_up_id(&self) -> Option<String> {
        endpoint::made_up(self.id()?)
    }

    /// Ends the session as a client does: HTTP+SSE closes the stream, Streamable HTTP sends DELETE.
    ///
    /// What the hub has asked is answered before, within the limit of an answer: one that is cut off would tell nothing of the hub. After an accepted DELETE the hub may end the GET stream itself, within the slack.
    pub async fn end(&self, target: &Target) -> Outcome {
        let core = &self.core;
        let mut outcome = Outcome::Accepted;
        let limit = core.client.patience(Duration::ZERO);
        // Each answer has that limit too, so that this one is met only when the hub asks without end.
        let _ = timeout(limit, core.inbox.all_answered()).await;
        let says_goodbye = core.client.dialect().says_goodbye && core.voice.id.is_some();
        if self.transport() == Transport::Streamable && says_goodbye {
            let answer = self.exchange(target, core.voice.delete(), limit, None, None).await;
            outcome = Outcome::of_acceptance(answer);
            if outcome == Outcome::Accepted {
                self.stream_ended(core.client.timeouts().slack).await;
            }
        }
        self.close().await;
        let id = self.id().map(str::to_owned);
        core.client.recorder().record(What::SessionEnded { client: self.client().to_owned(), id });
        outcome
    }

    /// Closes what is open.
    pub(super) async fn close(&self) {
        let stream = self.stream().take();
        if let Some(stream) = stream {
            stream.close().await;
        }
        self.core.kept.forget();
    }

    /// Sends `initialize` and returns its result with the answer to its POST.
    pub(super) async fn initialize(&self, target: &Target) -> Result<(Value, Option<Answer>), Outcome> {
        let params = message::initialize(self.transport());
        let pending = self.start(target, "initialize", params, Duration::ZERO, Progress::No).await;
        match pending.finish().await {
            (Outcome::Result(result), answer) => Ok((result, answer)),
            (outcome, _) => Err(outcome),
        }
    }

    /// Sends `notifications/initialized`.
    pub(super) async fn initialized(&self, target: &Target) -> Result<(), Outcome> {
        match self.notify(target, "notifications/initialized", Value::Null).await {
            Outcome::Accepted => Ok(()),
            outcome => Err(outcome),
        }
    }

    /// An exchange on the session's connection, which does not keep the session alive.
    fn exchange(
        &self,
        target: &Target,
        request: Raw,
        limit: Duration,
        number: Option<u64>,
        written: Option<oneshot::Sender<()>>,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let core = &self.core;
        let (client, kept, target) = (core.client.clone(), Arc::clone(&core.kept), target.clone());
        let grace = client.timeouts().slack;
        let mut sink = PostSink {
            inbox: Arc::clone(&core.inbox),
            target: target.clone(),
            number,
            grace,
            carries_messages: self.transport() != Transport::Sse,
        };
        async move {
            let kept = Some(&*kept);
            Exchange { client: &client, target: &target, request, limit, kept, written }.run(&mut sink).await
        }
    }

    fn state(&self) -> Option<watch::Receiver<State>> {
        self.stream().as_ref().map(Stream::state)
    }

    fn stream(&self) -> MutexGuard<'_, Option<Stream>> {
        self.core.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PostSink ===

impl Sink for PostSink {
    fn head(&mut self, status: u16, _: bool, _: &mut Patience) {
        self.carries_messages &= (200..300).contains(&status);
    }

    fn frame(&mut self, frame: &Frame, patience: &mut Patience) {
        if self.carries_messages && self.inbox.frame(frame, &self.target, self.number) {
            patience.close_after(self.grace);
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        if self.carries_messages {
            self.inbox.deliver(bytes, &self.target, self.number);
        }
    }
}
