//! What one replica does on the wire.

mod support;

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use support::{
    ACCEPT, Hub, JSON, LIMIT, Stream, call, exchange, initialize, read_answer, result_text, send, sse_session,
};

#[test]
fn what_cannot_be_read_leaves_the_session_alive() {
    let hub = Hub::start(&["--body-limit", "10000"]);
    let (mut stream, path) = sse_session(&hub);
    let post = |body: &[u8]| exchange(hub.address, "POST", &path, &JSON, body);
    assert_eq!(post(b"{").status, 400);
    assert_eq!(post(b"[]").status, 400);
    assert_eq!(post(&[b' '; 20_000]).status, 413);
    let mut chunked = TcpStream::connect(hub.address).unwrap();
    chunked.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        chunked,
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n4e20\r\n{}\r\n0\r\n\r\n",
        " ".repeat(20_000)
    )
    .unwrap();
    assert_eq!(read_answer(chunked).status, 413);
    assert_eq!(hub.post("/messages", &initialize(1)).status, 400);
    assert_eq!(hub.post("/messages?session_id=__proto__", &initialize(1)).status, 400);
    let unknown = hub.post("/messages?session_id=550e8400-e29b-41d4-a716-446655440000", &initialize(1));
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "Could not find session"));
    assert_eq!(hub.post(&path, &call(1, "echo", json!({"text": "alive"}))).status, 202);
    assert_eq!(result_text(&stream.answer(1)), "alive");
}

/// Found by the fuzzer: the second took the first one's place, whose client waited for ever.
#[test]
fn a_request_with_the_id_of_a_running_call_is_refused_and_the_call_is_answered() {
    let hub = Hub::start(&[]);
    let held = call(7, "tally", json!({"key": "k", "hold_ms": 3000, "add": 3}));
    let again = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    let (mut stream, path) = sse_session(&hub);
    assert_eq!(hub.post(&path, &held).status, 202);
    let refused = hub.post(&path, &again);
    assert_eq!((refused.status, refused.body.as_str()), (400, REPEATED));
    assert_eq!(result_text(&stream.answer(7)), "3");
    assert_eq!(hub.post(&path, &again).status, 202, "it runs no more");
    let session = hub.initialize();
    let headers = [JSON[0], ACCEPT, ("Connection", "close"), ("Mcp-Session-Id", session.as_str())];
    let running = send(hub.address, "POST", "/mcp", &headers, held.to_string().as_bytes());
    hub.until("the call runs", |hub| {
        hub.mcp(&session, "POST", &call(8, "tally", json!({"key": "k", "add": 0}))).text() == "6"
    });
    let refused = hub.mcp(&session, "POST", &again);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains(REPEATED), "{}", refused.body);
    assert_eq!(read_answer(running).text(), "6");
    assert_eq!(hub.mcp(&session, "POST", &again).status, 200);
}

/// What is said about a second call with an id.
const REPEATED: &str = "Invalid request: a call with this id is in flight";

#[test]
fn streamable_says_what_is_wrong() {
    let hub = Hub::start(&["--body-limit", "10000"]);
    let session = hub.initialize();
    let mcp = |body: &[u8]| {
        let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session.as_str())];
        exchange(hub.address, "POST", "/mcp", &headers, body)
    };
    assert_eq!(mcp(b"{").status, 400);
    assert_eq!(mcp(&[b' '; 20_000]).status, 413);
    assert_eq!(hub.mcp("never-issued-0123456789", "POST", &call(1, "whoami", json!({}))).status, 404);
    let without = exchange(
        hub.address,
        "POST",
        "/mcp",
        &[JSON[0], ACCEPT],
        call(1, "whoami", json!({})).to_string().as_bytes(),
    );
    assert_eq!(without.status, 400);
    assert_eq!(exchange(hub.address, "PUT", "/mcp", &[], b"").status, 405);
    assert_eq!(mcp(call(1, "echo", json!({"text": "alive"})).to_string().as_bytes()).text(), "alive");
}

#[test]
fn version_negotiation() {
    let hub = Hub::start(&[]);
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let mut message = initialize(1);
        message["params"]["protocolVersion"] = json!(asked);
        let (mut stream, path) = sse_session(&hub);
        assert_eq!(hub.post(&path, &message).status, 202);
        let answer: Value = serde_json::from_str(&stream.answer(1)).unwrap();
        assert_eq!(answer["result"]["protocolVersion"], agreed, "asked for {asked}");
        assert_eq!(hub.post(&path, &json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})).status, 202);
        assert!(stream.answer(2).contains("\"result\":{}"));
    }
}

#[test]
fn only_listed_origins() {
    let hub = Hub::start(&["--allow-origin", "https://app.example"]);
    for (path, method) in [("/sse", "GET"), ("/messages?session_id=x", "POST"), ("/mcp", "POST")] {
        assert_eq!(
            exchange(hub.address, method, path, &[("Origin", "http://evil.example")], b"").status,
            403,
            "{path}"
        );
    }
    let allowed = Stream::open(
        hub.address,
        "/sse",
        &[("Origin", "https://app.example"), ("MCP-Protocol-Version", "2025-11-25")],
    );
    assert!(allowed.head.starts_with("HTTP/1.1 200"), "{}", allowed.head);
}

#[test]
fn an_old_client_and_a_wrong_path() {
    let hub = Hub::start(&[]);
    let mut socket = TcpStream::connect(hub.address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    write!(socket, "GET /sse HTTP/1.0\r\n\r\n").unwrap();
    let mut stream = Stream::of(socket);
    let path = stream.data().unwrap();
    let body = call(1, "whoami", json!({})).to_string();
    let mut post = TcpStream::connect(hub.address).unwrap();
    write!(
        post,
        "POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    assert_eq!(read_answer(post).status, 202);
    stream.answer(1);
    let nowhere = hub.get("/");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("/sse") && nowhere.body.contains("/mcp"), "{}", nowhere.body);
    assert_eq!(exchange(hub.address, "HEAD", "/sse", &[], b"").status, 200);
}

#[test]
fn an_idle_session_ends_and_one_with_a_stream_does_not() {
    let hub = Hub::start(&["--session-idle", "1s"]);
    let (mut stream, path) = sse_session(&hub);
    let used = hub.initialize();
    let _stream = Stream::open(hub.address, "/mcp", &[ACCEPT, ("Mcp-Session-Id", used.as_str())]);
    // Younger than the others: when it has ended, they would have, too. To ask is to use it: that must be seldom.
    let idle = hub.initialize();
    hub.until("the idle session ends", |hub| {
        let begun = std::time::Instant::now();
        hub.until("two idle times have passed", |_| begun.elapsed().as_millis() > 2000);
        hub.mcp(&idle, "POST", &call(1, "echo", json!({"text": "x"}))).status == 404
    });
    assert_eq!(hub.mcp(&used, "POST", &call(2, "echo", json!({"text": "x"}))).status, 200);
    assert_eq!(hub.post(&path, &call(3, "echo", json!({"text": "x"}))).status, 202);
    assert_eq!(result_text(&stream.answer(3)), "x");
}

#[test]
fn answers_that_nobody_reads_fill_the_queue_and_not_the_memory() {
    let hub = Hub::start(&["--queue", "8"]);
    let (_unread, path) = sse_session(&hub);
    let text = "x".repeat(1 << 20);
    // What the queue, the channel and the buffers of both sockets hold is taken before.
    let refused =
        (1..=100).find(|id| hub.post(&path, &call(*id, "echo", json!({"text": text}))).status == 503);
    assert!(refused.is_some(), "100 MiB of answers wait for a client that reads none");
}

#[test]
fn more_calls_than_the_queue_holds_are_refused() {
    let hub = Hub::start(&["--queue", "2"]);
    let (mut stream, path) = sse_session(&hub);
    let hold = json!({"key": "k", "hold_ms": 60_000});
    for id in [1, 2] {
        assert_eq!(hub.post(&path, &call(id, "tally", hold.clone())).status, 202);
        stream.data().expect("the call has begun");
    }
    assert_eq!(hub.post(&path, &call(3, "tally", hold)).status, 503);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(hub.post(&path, &cancel).status, 202);
    assert_eq!(hub.post(&path, &call(4, "tally", json!({"key": "k", "add": 0}))).status, 202);
    assert_eq!(result_text(&stream.answer(4)), "2");
}

#[test]
fn requests_without_a_session() {
    let hub = Hub::start(&[]);
    let meta = |version: &str| {
        json!({"io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}})
    };
    let ask = |version: &str, method: &str, named: &str, params: Value| {
        let mut params = params;
        params["_meta"] = meta(version);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let headers = [
            JSON[0],
            ACCEPT,
            ("MCP-Protocol-Version", version),
            ("Mcp-Method", named),
            ("Mcp-Name", "echo"),
            ("Mcp-Session-Id", "stale-0123456789"),
        ];
        let answer = exchange(hub.address, "POST", "/mcp", &headers, body.as_bytes());
        let code =
            serde_json::from_str::<Value>(&answer.body).ok().and_then(|body| body["error"]["code"].as_i64());
        (answer.status, code)
    };
    let echo = json!({"name": "echo", "arguments": {"text": "x"}});
    assert_eq!(ask("2026-07-28", "tools/call", "tools/call", echo.clone()), (200, None));
    assert_eq!(ask("2026-07-28", "tools/call", "tools/list", echo.clone()), (400, Some(-32020)));
    assert_eq!(ask("2026-07-28", "nope", "nope", json!({})), (404, Some(-32601)));
    assert_eq!(ask("2026-07-28", "server/discover", "server/discover", json!({})), (200, None));
    assert_eq!(ask("2099-01-01", "tools/call", "tools/call", echo), (400, Some(-32022)));
}

#[test]
fn batches_of_2025_03_26() {
    let hub = Hub::start(&[]);
    let session = hub.initialize();
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    let told = json!({"jsonrpc": "2.0", "method": "notifications/told"});
    let post = |version: Option<&'static str>, batch: Value| {
        let mut headers = vec![JSON[0], ACCEPT, ("Mcp-Session-Id", session.as_str())];
        headers.extend(version.map(|version| ("MCP-Protocol-Version", version)));
        exchange(hub.address, "POST", "/mcp", &headers, batch.to_string().as_bytes())
    };
    for version in [None, Some("2025-03-26")] {
        let answer = post(version, json!([ping, told, call(8, "echo", json!({"text": "x"}))]));
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("\"id\":7") && answer.body.contains("\"id\":8"), "{}", answer.body);
    }
    let answer = post(None, json!([told, told]));
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    for (version, batch) in
        [(None, json!([])), (None, json!([ping, {"a": 1}])), (Some("2025-06-18"), json!([ping]))]
    {
        assert_eq!(post(version, batch.clone()).status, 400, "{batch}");
    }
}

/// A request of 2026-07-28 whose answer is left unread.
fn modern(hub: &Hub, id: u64, method: &str, mut params: Value) -> TcpStream {
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": id,
        "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let headers = [
        JSON[0],
        ACCEPT,
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
        ("Mcp-Name", name.as_str()),
    ];
    support::send(hub.address, "POST", "/mcp", &headers, body.as_bytes())
}

#[test]
fn a_subscription_is_acknowledged_and_ends_well_when_the_replica_stops() {
    let mut hub = Hub::start(&["--drain-delay", "200ms"]);
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut stream = Stream::of(modern(&hub, 7, "subscriptions/listen", listen));
    let acknowledged = stream.data().expect("an acknowledgement");
    assert!(acknowledged.contains("notifications/subscriptions/acknowledged"), "{acknowledged}");
    hub.signal(rustix::process::Signal::TERM);
    let result: Value = serde_json::from_str(&stream.answer(7)).unwrap();
    assert_eq!(result["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
    assert!(stream.ends_cleanly());
    assert_eq!(hub.exited().code(), Some(0));
}

#[test]
fn a_call_without_a_session_ends_with_its_connection() {
    let hub = Hub::start(&[]);
    let count = || {
        let read = json!({"name": "tally", "arguments": {"key": "k", "add": 0}});
        let mut stream = Stream::of(modern(&hub, 1, "tools/call", read));
        result_text(&stream.answer(1)).parse::<u64>().unwrap()
    };
    let work = json!({"name": "work", "arguments": {"key": "k", "n": 1_000_000, "interval_ms": 1}});
    let mut stream = Stream::of(modern(&hub, 2, "tools/call", work));
    stream.data().expect("the call has begun");
    drop(stream);
    let pass = || {
        let begun = std::time::Instant::now();
        hub.until("some time has passed", |_| begun.elapsed() > std::time::Duration::from_millis(50));
    };
    // Two readings in a row may be equal although the work goes on.
    hub.until("the counter stands still", |_| {
        let before = count();
        pass();
        count() == before
    });
    let stopped = count();
    pass();
    assert_eq!(count(), stopped);
}
