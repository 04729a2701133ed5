//! What a Deployment does with its pods.

use std::time::Duration;

use harness::cluster::{Condition, Phase};
use harness::transcript::{Fault, PodChange, What};

use crate::support::{LIMIT, changes, event_reasons, get_at, manifests, names, up};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_is_restarted_in_its_pod() {
    let (cluster, recorder) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let before = cluster.replicas();
    let killed = before[0].name.clone();
    cluster.kill(&killed).await.unwrap();
    let restarted = Condition::Restarted { replica: killed.clone(), more_than: 0 };
    cluster.wait(&restarted, LIMIT).await.unwrap();
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let after = cluster.replicas();
    assert_eq!((after[0].name.clone(), after[0].addr), (killed.clone(), before[0].addr));
    assert_eq!((after[0].restarts, after[1].restarts), (1, 0));
    assert_eq!(after[1], before[1]);
    assert_eq!(
        changes(&recorder, &killed),
        [
            PodChange::Created,
            PodChange::Running { restarts: 0 },
            PodChange::Ready,
            PodChange::Terminated { reason: "Error".to_owned(), exit_code: 137, by: None },
            PodChange::NotReady,
            PodChange::Running { restarts: 1 },
            PodChange::Ready,
        ]
    );
    let faults = recorder.entries().into_iter().filter(|entry| matches!(entry.what, What::Fault(_)));
    assert_eq!(
        faults.map(|entry| entry.what).collect::<Vec<_>>(),
        [What::Fault(Fault::Kill { replica: killed })]
    );
    cluster.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_is_replaced_at_another_address() {
    let (cluster, recorder) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let before = cluster.replicas();
    let deleted = before[0].clone();
    cluster.delete(&deleted.name, None).await.unwrap();
    assert!(!names_of_ready(&cluster).contains(&deleted.name), "out of the endpoints at once");
    cluster.wait(&Condition::Gone(deleted.name.clone()), LIMIT).await.unwrap();
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let after = cluster.replicas();
    assert!(!names(&cluster).contains(&deleted.name));
    assert!(after.iter().all(|replica| replica.addr != deleted.addr && replica.phase == Phase::Running));
    let answer = get_at(&cluster, 0, deleted.addr, "/name").await;
    assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(
        changes(&recorder, &deleted.name).split_off(3),
        [
            PodChange::Terminating,
            PodChange::Terminated { reason: "Error".to_owned(), exit_code: 143, by: None },
            PodChange::Deleted,
        ]
    );
    assert_eq!(event_reasons(&recorder, &format!("Pod/{}", deleted.name)), ["Started", "Killing"]);
    assert!(cluster.logs(&deleted.name)[0].starts_with("listening at 127."), "its output is still there");
    assert!(cluster.delete("nobody", None).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_scales_up_and_down() {
    let (cluster, recorder) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let first = names(&cluster);
    cluster.scale(4).await.unwrap();
    cluster.wait(&Condition::Ready(4), LIMIT).await.unwrap();
    assert!(first.iter().all(|name| names(&cluster).contains(name)));
    cluster.scale(1).await.unwrap();
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    cluster.scale(0).await.unwrap();
    cluster.wait(&Condition::Ready(0), LIMIT).await.unwrap();
    let refused = crate::support::get(&cluster, 0, "/name").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.scale(1).await.unwrap();
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    crate::support::get(&cluster, 0, "/name").await.unwrap();
    assert_eq!(event_reasons(&recorder, "Deployment/mcp-hub"), ["ScalingReplicaSet"; 5]);
    let set = first[0].rsplit_once('-').unwrap().0;
    let events = event_reasons(&recorder, &format!("ReplicaSet/{set}"));
    assert_eq!(events.iter().filter(|reason| *reason == "SuccessfulCreate").count(), 5);
    assert_eq!(events.iter().filter(|reason| *reason == "SuccessfulDelete").count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_always_has_two_endpoints() {
    let mut ours = manifests();
    ours.append_args(["--stubborn"]);
    let (cluster, recorder) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let old = names(&cluster);
    let rolled_from = recorder.entries().len();
    cluster.roll().await.unwrap();
    cluster.wait(&Condition::RolledOut, LIMIT).await.unwrap();
    assert!(names(&cluster).iter().all(|name| !old.contains(name)));
    let mut most = 0;
    for entry in recorder.entries().split_off(rolled_from) {
        if let What::Endpoints { ready } = entry.what {
            assert!(ready.len() >= 2, "{ready:?}");
            most = most.max(ready.len());
        }
    }
    assert_eq!(most, 3, "one more than two at a time");
    let position = |wanted: &dyn Fn(&PodChange, &String) -> bool| {
        recorder.entries().iter().position(|entry| match &entry.what {
            What::Pod { pod, change } => wanted(change, pod),
            _ => false,
        })
    };
    let new_ones = names(&cluster);
    let all_created =
        new_ones.iter().map(|name| position(&|change, pod| *change == PodChange::Created && pod == name));
    let first_gone = position(&|change, _| *change == PodChange::Deleted);
    assert!(all_created.max().flatten() < first_gone, "a pod that ends holds nothing up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_ends_all_before_it_begins() {
    let mut ours = manifests();
    let strategy = ours.deployment.spec.as_mut().unwrap().strategy.as_mut().unwrap();
    strategy.type_ = Some("Recreate".to_owned());
    strategy.rolling_update = None;
    let (cluster, recorder) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let old = names(&cluster);
    cluster.roll().await.unwrap();
    cluster.wait(&Condition::RolledOut, LIMIT).await.unwrap();
    let entries = recorder.entries();
    let last_deleted = entries.iter().rposition(
        |entry| matches!(&entry.what, What::Pod { pod, change: PodChange::Deleted } if old.contains(pod)),
    );
    let first_created = entries.iter().position(
        |entry| matches!(&entry.what, What::Pod { pod, change: PodChange::Created } if !old.contains(pod)),
    );
    assert!(last_deleted.unwrap() < first_created.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_service_or_of_secrets_rolls_nothing() {
    let (cluster, _) = up(manifests()).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let before = names(&cluster);
    let mut edited = cluster.manifests().await.unwrap();
    edited.set_affinity(Some(Duration::from_secs(2)));
    edited.set_secret_key("mcp-hub-secrets", "NEO4J_PASSWORD", "another");
    cluster.apply(edited.clone(), None).await.unwrap();
    cluster.wait(&Condition::RolledOut, LIMIT).await.unwrap();
    assert_eq!(names(&cluster), before);
    edited.set_image("unheard-of:1");
    let error = cluster.apply(edited, None).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "nothing says which command runs as image unheard-of:1, and container mcp-hub has no `command`"
    );
}

fn names_of_ready(cluster: &harness::cluster::local::Local) -> Vec<String> {
    let serving = cluster.replicas().into_iter().filter(|replica| replica.ready && !replica.terminating);
    serving.map(|replica| replica.name).collect()
}
