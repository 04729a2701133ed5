//! An MCP client made of `reqwest` and `eventsource-stream`, which share nothing with the harness' own.

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event, Eventsource};
use futures_util::{Stream, StreamExt};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// How long anything may take that is answered at once, and a call beyond the time that it was told to take.
const SOON: Duration = Duration::from_secs(20);

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "2025-11-25";

type Events = Pin<Box<dyn Stream<Item = Result<Event, String>> + Send>>;

/// A session of Streamable HTTP.
pub(crate) struct Streamable {
    id: String,
}

/// A session of HTTP+SSE.
pub(crate) struct Sse {
    /// Where its messages go, without the hub's address.
    path: String,
    events: Events,
}

/// A client without a pool, proxy or second try.
pub(crate) fn http() -> Client {
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0).retry(reqwest::retry::never());
    client.build().expect("a client without TLS is made of nothing")
}

/// A call of a tool.
pub(crate) fn tool(id: u64, name: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({ "name": name, "arguments": arguments }))
}

pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// The text of a tool's result.
pub(crate) fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

// === impl Streamable ===

impl Streamable {
    /// Opens a session at a hub.
    pub(crate) async fn open(hub: &str) -> Self {
        let response = sent(post(hub).json(&initialize(VERSION))).await;
        let id =
            response.headers().get(SESSION).and_then(|id| id.to_str().ok()).expect("a session has an id");
        let session = Self { id: id.to_owned() };
        let answer = answer(response, 0).await;
        assert_eq!(answer["result"]["protocolVersion"], VERSION, "{answer}");
        let accepted = sent(session.post(hub).json(&initialized())).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        session
    }

    /// Sends a request to this hub, the session's own or another; returns when the head of its answer is there, which a
    /// call gets when it begins.
    pub(crate) async fn begin(&self, hub: &str, request: &Value) -> Response {
        let response = sent(self.post(hub).json(request)).await;
        assert_eq!(response.status(), StatusCode::OK, "{request}");
        response
    }

    /// The answer to a request.
    pub(crate) async fn ask(&self, hub: &str, request: &Value) -> Value {
        answer(self.begin(hub, request).await, request["id"].as_u64().expect("our ids are numbers")).await
    }

    fn post(&self, hub: &str) -> RequestBuilder {
        post(hub).header(SESSION, &self.id).header("mcp-protocol-version", VERSION)
    }
}

/// The answer with this id on a stream.
pub(crate) async fn answer(response: Response, id: u64) -> Value {
    answer_among(&mut events(response), id).await
}

fn post(hub: &str) -> RequestBuilder {
    http().post(format!("{hub}/mcp")).header("accept", "application/json, text/event-stream")
}

// === impl Sse ===

impl Sse {
    /// Opens a session at a hub.
    pub(crate) async fn open(hub: &str) -> Self {
        let response = sent(http().get(format!("{hub}/sse")).header("accept", "text/event-stream")).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut events = events(response);
        let endpoint = next(&mut events).await.expect("a stream begins with an event");
        assert_eq!(endpoint.event, "endpoint");
        let mut session = Self { path: endpoint.data, events };
        let answer = session.ask(hub, &initialize("2024-11-05")).await;
        assert!(answer["result"]["serverInfo"].is_object(), "{answer}");
        session.send(hub, &initialized()).await;
        session
    }

    /// Sends a message to this hub, the session's own or another, which accepts it.
    pub(crate) async fn send(&mut self, hub: &str, message: &Value) {
        let accepted = sent(http().post(format!("{hub}{}", self.path)).json(message)).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED, "{message}");
    }

    /// The answer to a request.
    pub(crate) async fn ask(&mut self, hub: &str, request: &Value) -> Value {
        self.send(hub, request).await;
        self.answer(request["id"].as_u64().expect("our ids are numbers")).await
    }

    /// The answer with this id.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        answer_among(&mut self.events, id).await
    }

    /// Waits until the stream ends as it should, with its last chunk.
    pub(crate) async fn end(&mut self) {
        while let Some(event) = next(&mut self.events).await {
            assert_ne!(event.event, "message", "nothing was asked: {}", event.data);
        }
    }
}

// === helpers ===

fn initialize(version: &str) -> Value {
    let client = json!({ "name": "on-docker-image", "version": "0" });
    request(0, "initialize", json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client }))
}

fn initialized() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

/// Sends a request; what comes back, as far as its head.
async fn sent(request: RequestBuilder) -> Response {
    let response = tokio::time::timeout(SOON, request.send()).await;
    let response = response.unwrap_or_else(|_| panic!("no answer within {SOON:?}"));
    response.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

fn events(response: Response) -> Events {
    let events = response.bytes_stream().eventsource();
    Box::pin(events.map(|event| event.map_err(|error| format!("{error:?}"))))
}

/// The next event; none when the stream ends as it should.
async fn next(events: &mut Events) -> Option<Event> {
    let event = tokio::time::timeout(SOON, events.next()).await;
    let event = event.unwrap_or_else(|_| panic!("nothing on the stream within {SOON:?}"));
    event.map(|event| event.unwrap_or_else(|error| panic!("the stream was cut: {error}")))
}

async fn answer_among(events: &mut Events, id: u64) -> Value {
    loop {
        let event = next(events).await.unwrap_or_else(|| panic!("the stream ended without answer {id}"));
        // A stream that can be resumed begins with an event without data.
        let message: Value = serde_json::from_str(&event.data).unwrap_or_default();
        if message["id"] == id {
            return message;
        }
    }
}
