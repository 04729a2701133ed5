//! Each defect does what it says, seen from a client.

mod support;

use std::io::Read;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use support::{
    ACCEPT, Hub, JSON, Stream, call, exchange, free_address, initialize, result_text, send, sse_session,
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
