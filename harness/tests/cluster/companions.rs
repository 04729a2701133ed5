//! What comes up before the replicas, and how they find it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use harness::cluster::Condition;
use harness::cluster::companions::{GivenCompanion, Runs};
use harness::cluster::local::{Local, Spec};
use harness::cluster::manifest::Manifests;
use harness::transcript::{Recorder, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{LIMIT, example, manifests, marked_processes, spec, until, up_with};

/// A cache and its Service, as they stand beside a hub.
const CACHE: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cache}\nspec:\n  selector: {matchLabels: {app: cache}}\n  template:\n    \
                     metadata: {labels: {app: cache}}\n    spec: {containers: [{name: cache, image: 'cache:1'}]}\n---\napiVersion: v1\nkind: \
                     Service\nmetadata: {name: cache-svc}\nspec: {selector: {app: cache}, ports: [{port: 6379}]}\n";

/// Our manifests beside a cache, with a hub that says what these variables are.
fn beside_a_cache(variables: &[(&str, &str)]) -> Manifests {
    let kind = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind");
    let read = |name: &str| std::fs::read_to_string(kind.join(name)).expect("our manifests");
    let ours = ["deployment.yaml", "service.yaml", "secret.yaml"].map(read).join("\n---\n");
    let choice = harness::cluster::manifest::Choice {
        deployment: Some("mcp-hub".to_owned()),
        ..harness::cluster::manifest::Choice::default()
    };
    let text = format!("{ours}\n---\n{CACHE}");
    let mut read = Manifests::parse_for(&[("all.yaml", &text)], &choice).expect("they are right");
    read.deployment.spec = manifests().deployment.spec;
    for (name, value) in variables {
        read.set_env(name, value);
        read.append_args(["--needs", name]);
    }
    read.set_replicas(1);
    read
}

fn with(manifests: Manifests, name: &str, runs: Runs) -> Spec {
    Spec { companions: vec![GivenCompanion { name: name.to_owned(), runs }], ..spec(manifests) }
}

fn tiny_server(args: &[&str]) -> Runs {
    let program = example("tiny_server").display().to_string();
    Runs::Command([program].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect())
}

/// What the hub said of a variable.
fn told(cluster: &Local, variable: &str) -> String {
    let name = cluster.replicas()[0].name.clone();
    let prefix = format!("{variable} is ");
    let found = cluster.logs(&name).into_iter().find_map(|line| Some(line.strip_prefix(&prefix)?.to_owned()));
    found.unwrap_or_default()
}

/// Whether the companion answers there.
async fn answers(at: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(at).await else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: cache\r\n\r\n").await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn a_hub_finds_its_companion_by_the_name_of_its_service() {
    let variables = [
        ("CACHE_URL", "redis://cache-svc:6379/0"),
        ("CACHE_HOST", "cache-svc.default.svc.cluster.local"),
        ("CACHE_SVC_SERVICE_PORT_OF_SERVICE", "$(CACHE_SVC_SERVICE_PORT)"),
        ("CACHE_KIND", "cache-svc"),
    ];
    let (cluster, _) = up_with(with(beside_a_cache(&variables), "cache", tiny_server(&[]))).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.expect("it becomes ready");
    let host = told(&cluster, "CACHE_HOST");
    assert!(host.starts_with("127."), "{host}");
    assert_eq!(told(&cluster, "CACHE_URL"), format!("redis://{host}:6379/0"), "as the Service has it");
    assert_eq!(told(&cluster, "CACHE_SVC_SERVICE_PORT_OF_SERVICE"), "6379");
    assert_eq!(told(&cluster, "CACHE_KIND"), "cache-svc", "that is no host");
    let at: SocketAddr = format!("{host}:6379").parse().expect("an address");
    assert!(answers(at).await, "the Service's port leads to the companion");
    let (other, _) = up_with(with(beside_a_cache(&variables), "cache", tiny_server(&[]))).await;
    other.wait(&Condition::Ready(1), LIMIT).await.expect("it becomes ready");
    assert_ne!(told(&other, "CACHE_HOST"), host, "each cell has one of its own");
    other.down().await;
    assert!(answers(at).await);
    cluster.down().await;
    assert!(!answers(at).await, "it ends with the cell");
}

#[tokio::test]
async fn a_companion_may_be_there_already() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            // What is left unread would reset the connection.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let runs = Runs::At { host: "localhost".to_owned(), port };
    let spec = with(beside_a_cache(&[("CACHE_HOST", "cache-svc")]), "cache-svc", runs);
    let (cluster, _) = up_with(spec).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.expect("it becomes ready");
    let at = format!("{}:6379", told(&cluster, "CACHE_HOST")).parse().expect("an address");
    assert!(answers(at).await);
    cluster.down().await;
}

#[tokio::test]
async fn a_companion_that_does_not_come_up_is_named_with_what_it_said() {
    let up = async |runs: Runs| {
        let spec = with(beside_a_cache(&[]), "cache", runs);
        Local::up(spec, Recorder::new([])).await.map(drop).expect_err("no companion, no cell").to_string()
    };
    let ended = up(tiny_server(&["--exit", "7"])).await;
    assert_eq!(ended, "the companion `cache` ended with exit code 7: about to end");
    let missing = up(Runs::Command(vec!["/nonexistent/redis-server".to_owned()])).await;
    assert!(missing.starts_with("the companion `cache` cannot be started: "), "{missing}");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let refused = up(Runs::At { host: "127.0.0.1".to_owned(), port: free.port() }).await;
    assert!(
        refused.starts_with(&format!("the companion `cache` cannot be reached at {free}: ")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_companion_that_ends_is_not_the_hubs_fault() {
    let program = example("tiny_server").display().to_string();
    let mark = format!("companion-of-{}", std::process::id());
    let argv = ["env".to_owned(), format!("MARKED={mark}"), program].to_vec();
    let (cluster, recorder) = up_with(with(beside_a_cache(&[]), "cache", Runs::Command(argv))).await;
    let pid = marked_processes("MARKED", &mark)[0];
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    let broken = || {
        recorder.entries().into_iter().find_map(|entry| match entry.what {
            What::Broken { reason } => Some(reason),
            _ => None,
        })
    };
    until("its end is told", LIMIT, || broken().is_some()).await;
    let told = broken().unwrap_or_default();
    assert!(told.starts_with("the companion `cache` ended with exit code 137: listening at "), "{told}");
    cluster.down().await;
}
