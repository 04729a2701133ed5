//! Replicas that all listen at one port, in networks of their own.

use std::collections::BTreeSet;

use harness::cluster::Condition;
use harness::cluster::local::Spec;

use crate::support::{LIMIT, get, get_at, manifests, names, spec, up_with};

/// Where every one of them listens.
const PORT: u16 = 8000;

/// A spec of replicas that listen at that port, whatever they are asked to.
fn fixed() -> Spec {
    let mut ours = manifests();
    ours.append_args(["--port", "8000"]);
    Spec { fixed_port: Some(PORT), ..spec(ours) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_with_one_port_are_told_apart_and_see_their_clients() {
    let (cluster, _) = up_with(fixed()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.expect("each has a network of its own");
    let mut met = BTreeSet::new();
    for client in 0..30 {
        met.insert(get(&cluster, client, "/name").await.expect("an answer").1);
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), names(&cluster));
    for replica in cluster.replicas() {
        let (from, seen) = get_at(&cluster, 3, replica.addr, "/peer").await.expect("an answer");
        assert_eq!(seen, from.ip().to_string());
        assert_eq!(get_at(&cluster, 4, replica.addr, "/name").await.expect("an answer").1, replica.name);
    }
    cluster.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_ended_is_refused_and_comes_back() {
    let (cluster, _) = up_with(fixed()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.expect("each has a network of its own");
    let replica = cluster.replicas()[0].clone();
    cluster.stop(&replica.name).await.expect("it runs");
    cluster.wait(&Condition::NotReady(replica.name.clone()), LIMIT).await.expect("its probe waits in vain");
    cluster.cont(&replica.name).await.expect("it runs");
    cluster.wait(&Condition::Ready(2), LIMIT).await.expect("it answers again");
    cluster.kill(&replica.name).await.expect("it runs");
    let restarted = Condition::Restarted { replica: replica.name.clone(), more_than: 0 };
    cluster.wait(&restarted, LIMIT).await.expect("it is restarted");
    let answer = get_at(&cluster, 3, replica.addr, "/name").await.expect("an answer");
    assert_eq!(answer.1, replica.name);
    cluster.delete(&replica.name, None).await.expect("it is there");
    cluster.wait(&Condition::Gone(replica.name), LIMIT).await.expect("it ends");
    let refused = get_at(&cluster, 4, replica.addr, "/name").await.expect_err("nothing listens any more");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.down().await;
}
