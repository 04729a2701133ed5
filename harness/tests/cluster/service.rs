//! What the balancer does with connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::cluster::Condition;
use harness::transcript::What;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{LIMIT, get, get_at, manifests, names, open, pass_time, up};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_connections() {
    let (cluster, recorder) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let mut reached = BTreeSet::new();
    for number in 0..40 {
        let (from, name) = get(&cluster, number % 7, "/name").await.unwrap();
        assert_eq!(cluster.routed(from).as_ref(), Some(&name));
        reached.insert(name);
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), names(&cluster));
    let (from, peer) = get(&cluster, 3, "/peer").await.unwrap();
    assert_eq!(peer, from.ip().to_string(), "the replica sees the client's address");
    let routed = recorder.entries().into_iter().filter(|entry| matches!(entry.what, What::Routed { .. }));
    assert_eq!(routed.count(), 41);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_keeps_its_replica_until_the_timeout() {
    const CLIENTS: usize = 40;
    let timeout = Duration::from_secs(5);
    let mut ours = manifests();
    ours.set_affinity(Some(timeout));
    let (cluster, _) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let mut first = BTreeMap::new();
    for client in 0..CLIENTS {
        first.insert(client, get(&cluster, client, "/name").await.unwrap().1);
        assert_eq!(get(&cluster, client, "/name").await.unwrap().1, first[&client]);
    }
    let reached: BTreeSet<&String> = first.values().collect();
    assert_eq!(reached.len(), 2);
    pass_time(timeout + Duration::from_millis(100)).await;
    let mut moved = 0;
    for client in 0..CLIENTS {
        moved += usize::from(get(&cluster, client, "/name").await.unwrap().1 != first[&client]);
    }
    assert!(moved > 0, "each of {CLIENTS} clients got the same replica by chance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_moves_when_its_replica_goes() {
    let mut ours = manifests();
    ours.set_affinity(Some(Duration::from_secs(10_800)));
    let (cluster, _) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let (_, first) = get(&cluster, 0, "/name").await.unwrap();
    cluster.delete(&first, Some(Duration::ZERO)).await.unwrap();
    let (_, second) = get(&cluster, 0, "/name").await.unwrap();
    assert_ne!(first, second);
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    assert_eq!(get(&cluster, 0, "/name").await.unwrap().1, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_connection_outlives_its_endpoint_but_not_its_process() {
    let (cluster, _) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let replica = cluster.replicas()[0].clone();
    let mut held = loop {
        let stream = open(&cluster, 0, cluster.service(), "/hang").await.unwrap();
        let from = stream.local_addr().unwrap();
        crate::support::until("the connection is routed", LIMIT, || cluster.routed(from).is_some()).await;
        if cluster.routed(from).as_ref() == Some(&replica.name) {
            break stream;
        }
    };
    get_at(&cluster, 1, replica.addr, "/busy").await.unwrap();
    cluster.wait(&Condition::NotReady(replica.name.clone()), LIMIT).await.unwrap();
    let mut byte = [0; 1];
    assert!(timeout(Duration::from_millis(100), held.read(&mut byte)).await.is_err(), "it is still open");
    cluster.kill(&replica.name).await.unwrap();
    let end = timeout(Duration::from_secs(2), held.read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_passes_and_a_reset_passes_as_a_reset() {
    let (cluster, _) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    // The server answers when our side has ended: a half-closed connection carries the answer.
    let mut stream = open(&cluster, 0, cluster.service(), "/hang").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    // The server closes with our bytes unread, which is a reset.
    let mut stream = open(&cluster, 0, cluster.service(), "/unread").await.unwrap();
    let end = timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_host_is_found() {
    let mut ours = manifests();
    ours.append_args(["--loopback"]);
    let (cluster, _) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    for replica in cluster.replicas() {
        assert!(replica.addr.ip().is_loopback() && replica.addr.ip().to_string() == "127.0.0.1");
        assert_eq!(get_at(&cluster, 0, replica.addr, "/name").await.unwrap().1, replica.name);
    }
    get(&cluster, 0, "/name").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_selects_nothing_has_no_endpoints() {
    let mut ours = manifests();
    let selector = ours.service.spec.as_mut().unwrap().selector.as_mut().unwrap();
    selector.insert("app".to_owned(), "another".to_owned());
    let (cluster, _) = up(ours).await;
    for replica in cluster.replicas() {
        let restarted = Condition::State { replica: replica.name, reason: "never".to_owned() };
        cluster.wait(&restarted, Duration::from_millis(1)).await.unwrap_err();
    }
    let unmet = cluster.wait(&Condition::Ready(2), Duration::from_secs(1)).await.unwrap_err();
    assert!(unmet.to_string().contains("2 pods, all ready"), "{unmet}");
    let refused = get(&cluster, 0, "/name").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
