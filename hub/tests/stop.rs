//! How a hub stops: calls are answered, new sessions refused, streams ended.

mod support;

use rustix::process::Signal;
use serde_json::json;
use support::{
    ACCEPT, Hub, JSON, Stream, call, exchange, free_address, initialize, result_text, send, sse_session,
};

#[test]
fn calls_in_flight_are_answered_and_new_sessions_refused() {
    let (mut owner, other) = (Hub::start(&["--drain-delay", "300ms"]), Hub::start(&[]));
    let (mut sse, path) = sse_session(&owner);
    let session = owner.initialize();
    let get = [ACCEPT, ("Mcp-Session-Id", session.as_str())];
    let mut idle = Stream::open(owner.address, "/mcp", &get);
    let hold = json!({"key": "k", "hold_ms": 8000});
    assert_eq!(owner.post(&path, &call(1, "tally", hold.clone())).status, 202);
    sse.data().expect("the call has begun");
    let headers = [JSON[0], ACCEPT, ("Mcp-Session-Id", session.as_str()), ("Connection", "close")];
    let body = call(2, "tally", hold).to_string();
    let mut streamable = Stream::of(send(other.address, "POST", "/mcp", &headers, body.as_bytes()));
    streamable.data().expect("the forwarded call has begun");

    owner.signal(Signal::TERM);
    owner.until("not ready", |hub| hub.get("/readyz").status == 503);
    assert_eq!(owner.get("/healthz").status, 200);
    let refused = [
        owner.get("/sse"),
        exchange(owner.address, "POST", "/mcp", &[JSON[0], ACCEPT], initialize(1).to_string().as_bytes()),
    ];
    for refused in refused {
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
        assert_eq!(refused.body, "This replica is stopping: open the session elsewhere");
    }
    assert_eq!(other.mcp(&session, "POST", &call(3, "echo", json!({"text": "served"}))).text(), "served");

    assert_eq!(result_text(&sse.answer(1)), "1");
    assert_eq!(result_text(&streamable.answer(2)), "2");
    assert!(sse.ends_cleanly());
    assert!(streamable.ends_cleanly());
    assert!(idle.ends_cleanly());
    assert_eq!(owner.exited().code(), Some(0), "{}", owner.log());
}

#[test]
fn until_it_closes_it_serves_sessions_and_requests_without_one() {
    let address = free_address();
    let hub = Hub::start_at(address, &["--drain-delay", "1h", "--grace", "1h"], &[("POD_NAME", "pod-a")]);
    let other = Hub::start(&[]);
    let (mut stream, path) = sse_session(&hub);
    let session = hub.initialize();
    hub.signal(Signal::TERM);
    hub.until("not ready", |hub| hub.get("/readyz").status == 503);
    let whoami = |id| call(id, "whoami", json!({}));
    for (id, through) in [(1, &hub), (2, &other)] {
        assert_eq!(through.mcp(&session, "POST", &whoami(id)).text(), "pod-a");
        assert_eq!(through.post(&path, &whoami(id)).status, 202);
        assert_eq!(result_text(&stream.answer(id)), "pod-a");
    }
    let stateless = hub.stateless("whoami");
    assert_eq!((stateless.status, stateless.text().as_str()), (200, "pod-a"), "{stateless:?}");
}

#[test]
fn a_call_that_outlasts_the_grace_period_is_cut() {
    let mut hub = Hub::start(&["--drain-delay", "0s", "--grace", "200ms"]);
    let (mut stream, path) = sse_session(&hub);
    assert_eq!(hub.post(&path, &call(1, "tally", json!({"key": "k", "hold_ms": 60_000}))).status, 202);
    stream.data().expect("the call has begun");
    hub.signal(Signal::TERM);
    assert!(stream.ends_cleanly());
    assert_eq!(hub.exited().code(), Some(0));
    assert!(hub.log().contains("1 calls were still running after 200 ms"), "{}", hub.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut hub = Hub::start(&["--drain-delay", "1h", "--grace", "1h"]);
    hub.signal(Signal::TERM);
    hub.until("not ready", |hub| hub.get("/readyz").status == 503);
    hub.signal(Signal::INT);
    assert_eq!(hub.exited().code(), Some(130));
}

#[test]
fn a_cancelled_call_is_not_waited_for() {
    let mut hub = Hub::start(&["--drain-delay", "0s"]);
    let (mut stream, path) = sse_session(&hub);
    assert_eq!(hub.post(&path, &call(1, "tally", json!({"key": "k", "hold_ms": 60_000}))).status, 202);
    stream.data().expect("the call has begun");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(hub.post(&path, &cancel).status, 202);
    hub.signal(Signal::TERM);
    assert_eq!(hub.exited().code(), Some(0));
}
