//! Whatever bytes come: the hub answers, forgets them, and serves others meanwhile.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    ACCEPT, Answer, Hub, JSON, LIMIT, Stream, call, exchange, initialize, read_answer, result_text, send,
    sse_session,
};

/// The hub's own limit for a body, when none is given.
const BODY_LIMIT: usize = 4 << 20;

/// How deep a body is nested here: far beyond any stack.
const LEVELS: usize = 100_000;

/// Slow clients at a time.
const SLOW: usize = 200;

/// What a slow client may cost, in kB: its connection's buffer, and no body that has not come.
const SLOW_COST: usize = 64;

/// An `echo` call of exactly so many bytes.
fn echo_of(length: usize) -> Vec<u8> {
    let empty = call(7, "echo", json!({"text": ""})).to_string().len();
    call(7, "echo", json!({"text": "x".repeat(length - empty)})).to_string().into_bytes()
}

fn mcp(hub: &Hub, session: &str, body: &[u8]) -> Answer {
    exchange(hub.address, "POST", "/mcp", &[JSON[0], ACCEPT, ("Mcp-Session-Id", session)], body)
}

/// The sessions still work, and the process is the one that was started.
fn is_well(hub: &mut Hub, session: &str) {
    assert_eq!(
        mcp(hub, session, call(9, "echo", json!({"text": "well"})).to_string().as_bytes()).text(),
        "well"
    );
    assert!(hub.child.try_wait().expect("the hub can be waited for").is_none(), "{}", hub.log());
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

/// The status of an answer to raw bytes; `None` when the connection ended without one.
fn status(to: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut socket = TcpStream::connect(to).expect("the hub listens");
    socket.set_read_timeout(Some(LIMIT)).expect("an option");
    // A hub that refuses early may close before all is written.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer within {LIMIT:?}"),
        _ => String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok(),
    }
}

#[test]
fn bodies_of_any_size() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    let (mut stream, path) = sse_session(&hub);
    let post = |body: &[u8]| exchange(hub.address, "POST", &path, &JSON, body).status;
    for length in [200, 64 << 10, (64 << 10) + 1, 1 << 20, BODY_LIMIT] {
        let body = echo_of(length);
        assert_eq!(body.len(), length);
        let text = length - echo_of(200).len() + result_text_length();
        assert_eq!(mcp(&hub, &session, &body).text().len(), text, "{length} bytes");
        assert_eq!(post(&body), 202, "{length} bytes");
        assert_eq!(result_text(&stream.answer(7)).len(), text, "{length} bytes");
    }
    for length in [BODY_LIMIT + 1, 8 << 20] {
        assert_eq!(mcp(&hub, &session, &echo_of(length)).status, 413, "{length} bytes");
        assert_eq!(post(&echo_of(length)), 413, "{length} bytes");
    }
    for length in [0, 1] {
        assert_eq!(mcp(&hub, &session, &b"{"[..length]).status, 400, "{length} bytes");
        assert_eq!(post(&b"{"[..length]), 400, "{length} bytes");
    }
    is_well(&mut hub, &session);
}

/// Connects and sends the head of a request alone.
fn begin(to: SocketAddr, line: &str, headers: &[(&str, &str)], length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(to).expect("the hub listens");
    socket.set_read_timeout(Some(LIMIT)).expect("an option");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(socket, "{line} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{headers}\r\n")
        .expect("the hub reads");
    socket
}

/// Found by the fuzzer: the connection was reset under clients that were still sending, and some never saw why.
#[test]
fn what_is_refused_unread_is_told_so() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    let body = echo_of(BODY_LIMIT);
    let unknown = ("Mcp-Session-Id", "never-issued-0123456789");
    let foreign = ("Origin", "http://evil.example");
    for _ in 0..5 {
        for (method, path, headers, status) in [
            ("POST", "/mcp", &[JSON[0], ACCEPT, unknown][..], 404),
            ("POST", "/messages?session_id=550e8400-e29b-41d4-a716-446655440000", &JSON, 404),
            ("POST", "/messages", &JSON, 400),
            ("POST", "/mcp", &[JSON[0], ACCEPT, foreign], 403),
            ("POST", "/sse", &JSON, 405),
            ("POST", "/nowhere", &JSON, 404),
        ] {
            let headers = [headers, &[("Connection", "close")]].concat();
            let mut socket = begin(hub.address, &format!("{method} {path}"), &headers, body.len());
            socket.write_all(&body).expect("nobody resets it");
            assert_eq!(read_answer(socket).status, status, "{method} {path}");
        }
    }
    is_well(&mut hub, &session);
}

/// How long the text of an `echo` call of 200 bytes is.
fn result_text_length() -> usize {
    200 - call(7, "echo", json!({"text": ""})).to_string().len()
}

#[test]
fn deep_nesting() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    let (mut stream, path) = sse_session(&hub);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS));
        let around = |part: &str| part.replace("DEEP", &deep).into_bytes();
        for body in [
            around("DEEP"),
            around(r#"{"jsonrpc":"2.0","id":1,"method":"no/such/method","params":{"deep":DEEP}}"#),
            around(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":DEEP}}}"#,
            ),
            around(r#"{"jsonrpc":"2.0","id":DEEP,"method":"ping"}"#),
            around(r#"{"jsonrpc":"2.0","id":1,"result":DEEP}"#),
            open.repeat(LEVELS).into_bytes(),
        ] {
            assert_eq!(mcp(&hub, &session, &body).status, 400);
            assert_eq!(exchange(hub.address, "POST", &path, &JSON, &body).status, 400);
        }
    }
    hub.post(&path, &call(2, "echo", json!({"text": "well"})));
    assert_eq!(result_text(&stream.answer(2)), "well");
    is_well(&mut hub, &session);
}

#[test]
fn what_is_no_utf8() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    let (_stream, path) = sse_session(&hub);
    let mut text = call(7, "echo", json!({"text": "xx"})).to_string().into_bytes();
    let at = text.windows(2).position(|window| window == b"xx").expect("it is there");
    for bytes in [[0xff, 0xfe], [0xc3, 0x28], [0xed, 0xa0]] {
        text[at..at + 2].copy_from_slice(&bytes);
        for body in [&text[..], &bytes] {
            assert_eq!(mcp(&hub, &session, body).status, 400, "{bytes:?}");
            assert_eq!(exchange(hub.address, "POST", &path, &JSON, body).status, 400, "{bytes:?}");
        }
    }
    for head in [
        &b"GET /\xff\xfe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"[..],
        b"GET /messages?session_id=\xff HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nMcp-Session-Id: \xff\xfe\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: \xff\r\nMCP-Protocol-Version: \xff\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"\xff\xff\xff\xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let answered = status(hub.address, head);
        assert!(answered.is_none_or(|status| (400..500).contains(&status)), "{answered:?} to {head:?}");
    }
    is_well(&mut hub, &session);
}

#[test]
fn heads_too_large() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    let to = hub.address;
    let long = |length: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(length))
    };
    assert_eq!(status(to, long(8 << 10).as_bytes()), Some(200));
    assert_eq!(status(to, long(64 << 10).as_bytes()), Some(431));
    assert_eq!(status(to, long(8 << 20).as_bytes()), Some(431));
    let many = |count: usize| {
        let headers: String = (0..count).map(|nth| format!("X-{nth}: 1\r\n")).collect();
        format!("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n")
    };
    assert_eq!(status(to, many(90).as_bytes()), Some(200));
    assert_eq!(status(to, many(1000).as_bytes()), Some(431));
    let path = format!("GET /{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "x".repeat(100_000));
    assert!(matches!(status(to, path.as_bytes()), Some(414 | 431)));
    is_well(&mut hub, &session);
}

#[test]
fn slow_clients_hold_up_nobody_and_are_told() {
    let mut hub = Hub::start(&["--body-time", "3s"]);
    let session = hub.initialize();
    let (mut stream, path) = sse_session(&hub);
    let before = hub.resident();
    let begun = Instant::now();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nAccept: application/json, \
             text/event-stream\r\nMcp-Session-Id: {session}\r\nContent-Length: {BODY_LIMIT}\r\n\r\n{{"
        )
    };
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|nth| {
            let mut socket = TcpStream::connect(hub.address).expect("the hub listens");
            socket.set_read_timeout(Some(LIMIT)).expect("an option");
            let bytes = match nth % 4 {
                0 => head("/mcp"),
                1 => head(&path),
                // These never get as far as a body.
                2 => "POST /mcp HTTP/1.1\r\nHost: h\r\nX: ".to_owned(),
                _ => "P".to_owned(),
            };
            socket.write_all(bytes.as_bytes()).expect("the hub reads");
            socket
        })
        .collect();
    let mut beats = 0;
    while begun.elapsed() < Duration::from_millis(800) {
        for socket in &mut slow {
            // One that was told is closed.
            let _ = socket.write_all(b"x");
        }
        beats += 1;
        let asked = Instant::now();
        assert_eq!(mcp(&hub, &session, call(beats, "whoami", json!({})).to_string().as_bytes()).status, 200);
        hub.post(&path, &call(beats, "whoami", json!({})));
        stream.answer(beats);
        assert!(asked.elapsed() < LIMIT, "others wait: {:?}", asked.elapsed());
    }
    let grown = hub.resident().saturating_sub(before);
    assert!(grown < SLOW * SLOW_COST, "{SLOW} slow clients cost {grown} kB");
    for (nth, socket) in slow.into_iter().enumerate() {
        if nth % 4 < 2 {
            assert_eq!(read_answer(socket).status, 408);
        }
    }
    is_well(&mut hub, &session);
}

#[test]
fn half_closed_connections() {
    let mut hub = Hub::start(&[]);
    let session = hub.initialize();
    // Whoever stops sending while it waits for a stream is taken for gone: the session ends, and nothing is kept.
    let socket = send(hub.address, "GET", "/sse", &[], b"");
    let closing = socket.try_clone().expect("a socket can be cloned");
    let mut stream = Stream::of(socket);
    let path = stream.data().expect("the endpoint");
    closing.shutdown(Shutdown::Write).expect("it is open");
    hub.until("the session ends", |hub| hub.post(&path, &initialize(1)).status == 404);
    assert!(stream.data().is_none());
    // In the middle of a body, of a head, and before either.
    for bytes in
        ["POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{", "POST /mcp HTTP/1.1\r\nHo", ""]
    {
        let mut socket = TcpStream::connect(hub.address).expect("the hub listens");
        socket.set_read_timeout(Some(LIMIT)).expect("an option");
        socket.write_all(bytes.as_bytes()).expect("the hub reads");
        socket.shutdown(Shutdown::Write).expect("it is open");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("the hub closes too");
        let told = String::from_utf8_lossy(&rest).into_owned();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    }
    // A call that runs when its client stops sending does not outlive it.
    let body = call(3, "tally", json!({"key": "k", "hold_ms": 60_000})).to_string();
    let held =
        send(hub.address, "POST", "/mcp", &[JSON[0], ACCEPT, ("Mcp-Session-Id", &session)], body.as_bytes());
    held.shutdown(Shutdown::Write).expect("it is open");
    assert!(
        hub.peers().len() <= 1 || {
            hub.until("its connection is gone", |hub| hub.peers().is_empty());
            true
        }
    );
    let tally: Value = json!({"key": "k", "add": 0});
    assert_eq!(mcp(&hub, &session, call(4, "tally", tally).to_string().as_bytes()).status, 200);
    is_well(&mut hub, &session);
}
