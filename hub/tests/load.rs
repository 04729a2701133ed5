//! Many sessions at once, and what is left of them: nothing.

mod support;

use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{ACCEPT, Hub, JSON, Stream, call, exchange, initialize, result_text, sse_session};

/// Sessions at once, half of each era.
const MANY: usize = 2_000;

/// Sessions of one load of the leak test, half of each era.
const LOAD: usize = 200;

/// How many loads go before the first measurement, and how many between the two.
const LOADS: usize = 2;

/// Clients that work at the same time.
const CLIENTS: usize = 4;

/// The hub and this test hold a connection for every session.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
}

/// What each of several clients does, given its number.
fn together<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let work = &work;
                scope.spawn(move || work(client))
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
    })
}

#[test]
fn two_thousand_sessions_at_once() {
    allow_many_files();
    let hub = Hub::start(&[]);
    let each = MANY / 2 / CLIENTS;
    let sse: Vec<(Stream, String)> = together(|_| {
        let opened = (0..each).map(|_| {
            let (mut stream, path) = sse_session(&hub);
            assert_eq!(hub.post(&path, &initialize(1)).status, 202);
            stream.answer(1);
            (stream, path)
        });
        opened.collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    let streamable: Vec<(Stream, String)> = together(|_| {
        let opened = (0..each).map(|_| {
            let session = hub.initialize();
            (Stream::open(hub.address, "/mcp", &[ACCEPT, ("Mcp-Session-Id", &session)]), session)
        });
        opened.collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    // Each gets its own, while all the others are there.
    for (nth, (mut stream, path)) in sse.into_iter().enumerate() {
        let text = format!("sse {nth}");
        assert_eq!(hub.post(&path, &call(2, "echo", json!({"text": text}))).status, 202);
        assert_eq!(result_text(&stream.answer(2)), text);
    }
    for (nth, (stream, session)) in streamable.into_iter().enumerate() {
        let text = format!("streamable {nth}");
        assert_eq!(hub.mcp(&session, "POST", &call(2, "echo", json!({"text": text}))).text(), text);
        assert!(stream.head.starts_with("HTTP/1.1 200"), "{}", stream.head);
        assert_eq!(hub.mcp(&session, "DELETE", &Value::Null).status, 204);
    }
    hub.until("every connection is gone", |hub| hub.peers().is_empty());
}

#[test]
#[expect(clippy::print_stdout, reason = "what it measured, for `--nocapture`")]
fn the_same_load_again_needs_no_more_memory() {
    allow_many_files();
    let hub = Hub::start(&[]);
    let files = hub.open_files();
    let loads = || {
        for _ in 0..LOADS {
            together(|client| load(&hub, client));
            hub.until("every connection is gone", |hub| hub.open_files() <= files);
        }
        hub.resident()
    };
    let warm = loads();
    let after = loads();
    let more = after as f64 / warm as f64 - 1.0;
    let told = format!(
        "{warm} kB after the first loads, {after} kB after as many again: {:.1} % more",
        100.0 * more
    );
    println!("{told}");
    assert!(more < 0.10, "{told}");
}

/// What clients do in their lives: sessions of both eras, used, ended well or badly, and things that are refused.
fn load(hub: &Hub, client: usize) {
    let long = "x".repeat(100_000);
    let mut held = Vec::new();
    for nth in 0..LOAD / 2 / CLIENTS {
        let (mut stream, path) = sse_session(hub);
        hub.post(&path, &initialize(1));
        stream.answer(1);
        hub.post(&path, &call(2, "echo", json!({"text": long})));
        stream.answer(2);
        // Some end with a call in flight, which nobody will take.
        if nth % 5 == 0 {
            hub.post(&path, &call(3, "tally", json!({"key": format!("{client}"), "hold_ms": 60_000})));
        }
        held.push(stream);
        let session = hub.initialize();
        let get = Stream::open(hub.address, "/mcp", &[ACCEPT, ("Mcp-Session-Id", &session)]);
        hub.mcp(&session, "POST", &call(2, "echo", json!({"text": long})));
        hub.mcp(&session, "POST", &json!({"jsonrpc": "2.0", "id": null, "method": 1}));
        if nth % 2 == 0 {
            drop(get);
        }
        assert_eq!(hub.mcp(&session, "DELETE", &Value::Null).status, 204);
        hub.mcp(&session, "POST", &call(3, "whoami", json!({})));
        exchange(hub.address, "POST", "/mcp", &[JSON[0], ACCEPT], b"{");
        hub.stateless("whoami");
    }
}
