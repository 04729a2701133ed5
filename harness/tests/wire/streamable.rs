//! Streamable HTTP, with sessions and without.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::plan::Transport;
use harness::transcript::{Body, End, What};
use harness::wire::{Dialect, Listening, Outcome, Progress};
use serde_json::{Value, json};

use crate::fake::{
    Conn, Fake, STREAM, Seen, answered, client, client_with, ends, finished, lines, result_of, short,
};

const SESSION: &str = "Mcp-Session-Id: id-1\r\n";
const EMPTY: &str = "Content-Length: 0\r\n\r\n";

/// A hub with the session `id-1`; of its tools, `stream` answers with an event stream, `open` leaves it open,
/// `mute` never answers, `unknown` is answered with 404, `half` ends the stream without an answer, `long` answers with a long body.
async fn serve(mut conn: Conn, log: Arc<Mutex<Vec<Seen>>>) {
    while let Some(request) = conn.request().await {
        log.lock().unwrap().push(request.clone());
        if request.line.starts_with("GET") {
            conn.write(STREAM).await;
            conn.chunk(": hello\n\n").await;
            return conn.closed().await;
        }
        if request.line.starts_with("DELETE") {
            conn.write(format!("HTTP/1.1 200 OK\r\n{EMPTY}")).await;
            continue;
        }
        if request.body.get("id").is_none() {
            conn.write(format!("HTTP/1.1 202 Accepted\r\n{EMPTY}")).await;
            continue;
        }
        let result = result_of(&request.body);
        if request.is("initialize") {
            conn.write(answered("200 OK", SESSION, &result)).await;
            continue;
        }
        let is_known = request.header("mcp-session-id") == Some("id-1");
        if !is_known && request.header("mcp-protocol-version") != Some("2026-07-28") {
            let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32600, "message": "no" } });
            // An id on an error is no session's.
            conn.write(answered("404 Not Found", "Mcp-Session-Id: dead\r\n", &error)).await;
            continue;
        }
        match request.body["params"]["name"].as_str() {
            Some("mute") => return conn.closed().await,
            Some("half") => {
                conn.write(STREAM).await;
                conn.last_chunk().await;
            }
            Some("unknown") => {
                let error = json!({ "code": -32601, "message": "no such method" });
                let error = json!({ "jsonrpc": "2.0", "id": request.body["id"], "error": error });
                conn.write(answered("404 Not Found", "", &error)).await;
            }
            Some("long") => {
                let long =
                    json!({ "jsonrpc": "2.0", "id": request.body["id"], "result": "x".repeat(100_000) });
                conn.write(answered("200 OK", "", &long)).await;
            }
            Some(name @ ("stream" | "open")) => {
                let token = &request.body["params"]["_meta"]["progressToken"];
                let params = json!({ "progressToken": token, "progress": 1 });
                let progress =
                    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
                conn.write(STREAM).await;
                conn.chunk(&format!("data: {progress}\r\n\r\n")).await;
                conn.chunk(&format!("event: message\r\ndata: {result}\r\n\r\n")).await;
                if name == "open" {
                    return conn.closed().await;
                }
                conn.last_chunk().await;
            }
            _ => conn.write(answered("200 OK", "", &result)).await,
        }
    }
}

async fn hub(ip: &str) -> (Fake, Arc<Mutex<Vec<Seen>>>) {
    let log: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let shared = Arc::clone(&log);
    (Fake::start(ip, move |conn| serve(conn, Arc::clone(&shared))).await, log)
}

#[tokio::test]
async fn a_session_is_opened_used_and_deleted() {
    let (fake, log) = hub("127.44.1.1").await;
    let (client, recorder) = client("127.44.1.2");
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    assert_eq!(session.id(), Some("id-1"));
    assert!(matches!(session.call(&target, "echo", json!({})).await, Outcome::Result(_)));
    assert_eq!(session.end(&target).await, Outcome::Accepted);

    let entries = finished(&recorder).await;
    assert_eq!(
        lines(&entries),
        ["POST /mcp fresh", "POST /mcp fresh", "POST /mcp fresh", "DELETE /mcp fresh"]
    );
    assert_eq!(ends(&entries), vec![End::Complete; 4]);
    assert_eq!(fake.accepted(), 4);
    let log = log.lock().unwrap().clone();
    assert_eq!(log[0].body["params"]["protocolVersion"], "2025-11-25");
    assert_eq!((log[0].header("mcp-session-id"), log[0].header("mcp-protocol-version")), (None, None));
    for seen in &log[1..] {
        assert_eq!(seen.header("mcp-session-id"), Some("id-1"));
        assert_eq!(seen.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    for seen in &log[..3] {
        assert_eq!(seen.header("accept"), Some("application/json, text/event-stream"));
    }
}

#[tokio::test]
async fn an_answer_may_be_an_event_stream_with_progress() {
    let (fake, _) = hub("127.44.2.1").await;
    let (client, recorder) = client("127.44.2.2");
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    let params = json!({ "name": "stream" });
    let mut call = session.start(&target, "tools/call", params, Duration::ZERO, Progress::Asked).await;
    assert!(call.progressed(Duration::from_secs(5)).await);
    assert!(!call.progressed(Duration::from_secs(5)).await);
    let outcome = call.outcome().await;
    let echo = json!({ "echo": { "name": "stream", "_meta": { "progressToken": 2 } } });
    assert_eq!(outcome, Outcome::Result(echo));
    assert_eq!(ends(&finished(&recorder).await), vec![End::Complete; 3]);
}

#[tokio::test]
async fn a_stream_left_open_after_its_answer_is_closed() {
    let (fake, _) = hub("127.44.3.1").await;
    let (client, recorder) = client_with("127.44.3.2", short(), Dialect::default());
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    assert!(matches!(session.call(&target, "open", json!({})).await, Outcome::Result(_)));
    assert_eq!(ends(&finished(&recorder).await).pop(), Some(End::ClosedByClient));
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let (fake, _) = hub("127.44.4.1").await;
    let (client, recorder) = client_with("127.44.4.2", short(), Dialect::default());
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    assert_eq!(session.call(&target, "mute", json!({})).await, Outcome::Silent);
    assert_eq!(session.call(&target, "half", json!({})).await, Outcome::Ended(End::Complete));
    // Whatever its body says, an HTTP error is one.
    let outcome = session.call(&target, "unknown", json!({})).await;
    assert!(matches!(outcome, Outcome::Http { status: 404, body: Body::Json(_), .. }), "{outcome:?}");
    let outcome = session.call(&target, "long", json!({})).await;
    assert!(matches!(outcome, Outcome::Result(Value::String(text)) if text.len() == 100_000));

    let twin = session.with_id(session.made_up_id().unwrap());
    assert!(twin.id().is_some_and(|id| id != "id-1" && id.len() == 4), "{:?}", twin.id());
    let outcome = twin.call(&target, "echo", json!({})).await;
    assert!(matches!(outcome, Outcome::Http { status: 404, body: Body::Json(_), .. }), "{outcome:?}");
    finished(&recorder).await;
}

#[tokio::test]
async fn a_held_call_gets_more_time() {
    let (fake, _) = hub("127.44.5.1").await;
    let (client, recorder) = client_with("127.44.5.2", short(), Dialect::default());
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    let hold = Duration::from_millis(300);
    let call = session.start(&target, "tools/call", json!({ "name": "mute" }), hold, Progress::No).await;
    assert_eq!(call.outcome().await, Outcome::Silent);
    let end = ends(&finished(&recorder).await).pop();
    assert_eq!(end, Some(End::TimedOut { waiting_for: "head".to_owned(), limit_ms: 900 }));
}

#[tokio::test]
async fn the_get_stream_is_opened_on_demand_and_closed_at_the_end() {
    let (fake, _) = hub("127.44.6.1").await;
    let (client, recorder) = client_with("127.44.6.2", short(), Dialect::default());
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    assert!(!session.stream_is_open());
    assert_eq!(session.listen(&target).await, Listening::Streaming);
    assert!(session.stream_is_open());
    assert_eq!(session.end(&target).await, Outcome::Accepted);
    assert!(!session.stream_is_open());
    assert_eq!(ends(&finished(&recorder).await).pop(), Some(End::ClosedByClient));

    let none = Fake::saying("127.44.6.1", format!("HTTP/1.1 405 Method Not Allowed\r\n{EMPTY}")).await;
    assert_eq!(session.listen(&none.target()).await, Listening::NotOffered(Some(405)));
    let busy = Fake::saying("127.44.6.1", format!("HTTP/1.1 409 Conflict\r\n{EMPTY}")).await;
    let listening = session.listen(&busy.target()).await;
    assert!(matches!(listening, Listening::Failed(Outcome::Http { status: 409, .. })), "{listening:?}");
}

#[tokio::test]
async fn a_pending_request_that_is_dropped_is_closed() {
    let (fake, _) = hub("127.44.7.1").await;
    let (client, recorder) = client("127.44.7.2");
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    let params = json!({ "name": "mute" });
    let call = session.start(&target, "tools/call", params, Duration::ZERO, Progress::No).await;
    drop(call);
    assert_eq!(ends(&finished(&recorder).await).pop(), Some(End::ClosedByClient));
}

/// When `start` returns, the hub can read the whole request, whatever happens next.
#[tokio::test]
async fn a_started_request_has_been_written() {
    let (fake, log) = hub("127.44.8.1").await;
    let (client, _) = client("127.44.8.2");
    let target = fake.target();
    let session = client.open(Transport::Streamable, &target).await.unwrap();
    for n in 0..20 {
        let before = log.lock().unwrap().len();
        let params = json!({ "name": "mute", "n": n });
        drop(session.start(&target, "tools/call", params, Duration::ZERO, Progress::No).await);
        let arrived = async {
            while log.lock().unwrap().len() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), arrived).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_initialize_is_the_outcome() {
    let (client, recorder) = client("127.44.9.2");
    let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32602, "message": "bad version" } });
    let fake = Fake::saying("127.44.9.1", answered("200 OK", SESSION, &error)).await;
    let outcome = client.open(Transport::Streamable, &fake.target()).await.unwrap_err();
    assert_eq!(outcome, Outcome::Error { code: -32602, message: "bad version".to_owned() });
    assert!(!finished(&recorder).await.iter().any(|entry| matches!(entry.what, What::Session { .. })));
}

#[tokio::test]
async fn a_stateless_conversation_needs_no_exchange_and_says_all_in_each_request() {
    let (fake, log) = hub("127.44.10.1").await;
    let (client, recorder) = client("127.44.10.2");
    let target = fake.target();
    let session = client.open(Transport::Stateless, &target).await.unwrap();
    assert_eq!(fake.accepted(), 0);
    assert_eq!(session.id(), None);
    assert_eq!(session.listen(&target).await, Listening::NotOffered(None));
    let params = json!({ "name": "stream", "arguments": {} });
    let mut call = session.start(&target, "tools/call", params, Duration::ZERO, Progress::Asked).await;
    assert!(call.progressed(Duration::from_secs(5)).await);
    assert!(matches!(call.outcome().await, Outcome::Result(_)));
    assert_eq!(session.end(&target).await, Outcome::Accepted);
    assert_eq!(lines(&finished(&recorder).await), ["POST /mcp fresh"]);

    let seen = log.lock().unwrap().remove(0);
    assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(seen.header("mcp-method"), Some("tools/call"));
    assert_eq!(seen.header("mcp-name"), Some("stream"));
    assert_eq!(seen.header("mcp-session-id"), None);
    let meta = &seen.body["params"]["_meta"];
    assert_eq!(meta["progressToken"], 1);
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
}
