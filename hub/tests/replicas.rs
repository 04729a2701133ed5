//! Sessions whose requests reach another replica than their owner.

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{ACCEPT, Hub, KEY, Stream, call, exchange, free_address, initialize, result_text, sse_session};

fn replica(name: &str, args: &[&str]) -> Hub {
    Hub::start_at(free_address(), args, &[("HOSTNAME", name)])
}

#[test]
fn http_sse_messages_reach_the_owner_through_another_replica() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let (mut stream, path) = sse_session(&a);
    assert!(stream.head.contains("x-accel-buffering: no"), "{}", stream.head);
    for (id, through) in [(1, &b), (2, &a), (3, &b)] {
        let posted = through.post(&path, &call(id, "whoami", json!({})));
        assert_eq!((posted.status, posted.body.as_str()), (202, "Accepted"));
        assert_eq!(result_text(&stream.answer(id)), "a");
    }
    drop(stream);
    a.until("the session ends with its stream", |_| {
        b.post(&path, &call(4, "whoami", json!({}))).status == 404
    });
}

#[test]
fn a_streamable_session_works_through_another_replica() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let session = a.initialize();
    let counted = b.mcp(&session, "POST", &call(2, "count", json!({"n": 3})));
    assert_eq!(counted.text(), "3");
    assert_eq!(counted.body.matches("notifications/progress").count(), 3, "{}", counted.body);
    for id in 3..20 {
        let through = if id % 2 == 0 { &a } else { &b };
        assert_eq!(through.mcp(&session, "POST", &call(id, "whoami", json!({}))).text(), "a");
    }
    let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let mut stream = Stream::open(b.address, "/mcp", &get);
    assert!(stream.head.starts_with("HTTP/1.1 200"), "{}", stream.head);
    assert_eq!(exchange(a.address, "GET", "/mcp", &get, b"").status, 409);
    assert_eq!(b.mcp(&session, "DELETE", &Value::Null).status, 204);
    assert!(stream.ends_cleanly());
    for hub in [&a, &b] {
        let gone = hub.mcp(&session, "POST", &call(9, "whoami", json!({})));
        assert_eq!((gone.status, gone.body.as_str()), (404, "Could not find session"));
    }
}

#[test]
fn forwarded_calls_share_a_connection() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let session = a.initialize();
    let (mut stream, path) = sse_session(&a);
    assert_eq!(b.mcp(&session, "POST", &call(2, "whoami", json!({}))).text(), "a");
    // The stream of the test, and what carried the call.
    a.until("the connections of the test are gone", |hub| hub.peers().len() == 2);
    let kept = a.peers();
    for id in 3..40 {
        assert_eq!(b.mcp(&session, "POST", &call(id, "whoami", json!({}))).text(), "a");
        assert_eq!(b.post(&path, &call(id, "whoami", json!({}))).status, 202);
        stream.answer(id);
    }
    a.until("still the same two", |hub| hub.peers() == kept);
}

#[test]
fn many_streams_and_large_messages_share_it_too() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let streams: Vec<_> = (0..210)
        .map(|_| {
            let session = a.initialize();
            let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
            let stream = Stream::open(b.address, "/mcp", &get);
            assert!(stream.head.starts_with("HTTP/1.1 200"), "{}", stream.head);
            (stream, session)
        })
        .collect();
    a.until("one connection", |hub| hub.peers().len() == 1);
    let text = "X".repeat(3 << 20);
    let (_, session) = streams.last().unwrap();
    let answer = b.mcp(session, "POST", &call(2, "echo", json!({"text": text})));
    assert_eq!(answer.body.matches('X').count(), text.len());
    for (mut stream, session) in streams {
        assert_eq!(b.mcp(&session, "DELETE", &Value::Null).status, 204);
        assert!(stream.ends_cleanly());
    }
    a.until("one connection", |hub| hub.peers().len() == 1);
}

#[test]
fn a_dead_owner_is_404_and_cuts_its_streams() {
    let (mut a, b) = (replica("a", &[]), replica("b", &[]));
    let session = a.initialize();
    let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let mut stream = Stream::open(b.address, "/mcp", &get);
    assert_eq!(b.mcp(&session, "POST", &call(2, "whoami", json!({}))).text(), "a");
    a.child.kill().unwrap();
    a.exited();
    assert!(!stream.ends_cleanly());
    let gone = b.mcp(&session, "POST", &call(3, "whoami", json!({})));
    assert_eq!((gone.status, gone.body.as_str()), (404, "Could not find session"));

    // Another process at the same address does not know the session, and is asked only once.
    let again = Hub::start_at(a.address, &[], &[]);
    assert_eq!(b.mcp(&session, "POST", &call(4, "whoami", json!({}))).status, 404);
    assert_eq!(again.mcp(&session, "POST", &call(5, "whoami", json!({}))).status, 404);
}

#[test]
fn a_stopped_owner_is_504() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let session = a.initialize();
    assert_eq!(b.mcp(&session, "POST", &call(2, "whoami", json!({}))).text(), "a");
    a.signal(Signal::STOP);
    let silent = b.mcp(&session, "POST", &call(3, "tally", json!({"key": "k"})));
    assert_eq!((silent.status, silent.body.as_str()), (504, "The session's owner did not answer in time"));
    a.signal(Signal::CONT);
    let count = b.mcp(&session, "POST", &call(4, "tally", json!({"key": "k", "add": 0}))).text();
    assert!(count == "0" || count == "1", "executed {count} times");
}

#[test]
fn an_id_of_another_key_says_so_and_the_previous_key_opens() {
    let a = replica("a", &[]);
    let other =
        Hub::start_at(free_address(), &[], &[("SESSION_KEY", "another session key of 32 bytes or more")]);
    let rotated = Hub::start_at(
        free_address(),
        &[],
        &[("SESSION_KEY", "another session key of 32 bytes or more"), ("SESSION_KEY_PREVIOUS", KEY)],
    );
    let session = a.initialize();
    let unknown = other.mcp(&session, "POST", &call(2, "whoami", json!({})));
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.starts_with("Could not find session: its id was sealed with the unknown key "),
        "{}",
        unknown.body
    );
    other.until("the log says so", |hub| hub.log().contains("unknown key"));
    assert_eq!(rotated.mcp(&session, "POST", &call(3, "whoami", json!({}))).text(), "a");
}

#[test]
fn a_client_cannot_mark_its_request_as_forwarded() {
    let (a, b) = (replica("a", &[]), replica("b", &[]));
    let session = a.initialize();
    let headers = [
        support::JSON[0],
        ACCEPT,
        ("Mcp-Session-Id", session.as_str()),
        ("hubcheck-forwarded", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ];
    let body = call(2, "whoami", json!({})).to_string();
    assert_eq!(exchange(b.address, "POST", "/mcp", &headers, body.as_bytes()).text(), "a");
}

#[test]
fn in_memory_mode_another_replica_knows_nothing() {
    let (a, b) = (replica("a", &["--sessions", "memory"]), replica("b", &["--sessions", "memory"]));
    let (_stream, path) = sse_session(&a);
    let stray = b.post(&path, &initialize(1));
    assert_eq!((stray.status, stray.body.as_str()), (404, "Could not find session"));
    assert_eq!(a.post(&path, &initialize(1)).status, 202);
}
