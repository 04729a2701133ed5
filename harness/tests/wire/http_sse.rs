//! HTTP+SSE conversations.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use harness::plan::Transport;
use harness::transcript::{Body, End, What};
use harness::wire::{Dialect, Listening, Outcome, Progress};
use serde_json::{Value, json};

use crate::fake::{self, Fake, SseHub, client, client_with, ends, finished, frames, lines, short};

#[tokio::test]
async fn a_conversation_is_recorded_from_stream_to_end() {
    let hub = SseHub::start("127.41.1.1", "\r\n").await;
    let target = hub.fake.target();
    let (client, recorder) = client("127.41.1.2");

    let session = client.open(Transport::Sse, &target).await.unwrap();
    assert_eq!(session.id(), Some("00ff42"));
    assert!(session.stream_is_open());
    assert_eq!(session.listen(&target).await, Listening::Streaming);
    let outcome = session.call(&target, "echo", json!({ "text": "hi" })).await;
    assert_eq!(
        outcome,
        Outcome::Result(json!({ "echo": { "name": "echo", "arguments": { "text": "hi" } } }))
    );
    assert_eq!(session.end(&target).await, Outcome::Accepted);
    assert!(!session.stream_is_open());

    let entries = finished(&recorder).await;
    let post = "POST /messages/?session_id=00ff42 fresh";
    assert_eq!(lines(&entries), ["GET /sse fresh", post, post, post]);
    let posted: Vec<Value> = fake::requests(&entries)
        .into_iter()
        .filter_map(|request| match request.body {
            Some(Body::Json(message)) => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(posted[0]["params"]["protocolVersion"], "2024-11-05");
    assert_eq!([&posted[0]["id"], &posted[1]["id"], &posted[2]["id"]], [&json!(1), &Value::Null, &json!(2)]);
    assert_eq!(frames(&entries)[1].comments, ["hi"]);
    assert_eq!(ends(&entries).pop(), Some(End::ClosedByClient));
    assert!(
        matches!(&entries.last().unwrap().what, What::SessionEnded { id: Some(id), .. } if id == "00ff42")
    );

    // A connection per request, each from the client's own address.
    assert_eq!(hub.fake.accepted(), 4);
    let local = |what: &What| match what {
        What::Connected { from, .. } => Some(from.ip().to_string()),
        _ => None,
    };
    let sources: Vec<_> = entries.iter().filter_map(|entry| local(&entry.what)).collect();
    assert_eq!(sources, ["127.41.1.2"; 4]);
    for seen in hub.seen() {
        let wants = if seen.line.starts_with("GET") {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        assert_eq!(seen.header("accept"), Some(wants));
        assert_eq!(seen.header("mcp-protocol-version"), None);
    }
}

#[tokio::test]
async fn frames_may_end_in_cr_alone() {
    let hub = SseHub::start("127.41.2.1", "\r").await;
    let (client, _) = client("127.41.2.2");
    let session = client.open(Transport::Sse, &hub.fake.target()).await.unwrap();
    assert!(session.call(&hub.fake.target(), "echo", json!({})).await.result().is_some());
}

#[tokio::test]
async fn a_404_on_a_post_is_an_outcome_and_the_session_lives() {
    let hub = SseHub::start("127.41.3.1", "\n").await;
    let (client, _) = client("127.41.3.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let body = Body::Text("Could not find session".to_owned());
    let outcome = session.call(&target, "gone", json!({})).await;
    assert_eq!(outcome, Outcome::Http { status: 404, body, retry_after: None });
    assert!(session.request(&target, "tools/list", Value::Null).await.result().is_some());
}

#[tokio::test]
async fn a_cut_stream_ends_the_call_at_once() {
    let hub = SseHub::start("127.41.4.1", "\n").await;
    let (client, recorder) = client("127.41.4.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let outcome = session.call(&target, "cut", json!({})).await;
    assert!(matches!(outcome, Outcome::Ended(End::Cut { .. })), "{outcome:?}");
    assert!(session.stream_ended(Duration::ZERO).await);
    assert!(!session.stream_is_open());
    assert!(ends(&finished(&recorder).await).iter().any(|end| matches!(end, End::Cut { .. })));
    let outcome = session.call(&target, "echo", json!({})).await;
    assert!(matches!(outcome, Outcome::Ended(End::Cut { .. })), "{outcome:?}");
}

#[tokio::test]
async fn progress_comes_before_the_outcome() {
    let hub = SseHub::start("127.41.5.1", "\n").await;
    let (client, _) = client("127.41.5.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let params = json!({ "name": "count" });
    let mut call = session.start(&target, "tools/call", params, Duration::ZERO, Progress::Asked).await;
    assert_eq!(call.id(), &json!(2));
    let limit = Duration::from_secs(5);
    assert!(call.progressed(limit).await);
    assert!(call.progressed(limit).await);
    assert!(!call.progressed(limit).await);
    assert!(matches!(call.outcome().await, Outcome::Result(_)));
}

#[tokio::test]
async fn progress_may_come_before_the_post_is_answered() {
    let hub = SseHub::start("127.41.11.1", "\n").await;
    let (client, _) = client("127.41.11.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let params = json!({ "name": "late" });
    let mut call = session.start(&target, "tools/call", params, Duration::ZERO, Progress::Asked).await;
    let limit = Duration::from_secs(5);
    assert!(call.progressed(limit).await);
    assert!(!call.posted(Duration::from_millis(50)).await);
    session.send(&target, session.raw_notification("notifications/go", json!({}))).await;
    assert!(call.posted(limit).await);
    assert!(matches!(call.outcome().await, Outcome::Result(_)));
}

#[tokio::test]
async fn an_unanswered_call_is_silent_at_the_limit() {
    let hub = SseHub::start("127.41.6.1", "\n").await;
    let (client, recorder) = client_with("127.41.6.2", short(), Dialect::default());
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    assert_eq!(session.call(&target, "mute", json!({})).await, Outcome::Silent);
    assert!(session.stream_is_open());
    assert!(!session.stream_ended(Duration::from_millis(10)).await);
    drop(session);
    assert_eq!(ends(&finished(&recorder).await).pop(), Some(End::ClosedByClient));
}

#[tokio::test]
async fn the_hub_s_own_requests_are_answered() {
    let hub = SseHub::start("127.41.7.1", "\n").await;
    let (client, _) = client("127.41.7.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let outcome = session.call(&target, "ask", json!({})).await;
    let replies = json!([
        { "jsonrpc": "2.0", "id": "p", "result": {} },
        { "jsonrpc": "2.0", "id": "s", "error": { "code": -32601, "message": "method not found" } },
    ]);
    assert_eq!(outcome, Outcome::Result(replies));
}

#[tokio::test]
async fn a_twin_posts_to_its_own_id_and_has_no_stream() {
    let hub = SseHub::start("127.41.8.1", "\n").await;
    let (client, _) = client("127.41.8.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    let id = session.made_up_id().unwrap();
    assert_eq!(id.len(), 6);
    let twin = session.with_id(id.clone());
    assert_eq!(twin.id(), Some(id.as_str()));
    assert!(!twin.stream_is_open());
    assert_eq!(twin.request(&target, "ping", Value::Null).await, Outcome::Accepted);
    assert_eq!(hub.seen().pop().unwrap().line, format!("POST /messages/?session_id={id} HTTP/1.1"));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_an_outcome() {
    let (client, recorder) = client_with("127.41.9.2", short(), Dialect::default());
    let no_endpoint = Fake::start("127.41.9.1", |mut conn| async move {
        conn.request().await;
        conn.write(fake::STREAM).await;
        conn.chunk(": ping\n\n").await;
        conn.closed().await;
    })
    .await;
    assert_eq!(client.open(Transport::Sse, &no_endpoint.target()).await.unwrap_err(), Outcome::Silent);
    let end = ends(&finished(&recorder).await).pop();
    assert_eq!(end, Some(End::TimedOut { waiting_for: "endpoint".to_owned(), limit_ms: 600 }));

    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
    let busy = Fake::saying("127.41.9.1", busy).await;
    let outcome = client.open(Transport::Sse, &busy.target()).await.unwrap_err();
    let body = Body::Text(String::new());
    assert_eq!(outcome, Outcome::Http { status: 503, body, retry_after: Some(3) });

    let complete = Fake::saying("127.41.9.1", format!("{}0\r\n\r\n", fake::STREAM)).await;
    let outcome = client.open(Transport::Sse, &complete.target()).await.unwrap_err();
    assert_eq!(outcome, Outcome::Ended(End::Complete));

    let bad = Fake::start("127.41.9.1", |mut conn| async move {
        conn.request().await;
        conn.write(fake::STREAM).await;
        conn.chunk("event: endpoint\ndata: http://[\n\n").await;
        conn.closed().await;
    })
    .await;
    let outcome = client.open(Transport::Sse, &bad.target()).await.unwrap_err();
    assert!(matches!(outcome, Outcome::Ended(End::Malformed { .. })), "{outcome:?}");
    finished(&recorder).await;
}

/// An independent client of the same server sees the same events.
#[tokio::test]
async fn reqwest_and_eventsource_stream_see_the_same_events() {
    let hub = SseHub::start("127.41.10.1", "\r\n").await;
    let (client, recorder) = client("127.41.10.2");
    let target = hub.fake.target();
    let session = client.open(Transport::Sse, &target).await.unwrap();
    session.call(&target, "count", json!({})).await;
    session.end(&target).await;
    let ours: Vec<(String, String)> = frames(&finished(&recorder).await)
        .into_iter()
        .filter_map(|frame| Some((frame.event_type().to_owned(), frame.data?)))
        .collect();

    let independent = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", hub.fake.addr);
    let stream = independent.get(format!("{base}/sse")).send().await.unwrap().bytes_stream();
    let mut events = stream.eventsource();
    let mut theirs = Vec::new();
    let endpoint = events.next().await.unwrap().unwrap();
    let posts: Vec<Value> =
        hub.seen().into_iter().map(|seen| seen.body).filter(|body| !body.is_null()).collect();
    let url = format!("{base}/{}", endpoint.data);
    theirs.push((endpoint.event, endpoint.data));
    for message in posts {
        independent.post(&url).json(&message).send().await.unwrap();
    }
    while theirs.len() < ours.len() {
        let event = events.next().await.unwrap().unwrap();
        theirs.push((event.event, event.data));
    }
    assert_eq!(ours.len(), 5);
    assert_eq!(theirs, ours);
}
