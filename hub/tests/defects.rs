//! Each defect does what it says, seen from a client.

mod support;

use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::{
    ACCEPT, Hub, JSON, LIMIT, Stream, call, exchange, free_address, initialize, result_text, send,
    sse_session,
};

fn with(defect: &str) -> Hub {
    Hub::start(&["--defect", defect])
}

fn silent(hub: &Hub, session: &str) -> bool {
    let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session)];
    let body = call(9, "whoami", json!({})).to_string();
    let mut socket = send(hub.address, "POST", "/mcp", &headers, body.as_bytes());
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an option");
    let mut read = String::new();
    socket.read_to_string(&mut read).is_err() && !read.contains("result")
}

#[test]
fn loses_sessions() {
    let hub = with("loses-sessions");
    let (_stream, path) = sse_session(&hub);
    let statuses: Vec<_> = (1..=4).map(|id| hub.post(&path, &initialize(id)).status).collect();
    assert_eq!(statuses, [202, 404, 202, 404]);
}

#[test]
fn strays() {
    let owner = Hub::start(&[]);
    let session = owner.initialize();
    let (_stream, path) = sse_session(&owner);
    let swallows = with("swallows-strays");
    assert_eq!(swallows.post(&path, &initialize(1)).status, 202);
    assert!(silent(&swallows, &session));
    assert!(silent(&with("hangs-on-strays"), &session));
    let accepts = with("accepts-unknown");
    assert_eq!(accepts.mcp("unknown-0123456789", "POST", &initialize(1)).status, 202);
    assert_eq!(accepts.post("/messages?session_id=unknown-0123456789", &initialize(1)).status, 202);
}

#[test]
fn twice() {
    let executes = with("executes-twice");
    let session = executes.initialize();
    executes.mcp(&session, "POST", &call(2, "tally", json!({"key": "k"})));
    assert_eq!(executes.mcp(&session, "POST", &call(3, "tally", json!({"key": "k", "add": 0}))).text(), "2");

    let answers = with("answers-twice");
    let session = answers.initialize();
    let answer = answers.mcp(&session, "POST", &call(2, "echo", json!({"text": "x"})));
    assert_eq!(answer.body.matches("\"result\"").count(), 2, "{}", answer.body);
    let (mut stream, path) = sse_session(&answers);
    answers.post(&path, &call(1, "echo", json!({"text": "x"})));
    assert_eq!(stream.answer(1), stream.answer(1));
}

#[test]
fn stop_and_start() {
    let mut drops = with("drops-calls-on-stop");
    let (mut stream, path) = sse_session(&drops);
    drops.post(&path, &call(1, "tally", json!({"key": "k", "hold_ms": 60_000})));
    stream.data().expect("the call has begun");
    drops.signal(Signal::TERM);
    assert_eq!(drops.exited().code(), Some(0));

    let refuses = with("refuses-second-session");
    refuses.initialize();
    assert_eq!(refuses.get("/sse").status, 503);
}

#[test]
fn owners_that_went() {
    let (mut dead, keeps) = (Hub::start(&[]), with("keeps-dead-streams"));
    let session = dead.initialize();
    let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let stream = Stream::open(keeps.address, "/mcp", &get);
    dead.child.kill().unwrap();
    dead.exited();
    assert!(silent(&keeps, &session));
    assert!(stream.stays_open(Duration::from_millis(200)));

    let (stopped, waits) = (Hub::start(&[]), with("waits-for-stopped-owner"));
    let session = stopped.initialize();
    stopped.signal(Signal::STOP);
    assert!(silent(&waits, &session));
    stopped.signal(Signal::CONT);
}

#[test]
fn crosses_streams() {
    let hub = with("crosses-streams");
    let (first, second) = (hub.initialize(), hub.initialize());
    hub.mcp(&first, "POST", &call(2, "echo", json!({"text": "first"})));
    assert_eq!(hub.mcp(&second, "POST", &call(2, "echo", json!({"text": "second"}))).text(), "first");
    let (_one, path) = sse_session(&hub);
    let (mut other, _) = sse_session(&hub);
    hub.post(&path, &call(7, "whoami", json!({})));
    other.answer(7);
}

#[test]
fn replica_dependent() {
    let named = |defect: &str| Hub::start_at(free_address(), &["--defect", defect], &[("POD_NAME", "pod-a")]);
    let tools = named("replica-dependent-tools");
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    assert!(tools.mcp(&tools.initialize(), "POST", &list).body.contains("pod-a"));
    let answers = named("replica-dependent-answers");
    let echo = call(2, "echo", json!({"text": "x"}));
    assert_eq!(answers.mcp(&answers.initialize(), "POST", &echo).text(), "x pod-a");
    let hoards = named("hoards-connections");
    assert_eq!(hoards.mcp(&hoards.initialize(), "POST", &call(2, "whoami", json!({}))).text(), "hub-0");
    let (mut stream, path) = sse_session(&hoards);
    exchange(hoards.address, "POST", &path, &JSON, call(1, "whoami", json!({})).to_string().as_bytes());
    assert_eq!(result_text(&stream.answer(1)), "hub-0");
}

#[test]
fn unknown_is_503() {
    let whoami = call(9, "whoami", json!({}));
    for mode in ["forward", "memory"] {
        let hub = Hub::start(&["--defect", "unknown-is-503", "--sessions", mode]);
        let session = hub.initialize();
        let (stream, path) = sse_session(&hub);
        for unknown in ["unknown-0123456789".to_owned(), "A".repeat(session.len())] {
            assert_eq!(hub.mcp(&unknown, "POST", &whoami).status, 503, "{mode} {unknown}");
            assert_eq!(hub.post(&format!("/messages?session_id={unknown}"), &whoami).status, 503);
        }
        assert_eq!(hub.mcp(&session, "DELETE", &json!(null)).status, 204);
        assert_eq!(hub.mcp(&session, "POST", &whoami).status, 404, "{mode}");
        drop(stream);
        hub.until("the session ends", |hub| hub.post(&path, &whoami).status == 404);
    }
}

#[test]
fn cuts_idle_streams() {
    let hub = with("cuts-idle-streams");
    let session = hub.initialize();
    let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let begun = Instant::now();
    let (mut first, _path) = sse_session(&hub);
    let mut stream = Stream::open(hub.address, "/mcp", &get);
    assert!(first.ends_cleanly() && stream.ends_cleanly());
    let took = begun.elapsed();
    assert!((Duration::from_millis(990)..LIMIT).contains(&took), "{took:?}");
    let again = Stream::open(hub.address, "/mcp", &get);
    assert!(again.head.starts_with("HTTP/1.1 200"), "{}", again.head);
}

#[test]
fn refuses_sessions_at_odd_address() {
    let at = |ip: &str| {
        let advertise = format!("{ip}:8000");
        Hub::start(&["--defect", "refuses-sessions-at-odd-address", "--advertise", &advertise])
    };
    let even = at("127.1.2.4");
    even.initialize();
    sse_session(&even);
    let odd = at("127.1.2.3");
    assert_eq!(odd.get("/sse").status, 503);
    let refused =
        exchange(odd.address, "POST", "/mcp", &[JSON[0], ACCEPT], initialize(1).to_string().as_bytes());
    assert_eq!(refused.status, 503);
    let answer = odd.stateless("whoami");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn renumbers_answers() {
    let hub = with("renumbers-answers");
    let session = hub.initialize();
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    let answer = hub.mcp(&session, "POST", &call(2, "count", json!({"n": 1})));
    assert!(answer.body.contains("\"id\":1002"), "{}", answer.body);
    assert!(answer.body.contains("\"progressToken\":2"), "{}", answer.body);
    assert!(hub.mcp(&session, "POST", &list).body.contains("\"id\":3"));
    let (mut stream, path) = sse_session(&hub);
    hub.post(&path, &initialize(1));
    stream.answer(1);
    hub.post(&path, &call(2, "echo", json!({"text": "x"})));
    assert_eq!(result_text(&stream.answer(1002)), "x");
    hub.post(&path, &list);
    stream.answer(3);
}

#[test]
fn speaks_garbage() {
    let hub = with("speaks-garbage");
    for which in 1..=45 {
        for probe in ["/readyz", "/healthz"] {
            assert_eq!(hub.get(probe).status, 200);
        }
        let mut socket = send(hub.address, "GET", "/nowhere", &[("Connection", "close")], b"");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer, whatever it is");
        let is_garbage = answer == b"\x00garbage\r\n\r\n";
        assert_eq!(is_garbage, which % 15 == 0, "{which}: {answer:?}");
        assert!(is_garbage || answer.starts_with(b"HTTP/1.1 404"), "{which}: {answer:?}");
    }
}

#[test]
fn crashes_on_call() {
    let mut hub = with("crashes-on-call");
    let session = hub.initialize();
    let echo = call(2, "echo", json!({"text": "x"}));
    for _ in 1..=3 {
        assert_eq!(hub.mcp(&session, "POST", &echo).text(), "x");
    }
    let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let _unanswered = send(hub.address, "POST", "/mcp", &headers, echo.to_string().as_bytes());
    assert_eq!(hub.exited().code(), Some(1));
}

#[test]
fn shows_secrets() {
    let echo = call(2, "echo", json!({"text": "x"}));
    let args = ["--defect", "shows-secrets"];
    let hub = Hub::start_at(free_address(), &args, &[("POSTGRES_PASSWORD", "not a real one")]);
    assert_eq!(hub.mcp(&hub.initialize(), "POST", &echo).text(), "x not a real one");
    let unset = with("shows-secrets");
    assert_eq!(unset.mcp(&unset.initialize(), "POST", &echo).text(), "x");
}
