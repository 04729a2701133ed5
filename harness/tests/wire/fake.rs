//! Servers of raw bytes, and what the tests ask a transcript.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::timeouts::Timeouts;
use harness::transcript::{Body, Connection, End, Entry, ExchangeId, Frame, Path, Recorder, Request, What};
use harness::wire::{Client, Dialect, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// A server that runs one function per connection.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// One accepted connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Fake {
    pub(crate) async fn start<F, R>(ip: &str, serve: F) -> Self
    where
        F: Fn(Conn) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(serve(Conn { stream }));
            }
        });
        Self { addr, accepted, task }
    }

    /// One that says the same to every request, then closes.
    pub(crate) async fn saying(ip: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(ip, move |mut conn| {
            let bytes = bytes.clone();
            async move {
                conn.request().await;
                conn.write(&bytes).await;
            }
        })
        .await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn target(&self) -> Target {
        target(self.addr)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Conn {
    pub(crate) async fn request(&mut self) -> Option<Seen> {
        let mut seen = self.head().await?;
        let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        seen.body = serde_json::from_slice(&body).unwrap_or_default();
        Some(seen)
    }

    /// A request without its body.
    pub(crate) async fn head(&mut self) -> Option<Seen> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(self.stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(bytes).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next()?.to_owned();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Seen { line, headers, body: Value::Null })
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may have gone.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    pub(crate) async fn chunk(&mut self, text: &str) {
        self.write(format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    pub(crate) async fn last_chunk(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the client has closed.
    pub(crate) async fn closed(&mut self) {
        let mut byte = [0];
        while !matches!(self.stream.read(&mut byte).await, Ok(0) | Err(_)) {}
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, method: &str) -> bool {
        self.body["method"] == method
    }
}

// === an HTTP+SSE hub ===

/// Head of a chunked event stream.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(crate) const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted";

/// A JSON answer.
pub(crate) fn answered(status: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// The result that every call but the special ones has.
pub(crate) fn result_of(request: &Value) -> Value {
    let result = match request["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": request["params"]["protocolVersion"],
            "capabilities": {},
            "serverInfo": { "name": "fake", "version": "1" },
        }),
        _ => json!({ "echo": request["params"] }),
    };
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}

/// A hub with one session at a time, whose frames end their lines with `end`.
///
/// The tool `cut` cuts the stream, `mute` is never answered, `gone` is answered with 404, `count` makes two
/// progress notifications, `ask` sends two requests to the client and returns the replies.
pub(crate) struct SseHub {
    pub(crate) fake: Fake,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl SseHub {
    pub(crate) async fn start(ip: &str, end: &'static str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stream: Arc<Mutex<Option<mpsc::UnboundedSender<Option<Value>>>>> = Arc::default();
        let (log, stream, go) = (Arc::clone(&seen), Arc::clone(&stream), Arc::new(Notify::new()));
        let fake = Fake::start(ip, move |mut conn| {
            let (log, stream, go) = (Arc::clone(&log), Arc::clone(&stream), Arc::clone(&go));
            async move {
                while let Some(request) = conn.request().await {
                    log.lock().unwrap().push(request.clone());
                    if request.line.starts_with("GET /sse ") {
                        let (sender, messages) = mpsc::unbounded_channel();
                        *stream.lock().unwrap() = Some(sender);
                        return serve_stream(&mut conn, messages, end).await;
                    }
                    if request.body["params"]["name"] == "gone" {
                        let no = "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nCould not find session";
                        conn.write(no).await;
                        continue;
                    }
                    let stream = stream.lock().unwrap().clone().unwrap();
                    if request.body["method"] == "notifications/go" {
                        go.notify_one();
                    }
                    if request.body["params"]["name"] == "late" {
                        let _ = stream.send(progress_of(&request.body, 1));
                        go.notified().await;
                    }
                    conn.write(ACCEPTED).await;
                    messages_for(&request.body, &log).into_iter().for_each(|message| {
                        let _ = stream.send(message);
                    });
                }
            }
        })
        .await;
        Self { fake, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve_stream(conn: &mut Conn, mut messages: mpsc::UnboundedReceiver<Option<Value>>, end: &str) {
    conn.write(STREAM).await;
    conn.chunk(&format!("event: endpoint{end}data: messages/?session_id=00ff42{end}{end}")).await;
    loop {
        let mut byte = [0];
        tokio::select! {
            message = messages.recv() => match message.flatten() {
                Some(message) => conn.chunk(&format!(": hi{end}event: message{end}data: {message}{end}{end}")).await,
                // Without the last chunk.
                None => return,
            },
            _ = conn.stream.read(&mut byte) => return,
        }
    }
}

/// `None` cuts the stream.
fn messages_for(request: &Value, log: &Mutex<Vec<Seen>>) -> Vec<Option<Value>> {
    let id = &request["id"];
    if request.get("method").is_none() {
        let log = log.lock().unwrap();
        let replies: Vec<_> = log.iter().filter(|seen| seen.body.get("method").is_none()).collect();
        let asked = log.iter().find(|seen| seen.body["params"]["name"] == "ask");
        return match (asked, &replies[..]) {
            (Some(asked), [_, first, second]) => {
                let result = json!([first.body, second.body]);
                vec![Some(json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": result }))]
            }
            _ => Vec::new(),
        };
    }
    if id.is_null() {
        return Vec::new();
    }
    let progress = |progress| progress_of(request, progress);
    let ask = |id: &str, method: &str| Some(json!({ "jsonrpc": "2.0", "id": id, "method": method }));
    match request["params"]["name"].as_str() {
        Some("cut") => vec![None],
        Some("mute") => Vec::new(),
        Some("count") => vec![progress(1), progress(2), Some(result_of(request))],
        Some("ask") => vec![ask("p", "ping"), ask("s", "sampling/createMessage")],
        _ => vec![Some(result_of(request))],
    }
}

fn progress_of(request: &Value, progress: u64) -> Option<Value> {
    let token = &request["params"]["_meta"]["progressToken"];
    let params = json!({ "progressToken": token, "progress": progress });
    Some(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))
}

// === clients ===

pub(crate) fn target(addr: SocketAddr) -> Target {
    Target { path: Path::Service, addr, authority: addr.to_string(), tls: None }
}

pub(crate) fn client(source: &str) -> (Client, Recorder) {
    client_with(source, Timeouts::default(), Dialect::default())
}

pub(crate) fn client_with(source: &str, timeouts: Timeouts, dialect: Dialect) -> (Client, Recorder) {
    let recorder = Recorder::new([]);
    let source: IpAddr = source.parse().unwrap();
    let client =
        Client::new("a", Some(source.into()), recorder.clone(), Arc::new(dialect), Arc::new(timeouts));
    (client, recorder)
}

/// Limits that a test can wait for.
pub(crate) fn short() -> Timeouts {
    let limit = Duration::from_millis(500);
    Timeouts {
        connect: limit,
        first_event: limit,
        answer: limit,
        slack: Duration::from_millis(100),
        held_call: limit,
        ..Timeouts::default()
    }
}

// === transcripts ===

/// Waits until every exchange has ended, and checks that each is whole: a request first, one end last.
pub(crate) async fn finished(recorder: &Recorder) -> Vec<Entry> {
    let is_over = || {
        let entries = recorder.entries();
        requests(&entries).len() == ends(&entries).len()
    };
    let waiting = async {
        while !is_over() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("every exchange ends");
    let entries = recorder.entries();
    for request in requests(&entries) {
        let own: Vec<&What> = entries
            .iter()
            .map(|entry| &entry.what)
            .filter(|what| exchange(what) == Some(request.exchange))
            .collect();
        assert!(matches!(own.first(), Some(What::Request(_))), "{own:?}");
        assert!(matches!(own.last(), Some(What::End { .. })), "{own:?}");
        assert_eq!(own.iter().filter(|what| matches!(what, What::End { .. })).count(), 1, "{own:?}");
    }
    entries
}

pub(crate) fn requests(entries: &[Entry]) -> Vec<Request> {
    let request = |entry: &Entry| match &entry.what {
        What::Request(request) => Some(request.clone()),
        _ => None,
    };
    entries.iter().filter_map(request).collect()
}

/// `METHOD target connection`, in order.
pub(crate) fn lines(entries: &[Entry]) -> Vec<String> {
    let connection = |request: &Request| match request.connection {
        Connection::Fresh => "fresh",
        Connection::Kept => "kept",
    };
    requests(entries)
        .iter()
        .map(|request| format!("{} {} {}", request.method, request.target, connection(request)))
        .collect()
}

pub(crate) fn ends(entries: &[Entry]) -> Vec<End> {
    let end = |entry: &Entry| match &entry.what {
        What::End { how, .. } => Some(how.clone()),
        _ => None,
    };
    entries.iter().filter_map(end).collect()
}

pub(crate) fn frames(entries: &[Entry]) -> Vec<Frame> {
    let frame = |entry: &Entry| match &entry.what {
        What::Frame { frame, .. } => Some(frame.clone()),
        _ => None,
    };
    entries.iter().filter_map(frame).collect()
}

pub(crate) fn bodies(entries: &[Entry]) -> Vec<Body> {
    let body = |entry: &Entry| match &entry.what {
        What::Body { body, .. } => Some(body.clone()),
        _ => None,
    };
    entries.iter().filter_map(body).collect()
}

pub(crate) fn exchange(what: &What) -> Option<ExchangeId> {
    match what {
        What::Request(request) => Some(request.exchange),
        What::Connected { exchange, .. }
        | What::Head { exchange, .. }
        | What::Frame { exchange, .. }
        | What::Body { exchange, .. }
        | What::End { exchange, .. } => Some(*exchange),
        _ => None,
    }
}
