//! What the tests of the local backend share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::local::{Launch, Local, Spec};
use harness::cluster::manifest::{Manifests, ProbeNumbers};
use harness::transcript::Recorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// How long anything may take here; conditions come true much sooner.
pub const LIMIT: Duration = Duration::from_secs(10);

/// An example of this package, built together with the tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples").join(name)
}

/// Our own manifests with short numbers.
pub fn manifests() -> Manifests {
    let mut manifests = Manifests::embedded().unwrap();
    let second = Duration::from_secs(1);
    manifests.set_probe_numbers(ProbeNumbers { period: second, timeout: second, failures: 2 });
    manifests.set_grace_period(3 * second);
    manifests
}

/// The spec for these manifests, with the tiny server as their image.
pub fn spec(manifests: Manifests) -> Spec {
    let mut spec = Spec::new(manifests, example("supervisor"));
    let argv = vec![example("tiny_server").to_str().unwrap().to_owned()];
    spec.launches.push(("mcp-hub:dev".to_owned(), Launch { argv, cwd: None }));
    spec
}

/// A cluster of these manifests.
pub async fn up(manifests: Manifests) -> (Local, Recorder) {
    up_with(spec(manifests)).await
}

/// A cluster.
pub async fn up_with(spec: Spec) -> (Local, Recorder) {
    let recorder = Recorder::new(spec.manifests.secret_values());
    (Local::up(spec, recorder.clone()).await.unwrap(), recorder)
}

/// The names of the pods, sorted.
pub fn names(cluster: &Local) -> Vec<String> {
    let mut names: Vec<String> = cluster.replicas().into_iter().map(|replica| replica.name).collect();
    names.sort();
    names
}

/// One GET through the Service by this client: its address and the body of the answer.
pub async fn get(cluster: &Local, client: usize, path: &str) -> std::io::Result<(SocketAddr, String)> {
    get_at(cluster, client, cluster.service(), path).await
}

/// One GET at this address.
pub async fn get_at(
    cluster: &Local,
    client: usize,
    to: SocketAddr,
    path: &str,
) -> std::io::Result<(SocketAddr, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((cluster.client_address(client), 0).into())?;
    let mut stream = socket.connect(to).await?;
    let from = stream.local_addr()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.map(|body| (from, body)).ok_or_else(|| std::io::Error::other("no answer"))
}
