//! What containers of the image do.

use std::time::{Duration, Instant};

use serde_json::json;
use testcontainers::ImageExt;

use crate::client::{Sse, Streamable, answer, request, text, tool};
use crate::container::{Container, Hub, Request, limited, started, url};
use crate::docker::{docker, end_of, inspect};

/// What `hub/README.md` says of a wrong command line, key or secret.
const USAGE: i64 = 2;

/// What a process ends with that SIGKILL ended.
const KILLED: i64 = 137;

/// How long Docker waits after SIGTERM before it kills, in seconds.
const GRACE: i32 = 15;

/// How long the calls run that are in flight when the hub is told to stop: longer than its listener stays open for
/// nobody (2 s), so that it is they that it waits for.
const CALL_MS: u64 = 4000;

/// What a container may use that is to use too much, and what it is made to ask for.
const LIMIT: i64 = 48 << 20;
const TOO_MUCH_MIB: u64 = 128;

pub(crate) async fn secrets(hub: Hub) {
    for (missing, line) in [
        ("NEO4J_PASSWORD", "required secrets are missing or empty in the environment: NEO4J_PASSWORD"),
        ("SESSION_KEY", "SESSION_KEY"),
    ] {
        let container = started(hub.without(missing)).await;
        assert_eq!(container.exit_code().await.expect("Docker knows"), Some(USAGE), "without {missing}");
        let said = said(&container).await;
        assert_eq!(said.lines().count(), 1, "without {missing}: {said}");
        assert!(said.contains(line), "without {missing}: {said}");
    }
}

pub(crate) async fn answers(hub: Hub) {
    let container = started(hub.complete()).await;
    let told = inspect(container.id()).await;
    assert_eq!(told["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(told["HostConfig"]["CapDrop"], json!(["ALL"]));
    assert_eq!(told["HostConfig"]["Privileged"], false);
    assert!(told["HostConfig"]["Memory"].as_i64().is_some_and(|limit| limit > 0), "a limit");
    let url = url(&container).await;
    let session = Streamable::open(&url).await;
    let listed = session.ask(&url, &request(1, "tools/list", json!({}))).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    assert!(tools.iter().any(|tool| tool["name"] == "whoami"), "{listed}");
    let mut stream = Sse::open(&url).await;
    let echoed = stream.ask(&url, &tool(1, "echo", json!({ "text": "through Docker" }))).await;
    assert_eq!(text(&echoed), "through Docker");
}

pub(crate) async fn stops(hub: Hub) {
    let container = started(hub.complete()).await;
    assert_eq!(
        processes(&container).await,
        ["/hub"],
        "it is PID 1, with nothing before it that passes signals on"
    );
    let url = url(&container).await;
    let call = tool(1, "sleep", json!({ "ms": CALL_MS }));
    let mut stream = Sse::open(&url).await;
    stream.send(&url, &call).await;
    let running = Streamable::open(&url).await.begin(&url, &call).await;
    let began = Instant::now();
    let (stopped, aside, along) =
        tokio::join!(container.stop_with_timeout(Some(GRACE)), answer(running, 1), async {
            let answered = stream.answer(1).await;
            stream.end().await;
            answered
        });
    let took = began.elapsed();
    stopped.expect("Docker stops it");
    let slept = format!("slept {CALL_MS} ms");
    assert_eq!([text(&aside), text(&along)], [&slept, &slept]);
    let said = said(&container).await;
    assert!(
        said.contains("stopping: 2 sessions, 2 calls in flight"),
        "both ran when it was told to stop: {said}"
    );
    assert_eq!(container.exit_code().await.expect("Docker knows"), Some(0), "{said}");
    assert!(took < Duration::from_secs(GRACE.unsigned_abs().into()), "it took {took:?}: {said}");
}

pub(crate) async fn memory(hub: Hub) {
    let container = started(limited(hub.complete(), LIMIT)).await;
    let url = url(&container).await;
    let mut stream = Sse::open(&url).await;
    // Over HTTP+SSE the call is accepted before it runs, so that accepting it is no race with the kernel.
    let call = tool(1, "allocate", json!({ "mib": 1 }));
    assert_eq!(text(&stream.ask(&url, &call).await), "1", "what fits is given");
    stream.send(&url, &tool(2, "allocate", json!({ "mib": TOO_MUCH_MIB }))).await;
    assert_eq!(end_of(container.id()).await, KILLED);
    let state = inspect(container.id()).await["State"].clone();
    assert_eq!(state["OOMKilled"], true, "{state}");
}

pub(crate) async fn forwards(hub: Hub) {
    let network = hub.network();
    let left = started(on(&network, "hub-a", &hub)).await;
    let right = started(on(&network, "hub-b", &hub)).await;
    let (left, right) = (url(&left).await, url(&right).await);
    for (own, other, name) in [(&left, &right, "hub-a"), (&right, &left, "hub-b")] {
        let whoami = tool(1, "whoami", json!({}));
        let session = Streamable::open(own).await;
        assert_eq!(text(&session.ask(other, &whoami).await), name);
        let mut stream = Sse::open(own).await;
        assert_eq!(text(&stream.ask(other, &whoami).await), name);
    }
}

// === helpers ===

/// A replica that listens at the address that its name has on the network, which is then the one that it tells others.
fn on(network: &str, name: &str, hub: &Hub) -> Request {
    hub.complete().with_network(network).with_hostname(name).with_env_var("HOST", name)
}

/// What a container said on standard error.
async fn said(container: &Container) -> String {
    let said = container.stderr_to_vec().await.expect("Docker keeps what it said");
    String::from_utf8_lossy(&said).into_owned()
}

/// The commands that run in a container.
async fn processes(container: &Container) -> Vec<String> {
    let listed = docker(&["top", container.id(), "-o", "pid,args"]).await;
    let commands = listed.lines().skip(1).filter_map(|line| line.trim().split_once(' '));
    commands.map(|(_, command)| command.trim().to_owned()).collect()
}
