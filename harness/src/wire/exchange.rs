//! One exchange: a request, what came back, and exactly one end, all of it recorded.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::connection::{ConnectError, Kept, Link};
use super::decode::Decoder;
use super::frame::Parser;
use super::patience::Patience;
use super::reading::{Unread, collect, decoded};
use super::{Answer, Client, Raw, Spelling, Target};
use crate::transcript::{Connection, End, ExchangeId, Frame, Recorder, Request, What};

/// What the transcript says instead of the value of a dialect's header.
pub const REDACTED: &str = "<redacted>";

/// Why an exchange on a kept connection was cut when the hub had closed the connection before: the request was
/// not sent, and is sent in the next exchange, on a fresh connection.
pub const NOTHING_WRITTEN: &str = "the hub had closed the kept connection; nothing was written";

/// The largest body of an answer, and the largest event, that is read: a list of 100,000 tools has 20 MB. Then what may come over
/// one event stream.
pub(crate) const BODY_LIMIT: usize = 32 * 1024 * 1024;
const STREAM_LIMIT: usize = 64 * 1024 * 1024;

/// How much of one event stream is kept, in bytes of its frames; of what follows, answers alone are, and the rest is counted.
const STREAM_KEPT: usize = 8 * 1024 * 1024;

/// What keeping a frame costs beside its text.
const FRAME_COST: usize = 256;

/// What of one event stream is kept, and how much of it is not.
#[derive(Default)]
struct Keeping {
    kept: usize,
    left_out: u64,
    left_out_bytes: u64,
}

/// Sees what arrives while an exchange runs, and decides how long it goes on.
pub(super) trait Sink: Send {
    /// The head arrived.
    fn head(&mut self, status: u16, is_stream: bool, patience: &mut Patience);
    /// A frame arrived.
    fn frame(&mut self, frame: &Frame, patience: &mut Patience);
    /// The whole body of an answer that is no event stream arrived.
    fn body(&mut self, _bytes: &[u8]) {}
}

/// What is needed for an exchange.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a Client,
    pub(super) target: &'a Target,
    pub(super) request: Raw,
    /// From the beginning on; a [`Sink`] can change it.
    pub(super) limit: Duration,
    /// The connection to use, if it is wanted.
    pub(super) kept: Option<&'a Kept>,
    /// Told when the request has been written; dropped when it never will be.
    pub(super) written: Option<oneshot::Sender<()>>,
}

/// A request in hyper's terms, and as it is recorded.
struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// What became of a request on one connection, and the connection when it can be used again; `None` when it was
/// a kept one that was closed before anything was written.
type Attempt = Option<(Answer, Option<Link>)>;

/// Records the end of an exchange, as closed by the client when it is dropped first.
struct Recording {
    recorder: Recorder,
    exchange: ExchangeId,
    keeping: Keeping,
    is_over: bool,
}

/// Runs an exchange for [`Client::exchange`].
pub(super) async fn probe(client: &Client, target: &Target, request: Raw) -> Answer {
    struct Probe {
        frames: Vec<Frame>,
        keeping: Keeping,
        has_end: bool,
    }
    impl Sink for Probe {
        fn head(&mut self, _: u16, is_stream: bool, patience: &mut Patience) {
            if is_stream && !self.has_end {
                patience.close_after(Duration::ZERO);
            }
        }
        fn frame(&mut self, frame: &Frame, _: &mut Patience) {
            if self.keeping.keeps(frame) {
                self.frames.push(frame.clone());
            }
        }
    }
    let mut sink =
        Probe { frames: Vec::new(), keeping: Keeping::default(), has_end: request.method == "POST" };
    let limit = client.patience(Duration::ZERO);
    let exchange = Exchange { client, target, request, limit, kept: None, written: None };
    let answer = exchange.run(&mut sink).await;
    Answer { frames: sink.frames, ..answer }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Runs it to its end. Dropping the future closes the connection and records that.
    pub(super) async fn run(mut self, sink: &mut dyn Sink) -> Answer {
        let mut patience = Patience::new(self.limit, "connection");
        let unsent = || (Answer::without_head(nothing_written()), None);
        let is_usual = self.request.spelling == Spelling::default();
        let Some(kept) = self.kept.filter(|kept| kept.is_wanted() && is_usual) else {
            return self.attempt(None, &mut patience, sink).await.unwrap_or_else(unsent).0;
        };
        let Ok(mut place) = patience.bound(kept.lock()).await else {
            self.begin(Connection::Kept).end(&patience.end());
            return Answer::without_head(patience.end());
        };
        let generation = kept.generation();
        let waiting = place.take().filter(|link| link.to == self.target.addr);
        let mut attempt = self.attempt(waiting, &mut patience, sink).await;
        if attempt.is_none() {
            attempt = self.attempt(None, &mut patience, sink).await;
        }
        let (answer, link) = attempt.unwrap_or_else(unsent);
        *place = link.filter(|_| kept.is_wanted() && kept.generation() == generation);
        answer
    }

    async fn attempt(&mut self, kept: Option<Link>, patience: &mut Patience, sink: &mut dyn Sink) -> Attempt {
        let client = self.client;
        let over = |recording: Recording, end: End| {
            recording.end(&end);
            Some((Answer::without_head(end), None))
        };
        let mut recording = self.begin(if kept.is_some() { Connection::Kept } else { Connection::Fresh });
        let prepared = match self.prepare() {
            Ok(prepared) => prepared,
            Err(why) => return over(recording, End::Malformed { why }),
        };
        let mut link = match kept {
            Some(mut link) => match patience.bound(link.sender.ready()).await {
                Ok(Ok(())) => link,
                Ok(Err(_)) | Err(_) => {
                    recording.end(&nothing_written());
                    return None;
                }
            },
            None => match self.connect(patience).await {
                Ok(link) => link,
                Err(end) => return over(recording, end),
            },
        };
        recording.connected(link.from);

        patience.wait_for("head", self.limit);
        let mut request = http::Request::new(link.body(
            self.request.body.clone(),
            &self.request.pauses,
            self.written.take(),
        ));
        *request.method_mut() = prepared.method;
        *request.uri_mut() = prepared.uri;
        *request.headers_mut() = prepared.headers;
        let response = match patience.bound(link.sender.try_send_request(request)).await {
            Err(_) => return over(recording, patience.end()),
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                if let Some(unsent) = error.take_message() {
                    self.written = unsent.into_body().into_written();
                    recording.end(&nothing_written());
                    return None;
                }
                return over(recording, end_of(error.error()));
            }
        };
        patience.wait_for("body", self.limit);
        let (head, body) = response.into_parts();
        let mut answer = Answer {
            status: Some(head.status.as_u16()),
            headers: recorded(&head.headers),
            ..Answer::without_head(End::Complete)
        };
        let is_stream = answer.is_stream();
        let declared = body.size_hint().exact();
        recording.head(&answer);
        sink.head(head.status.as_u16(), is_stream, patience);
        let asked =
            self.request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("accept-encoding"));
        let mut decoder =
            Decoder::new(asked.map(|(_, value)| value.as_str()), answer.header("content-encoding"));
        let body = Unread { body, declared, manners: client.manners.clone() };
        answer.end = if is_stream {
            recording.frames(body, &mut decoder, patience, sink).await
        } else {
            let (bytes, end) = collect(body, &mut decoder, patience).await;
            answer.body = client.recorder().body(&bytes);
            if matches!(end, End::Complete) {
                sink.body(&bytes);
            }
            let is_whole = matches!(end, End::Complete) || bytes.len() > BODY_LIMIT;
            if is_whole && !bytes.is_empty() {
                client
                    .recorder()
                    .record(What::Body { exchange: recording.exchange, body: answer.body.clone() });
            }
            end
        };
        recording.end(&answer.end);
        let stays_open = matches!(answer.end, End::Complete) && !announces_close(head.version, &head.headers);
        Some((answer, stays_open.then_some(link)))
    }

    async fn connect(&self, patience: &Patience) -> Result<Link, End> {
        let client = &self.client.inner;
        let limit = client.timeouts.connect;
        let own = Patience::new(limit, "connect");
        // Whichever limit comes first.
        let bound = if own.is_before(patience) { &own } else { patience };
        match bound
            .bound(Link::connect(
                client.source.as_ref(),
                self.target.addr,
                self.target.tls.as_deref(),
                &self.client.manners,
                self.request.spelling,
            ))
            .await
        {
            Err(_) => Err(own.end()),
            Ok(Ok(link)) => Ok(link),
            Ok(Err(ConnectError::Refused(why))) => Err(End::Refused { why }),
            Ok(Err(ConnectError::Ours(reason))) => {
                client.recorder.record(What::Broken { reason: reason.clone() });
                Err(End::Refused { why: reason })
            }
        }
    }

    /// The headers in the order in which they are sent; the flag marks those whose value is not recorded.
    fn headers(&self) -> Vec<(String, String, bool)> {
        let Raw { headers: given, withheld, spelling, method, body, .. } = &self.request;
        let dialect = &self.client.dialect().headers;
        let is_in = |list: &[(String, String)], name: &str| {
            list.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let is_withheld = |name: &str| withheld.iter().any(|other| other.eq_ignore_ascii_case(name));
        let own = |name: &str, value: &str| {
            let is_named = is_in(given, name) || is_in(dialect, name);
            (!is_named).then(|| (spelling.of(name), value.to_owned(), false))
        };
        let marked =
            |is_secret| move |(name, value): &(String, String)| (spelling.of(name), value.clone(), is_secret);
        let has_length = !body.is_empty() || method == "POST";
        own("host", &self.target.authority)
            .into_iter()
            .chain(own("user-agent", concat!("hubcheck/", env!("CARGO_PKG_VERSION"))))
            .chain(given.iter().map(marked(false)))
            .chain(
                dialect
                    .iter()
                    .filter(|(name, _)| !is_in(given, name) && !is_withheld(name))
                    .map(marked(true)),
            )
            .chain(own("content-length", &body.len().to_string()).filter(|_| has_length))
            .collect()
    }

    /// The request as HTTP/1.1 has it on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Raw { method, target, body, .. } = &self.request;
        let headers = self.headers().into_iter().map(|(name, value, _)| format!("{name}: {value}\r\n"));
        let head = format!("{method} {target} HTTP/1.1\r\n{}\r\n", headers.collect::<String>());
        [head.as_bytes(), body].concat()
    }

    fn prepare(&self) -> Result<Prepared, String> {
        let why = |error: &dyn std::fmt::Display| format!("the request cannot be written: {error}");
        let method = Method::from_bytes(self.request.method.as_bytes()).map_err(|error| why(&error))?;
        let uri = self.request.target.parse::<Uri>().map_err(|error| why(&error))?;
        let mut headers = HeaderMap::new();
        for (name, value, _) in self.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| why(&error))?;
            headers.append(name, HeaderValue::from_str(&value).map_err(|error| why(&error))?);
        }
        Ok(Prepared { method, uri, headers })
    }

    /// Records the request; what follows of the exchange is recorded through what this returns.
    fn begin(&self, connection: Connection) -> Recording {
        let client = self.client;
        let exchange = client.recorder().next_exchange();
        let Raw { method, target, body, probe, .. } = &self.request;
        let headers = self.headers().into_iter();
        client.recorder().record(What::Request(Request {
            exchange,
            client: client.name().to_owned(),
            probe: probe.clone(),
            path: self.target.path.clone(),
            tls: self.target.tls.is_some(),
            method: method.clone(),
            target: target.clone(),
            headers: headers
                .map(|(name, value, is_secret)| (name, if is_secret { REDACTED.to_owned() } else { value }))
                .collect(),
            body: (!body.is_empty()).then(|| client.recorder().body(body)),
            connection,
        }));
        Recording {
            recorder: client.recorder().clone(),
            exchange,
            keeping: Keeping::default(),
            is_over: false,
        }
    }
}

// === impl Keeping ===

impl Keeping {
    /// Whether this frame is kept; else it is counted. An answer is kept as long as it is no burden: its call waits for it.
    fn keeps(&mut self, frame: &Frame) -> bool {
        let length = frame.data.as_ref().map_or(0, String::len)
            + frame.comments.iter().map(String::len).sum::<usize>();
        let is_answer =
            frame.data.as_ref().is_some_and(|data| data.contains("\"result\"") || data.contains("\"error\""));
        let limit = if is_answer { 2 * STREAM_KEPT } else { STREAM_KEPT };
        let cost = length + FRAME_COST;
        if self.kept + cost <= limit {
            self.kept += cost;
            return true;
        }
        self.left_out += 1;
        self.left_out_bytes += length as u64;
        false
    }
}

// === impl Recording ===

impl Recording {
    fn connected(&self, from: SocketAddr) {
        self.recorder.record(What::Connected { exchange: self.exchange, from });
    }

    fn head(&self, answer: &Answer) {
        let status = answer.status.unwrap_or_default();
        let headers = answer.headers.clone();
        self.recorder.record(What::Head { exchange: self.exchange, status, headers });
    }

    /// Reads an event stream to its end.
    async fn frames(
        &mut self,
        mut body: Unread,
        decoder: &mut Decoder,
        patience: &mut Patience,
        sink: &mut dyn Sink,
    ) -> End {
        let mut parser = Parser::new(BODY_LIMIT);
        let mut length = 0;
        loop {
            let bytes = match decoded(&mut body, decoder, patience).await {
                Ok(bytes) => bytes,
                Err(end) => return end,
            };
            length += bytes.len();
            if length > STREAM_LIMIT {
                return End::Malformed { why: format!("the stream is longer than {STREAM_LIMIT} bytes") };
            }
            if let Some(encoding) = decoder.opaque() {
                // When something came is all that can be told of it.
                let comments = vec![format!("{} bytes of {encoding}", bytes.len())];
                let frame = Frame { comments, ..Frame::default() };
                if self.keeping.keeps(&frame) {
                    self.recorder.record(What::Frame { exchange: self.exchange, frame });
                }
                continue;
            }
            for frame in parser.push(&bytes) {
                match frame {
                    Ok(frame) => {
                        if self.keeping.keeps(&frame) {
                            self.recorder
                                .record(What::Frame { exchange: self.exchange, frame: frame.clone() });
                        }
                        sink.frame(&frame, patience);
                    }
                    Err(error) => {
                        return End::Malformed { why: error.to_string() };
                    }
                }
            }
        }
    }

    fn end(mut self, how: &End) {
        self.over(how.clone());
    }

    fn over(&mut self, how: End) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Keeping { left_out: frames, left_out_bytes: bytes, .. } = self.keeping;
        if frames > 0 {
            self.recorder.record(What::LeftOut { exchange: self.exchange, frames, bytes });
        }
        self.recorder.record(What::End { exchange: self.exchange, how });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.over(End::ClosedByClient);
    }
}

// === helpers ===

pub(super) fn end_of(error: &hyper::Error) -> End {
    let mut why = error.to_string();
    let mut is_garbage = error.is_parse();
    let mut source = error.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        // How hyper reports a chunk that is none.
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        is_garbage |= matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        source = inner.source();
    }
    if is_garbage { End::Malformed { why } } else { End::Cut { why } }
}

fn nothing_written() -> End {
    End::Cut { why: NOTHING_WRITTEN.to_owned() }
}

fn recorded(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// By the media type alone: parameters and case say nothing.
pub(super) fn is_event_stream(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("text/event-stream")
}

fn announces_close(version: Version, headers: &HeaderMap) -> bool {
    let mut options = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    if version == Version::HTTP_10 {
        !options.any(|option| option.eq_ignore_ascii_case("keep-alive"))
    } else {
        options.any(|option| option.eq_ignore_ascii_case("close"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_of_events_the_beginning_and_the_answers_are_kept() {
        let frame = |data: &str| Frame { data: Some(data.to_owned()), ..Frame::default() };
        let noise = frame(&"x".repeat(1024));
        let mut keeping = Keeping::default();
        let kept = (0..64 * 1024).filter(|_| keeping.keeps(&noise)).count();
        assert!((6000..8192).contains(&kept), "{kept} of 64 MB");
        assert!(keeping.keeps(&frame("{\"id\":1,\"result\":{}}")), "a call waits for its answer");
        assert_eq!(keeping.left_out, 64 * 1024 - kept as u64);
        assert_eq!(keeping.left_out_bytes, keeping.left_out * 1024);
    }
}
