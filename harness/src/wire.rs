//! The wire client: the three MCP transport eras, spoken byte for byte.
//!
//! No SDK, no pool, no redirects, no proxy, no hidden retries: every request is one exchange in the transcript,
//! on a connection of its own from the client's own source address, unless a session was told to keep one.
//! What a hub does (a 404, a cut stream, a refused connection) is an entry and an [`Outcome`], never an error.
//! Knows no Kubernetes, no cluster and no checks: it drives and records, and judges nothing.
//!
//! A hub cannot make it hold more than bounded memory per exchange, or wait longer than [`Timeouts`] say.

mod connection;
mod decode;
mod endpoint;
mod exchange;
pub mod frame;
mod http_sse;
mod inbox;
mod manners;
mod message;
mod patience;
mod pending;
mod reading;
mod session;
mod spelling;
mod stateless;
mod stream;
mod streamable;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::plan::Transport;
use crate::source::Source;
use crate::timeouts::Timeouts;
use crate::transcript::{Body, End, Frame, Path, Recorder};
use manners::Manners;
use message::Voice;

pub(crate) use exchange::BODY_LIMIT;
pub use exchange::{NOTHING_WRITTEN, REDACTED};
pub use manners::{Attention, HalfSaid};
pub use message::initialize_asking;
pub use pending::{Outcome, Pending, Progress};
pub use session::{Listening, Session};
pub use spelling::Spelling;
pub use stateless::in_base64;

/// The header that says who asks.
const AUTHORIZATION: &str = "authorization";

/// How requests of this hub look.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// Path and query of the HTTP+SSE stream.
    pub sse_path: String,
    /// Path and query of the MCP endpoint, of Streamable HTTP and of the stateless era.
    pub mcp_path: String,
    /// Headers that every request carries. Their values are never recorded ([`REDACTED`] is).
    pub headers: Vec<(String, String)>,
    /// Whether clients ask for the GET stream of Streamable HTTP. Not where it is known that this GET hangs: each would wait for
    /// nothing.
    pub listens: bool,
    /// Whether clients end their sessions of Streamable HTTP by DELETE. Not where it is known that this DELETE hangs.
    pub says_goodbye: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the transcript calls it.
    pub path: Path,
    /// Where the connection goes.
    pub addr: SocketAddr,
    /// The `Host` header: `host` or `host:port`.
    pub authority: String,
    /// The name that the certificate must have; `None` for plain HTTP.
    pub tls: Option<String>,
}

/// One wire client, with a name and a source address of its own; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    keeps: bool,
    manners: Manners,
}

#[derive(Debug)]
struct Inner {
    name: String,
    source: Option<Source>,
    recorder: Recorder,
    dialect: Arc<Dialect>,
    timeouts: Arc<Timeouts>,
}

/// A request as it is put on the wire.
///
/// `host`, `user-agent`, `content-length` and the dialect's headers are added unless `headers` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// `GET`, `POST`, ..
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// The dialect's headers that it goes without.
    pub withheld: Vec<String>,
    /// How header names are spelled on the wire. Another spelling than the default has a connection of its own.
    pub spelling: Spelling,
    /// The body; empty for none.
    pub body: Bytes,
    /// The name by which checks find it in the transcript.
    pub probe: Option<String>,
    /// The places in the body, in order, before which the client pauses: what follows arrives in a segment of its own. 0 parts head
    /// and body.
    pub pauses: Vec<usize>,
}

/// What came back in one exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status, when a head arrived.
    pub status: Option<u16>,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as far as it arrived; empty for an event stream.
    pub body: Body,
    /// The frames of an event stream.
    pub frames: Vec<Frame>,
    /// How the exchange ended.
    pub end: End,
}

// === impl Dialect ===

impl Dialect {
    /// What every request says in `Authorization`.
    pub fn authorization(&self) -> Option<&str> {
        let is_it = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(AUTHORIZATION);
        self.headers.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    /// The same with another `Authorization`.
    #[must_use]
    pub fn authorized(&self, value: &str) -> Self {
        let mut dialect = self.clone();
        dialect.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(AUTHORIZATION));
        dialect.headers.push((AUTHORIZATION.to_owned(), value.to_owned()));
        dialect
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            sse_path: "/sse".to_owned(),
            mcp_path: "/mcp".to_owned(),
            headers: Vec::new(),
            listens: true,
            says_goodbye: true,
        }
    }
}

// === impl Client ===

impl Client {
    /// A client that is called `name` in the transcript and connects from `source`.
    ///
    /// Without a source, or for a hub of the other address family, the operating system chooses.
    pub fn new(
        name: impl Into<String>,
        source: Option<Source>,
        recorder: Recorder,
        dialect: Arc<Dialect>,
        timeouts: Arc<Timeouts>,
    ) -> Self {
        let inner = Inner { name: name.into(), source, recorder, dialect, timeouts };
        Self { inner: Arc::new(inner), keeps: false, manners: Manners::default() }
    }

    /// The same client, but its sessions keep one connection for their POSTs, from `initialize` on.
    #[must_use]
    pub fn keeping_connections(self) -> Self {
        Self { keeps: true, ..self }
    }

    /// The same client, of which nothing is recorded: for polls, which a transcript has as one entry, and for crowds.
    #[must_use]
    pub fn unrecorded(&self) -> Self {
        let Inner { name, source, dialect, timeouts, .. } = &*self.inner;
        let recorder = Recorder::new([]);
        Self::new(name.clone(), source.clone(), recorder, Arc::clone(dialect), Arc::clone(timeouts))
    }

    /// Another client at the same address.
    pub(crate) fn called(&self, name: String) -> Self {
        let Inner { source, recorder, dialect, timeouts, .. } = &*self.inner;
        Self::new(name, source.clone(), recorder.clone(), Arc::clone(dialect), Arc::clone(timeouts))
    }

    /// What the transcript calls it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The source address by which it is known, where it has one of its own.
    pub fn address(&self) -> Option<IpAddr> {
        self.inner.source.as_ref().map(Source::ip)
    }

    /// Opens a session, with everything that its era demands before the first call.
    ///
    /// HTTP+SSE: the stream, its `endpoint`, `initialize`, `notifications/initialized`. Streamable HTTP: the
    /// last two; the session's id is read from the answer to `initialize` and from nowhere else. Stateless: no
    /// exchange at all.
    ///
    /// # Errors
    ///
    /// The [`Outcome`] of the step that did not succeed. What was opened until then is closed.
    pub async fn open(&self, transport: Transport, target: &Target) -> Result<Session, Outcome> {
        match transport {
            Transport::Sse => http_sse::open(self, target).await,
            Transport::Streamable => streamable::open(self, target).await,
            Transport::Stateless => Ok(stateless::open(self)),
        }
    }

    /// Begins a session without `initialize`, for probes of what a hub does before it and of what it answers to another
    /// one: HTTP+SSE opens the stream with what `change` makes of its GET, and awaits its `endpoint`; elsewhere there is
    /// no exchange.
    ///
    /// # Errors
    ///
    /// The [`Outcome`] of the GET when no `endpoint` came. The stream is closed.
    pub async fn begin(
        &self,
        transport: Transport,
        target: &Target,
        change: impl FnOnce(Raw) -> Raw + Send,
    ) -> Result<Session, Outcome> {
        match transport {
            Transport::Sse => http_sse::begin(self, target, change).await,
            Transport::Streamable => Ok(streamable::begin(self)),
            Transport::Stateless => Ok(stateless::open(self)),
        }
    }

    /// The GET of this era, as a client sends it before it has a session.
    pub fn get(&self, transport: Transport) -> Raw {
        Voice::new(transport, Arc::clone(&self.inner.dialect)).get()
    }

    /// One exchange on a connection of its own, for probes.
    ///
    /// It ends with the answer, or at the limit for any answer. An event stream that answers anything but a
    /// POST has no end to wait for: it is closed when its head has arrived.
    pub async fn exchange(&self, target: &Target, request: Raw) -> Answer {
        exchange::probe(self, target, request).await
    }

    fn dialect(&self) -> &Dialect {
        &self.inner.dialect
    }

    fn recorder(&self) -> &Recorder {
        &self.inner.recorder
    }

    fn timeouts(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    /// How long we wait for the answer to a request that is known to take `hold`.
    fn patience(&self, hold: Duration) -> Duration {
        let timeouts = self.timeouts();
        let limit = if hold.is_zero() { timeouts.answer } else { hold + timeouts.held_call };
        limit + timeouts.slack
    }
}

// === impl Raw ===

impl Raw {
    /// A request with no headers of its own and no body.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            withheld: Vec::new(),
            spelling: Spelling::default(),
            body: Bytes::new(),
            probe: None,
            pauses: Vec::new(),
        }
    }

    /// The same under this name, by which checks find it.
    #[must_use]
    pub fn named(self, probe: impl Into<String>) -> Self {
        Self { probe: Some(probe.into()), ..self }
    }

    /// The same with this header in place of those of its name.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<String>) -> Self {
        let mut raw = self.without(name);
        raw.headers.push((name.to_owned(), value.into()));
        raw
    }

    /// The same without this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// The same without this header of the dialect, such as the user's `Authorization`.
    #[must_use]
    pub fn withholding(mut self, name: &str) -> Self {
        self.withheld.push(name.to_owned());
        self.without(name)
    }

    /// The same with the names of its headers spelled so.
    #[must_use]
    pub fn spelled(self, spelling: Spelling) -> Self {
        Self { spelling, ..self }
    }

    /// The same with this body, whatever it is.
    #[must_use]
    pub fn carrying(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The same, sent in pieces: with a pause before each of these places in the body.
    #[must_use]
    pub fn pausing(self, places: impl Into<Vec<usize>>) -> Self {
        Self { pauses: places.into(), ..self }
    }

    /// The same to another path and query.
    #[must_use]
    pub fn to(self, target: impl Into<String>) -> Self {
        Self { target: target.into(), ..self }
    }
}

// === impl Answer ===

impl Answer {
    fn without_head(end: End) -> Self {
        let body = Body::Text(String::new());
        Self { status: None, headers: Vec::new(), body, frames: Vec::new(), end }
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_stream(&self) -> bool {
        self.header("content-type").is_some_and(exchange::is_event_stream)
    }

    fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}
