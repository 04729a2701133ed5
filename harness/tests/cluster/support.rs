//! What the tests of the local backend share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::local::{Launch, Local, Spec};
use harness::cluster::manifest::{Manifests, Pace};
use harness::transcript::{Entry, Recorder, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long anything may take here; conditions come true much sooner.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// An example of this package, built together with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test: PathBuf = std::env::current_exe().expect("a test is a file");
    test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("examples").join(name)
}

/// Our own manifests with short numbers.
pub(crate) fn manifests() -> Manifests {
    let mut manifests = Manifests::embedded().expect("ours are right");
    let second = Duration::from_secs(1);
    manifests.quicken(&Pace::default());
    manifests.set_grace_period(3 * second);
    manifests
}

/// The spec for these manifests, with the tiny server as their image.
pub(crate) fn spec(manifests: Manifests) -> Spec {
    let mut spec = Spec::new(manifests, example("supervisor"));
    let argv = vec![example("tiny_server").display().to_string()];
    spec.launches.push(("mcp-hub:dev".to_owned(), Launch { argv, cwd: None }));
    spec
}

/// A cluster of these manifests.
pub(crate) async fn up(manifests: Manifests) -> (Local, Recorder) {
    up_with(spec(manifests)).await
}

/// A cluster.
pub(crate) async fn up_with(spec: Spec) -> (Local, Recorder) {
    let recorder = Recorder::new(spec.manifests.secret_values());
    (Local::up(spec, recorder.clone()).await.expect("a cluster"), recorder)
}

/// The names of the pods, sorted.
pub(crate) fn names(cluster: &Local) -> Vec<String> {
    let mut names: Vec<String> = cluster.replicas().into_iter().map(|replica| replica.name).collect();
    names.sort();
    names
}

/// One GET through the Service by this client: its address and the body of the answer.
pub(crate) async fn get(cluster: &Local, client: usize, path: &str) -> std::io::Result<(SocketAddr, String)> {
    get_at(cluster, client, cluster.service(), path).await
}

/// One GET at this address.
pub(crate) async fn get_at(
    cluster: &Local,
    client: usize,
    to: SocketAddr,
    path: &str,
) -> std::io::Result<(SocketAddr, String)> {
    let mut stream = open(cluster, client, to, path).await?;
    let from = stream.local_addr()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.map(|body| (from, body)).ok_or_else(|| std::io::Error::other("no answer"))
}

/// Sends a GET and leaves the answer to be read.
pub(crate) async fn open(
    cluster: &Local,
    client: usize,
    to: SocketAddr,
    path: &str,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let source = cluster.client_address(client).map_err(std::io::Error::other)?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n").as_bytes()).await?;
    Ok(stream)
}

/// Waits until the clock has moved on so far: for what is about time itself.
pub(crate) async fn pass_time(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}

/// Waits until this is true; panics when it does not become so.
pub(crate) async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let polled = tokio::time::timeout(limit, async {
        while !holds() {
            pace.tick().await;
        }
    });
    assert!(polled.await.is_ok(), "not within {limit:?}: {what}");
}

/// The reasons of the events about this object, in order.
pub(crate) fn event_reasons(recorder: &Recorder, object: &str) -> Vec<String> {
    let reason = |entry: Entry| match entry.what {
        What::Event { object: about, reason, .. } if about == object => Some(reason),
        _ => None,
    };
    recorder.entries().into_iter().filter_map(reason).collect()
}

/// The changes of this pod, in order and in their JSON form.
pub(crate) fn changes(recorder: &Recorder, of: &str) -> Vec<harness::transcript::PodChange> {
    let change = |entry: Entry| match entry.what {
        What::Pod { pod, change } if pod == of => Some(change),
        _ => None,
    };
    recorder.entries().into_iter().filter_map(change).collect()
}

/// Processes whose environment has this variable with this value.
pub(crate) fn marked_processes(name: &str, value: &str) -> Vec<u32> {
    let marker = format!("{name}={value}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            found.push(pid);
        }
    }
    found
}
