//! The local backend, driven with a tiny server in place of a hub.

#![cfg(target_os = "linux")]

mod cluster_support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cluster_support::{LIMIT, get, manifests, names, up, up_with};
use harness::cluster::Condition;
use harness::cluster::local::Local;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_become_ready_and_share_connections() {
    let (cluster, recorder) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let mut reached = BTreeSet::new();
    for number in 0..40 {
        let (from, name) = get(&cluster, number % 7, "/name").await.unwrap();
        assert_eq!(cluster.routed(from).as_ref(), Some(&name));
        reached.insert(name);
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), names(&cluster));
    let _ = (recorder, SocketAddr::from(([0, 0, 0, 0], 0)), Duration::ZERO, up_with, Local::down);
}
