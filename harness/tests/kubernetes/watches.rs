//! Watches that end, and what happened meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use harness::cluster::Condition;
use harness::transcript::{PodChange, What};
use http::Method;

use super::ages::{Age, V1_20, V1_37};
use super::api::{Asked, LIMIT};
use super::cell::{Cell, NAMESPACE, core, of, up};
use super::objects::{endpoints, event, pod, ready, slice};

/// What the Service's pods are told by.
fn routed(age: &str, pods: &[(&str, &str)]) -> (String, serde_json::Value) {
    match age {
        "1.20" => {
            let names: Vec<&str> = pods.iter().map(|(pod, _)| *pod).collect();
            (core("endpoints"), endpoints(&names, &[]))
        }
        _ => {
            let ready = pods.iter().map(|(pod, ip)| ready(pod, ip)).collect();
            (of("discovery.k8s.io/v1", "endpointslices"), slice("mcp-hub-service-1", "IPv4", ready))
        }
    }
}

fn put_routed(cell: &Cell, age: &str, pods: &[(&str, &str)]) {
    let (collection, object) = routed(age, pods);
    cell.api.put(&collection, object);
}

/// How often a kind of object was listed.
fn listed(cell: &Cell, kind: &str) -> usize {
    cell.api
        .asked()
        .iter()
        .filter(|asked| asked.method == "GET" && asked.is_of(kind) && !asked.is_watch())
        .count()
}

const AGES: [(&str, Age, &str); 2] = [("1.20", V1_20, "endpoints"), ("1.37", V1_37, "endpointslices")];
const A: (&str, &str) = ("a", "10.244.1.5");
const B: (&str, &str) = ("b", "10.244.1.6");

#[tokio::test]
async fn a_watch_that_ends_with_410_is_made_again_and_tells_nothing_new() {
    join_all(AGES.map(async |(age, serves, kind)| {
        let cell = up(serves).await;
        cell.put("pods", pod(A.0, A.1, true));
        put_routed(&cell, age, &[A]);
        cell.wait(Condition::Ready(1)).await;
        let lists = listed(&cell, kind);
        cell.api.lose(&[], vec![]);
        let all_again = |asked: &[Asked]| {
            ["pods", kind, "events", "deployments"].iter().all(|kind| {
                asked
                    .iter()
                    .filter(|asked| {
                        asked.is_watch() && asked.path.contains("hubcheck-run-0") && asked.is_of(kind)
                    })
                    .count()
                    == 2
            })
        };
        cell.api.until("a second watch of everything", all_again).await;
        assert_eq!(listed(&cell, kind), lists + 1, "{age}");
        cell.put("pods", pod(B.0, B.1, true));
        put_routed(&cell, age, &[A, B]);
        cell.wait(Condition::Ready(2)).await;
        assert_eq!(cell.endpoints_told(), [vec!["a"], vec!["a", "b"]], "{age}: nobody was gone in between");
        assert_eq!(
            changes(&cell, "a"),
            [PodChange::Created, PodChange::Running { restarts: 0 }, PodChange::Ready]
        );
    }))
    .await;
}

#[tokio::test]
async fn what_happened_between_two_watches_is_told() {
    join_all(AGES.map(async |(age, serves, _)| {
        let cell = up(serves).await;
        cell.put("pods", pod(A.0, A.1, true));
        cell.put("pods", pod(B.0, B.1, true));
        put_routed(&cell, age, &[A, B]);
        cell.wait(Condition::Ready(2)).await;
        let (collection, object) = routed(age, &[A]);
        cell.api.lose(&[(&core("pods"), "b")], vec![(&collection, object)]);
        cell.wait(Condition::Ready(1)).await;
        assert_eq!(cell.endpoints_told(), [vec!["a", "b"], vec!["a"]], "{age}");
        assert_eq!(changes(&cell, "b").last(), Some(&PodChange::Deleted), "{age}");
    }))
    .await;
}

#[tokio::test]
async fn objects_that_went_between_two_watches_are_gone() {
    join_all(AGES.map(async |(age, serves, _)| {
        let cell = up(serves).await;
        cell.put("pods", pod(A.0, A.1, true));
        put_routed(&cell, age, &[A]);
        cell.wait(Condition::Ready(1)).await;
        let (collection, object) = routed(age, &[A]);
        let name = object["metadata"]["name"].as_str().unwrap();
        cell.api.lose(&[(&collection, name)], vec![]);
        cell.wait(Condition::NotReady("a".to_owned())).await;
        assert_eq!(cell.endpoints_told(), [vec!["a".to_owned()], vec![]], "{age}");
    }))
    .await;
}

#[tokio::test]
async fn an_event_is_told_once_however_often_it_is_heard() {
    let cell = up(V1_37).await;
    cell.put("events", event("a.1", "a", "Killing", "Stopping container mcp-hub"));
    cell.put("pods", pod(A.0, A.1, true));
    put_routed(&cell, "1.37", &[A]);
    cell.wait(Condition::Ready(1)).await;
    let watches =
        |asked: &[Asked]| asked.iter().filter(|asked| asked.is_watch() && asked.is_of("events")).count();
    cell.api.lose(&[], vec![(&core("events"), event("a.2", "a", "Unhealthy", "Readiness probe failed"))]);
    cell.api.until("a second watch of events", |asked| watches(asked) == 2).await;
    let recorder = cell.recorder.clone();
    cell.cell.down().await;
    let told = recorder.entries().into_iter().filter_map(|entry| match entry.what {
        What::Event { object, reason, .. } => Some((object, reason)),
        _ => None,
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    let expected = ["Killing", "Unhealthy"].map(|reason| ("Pod/a".to_owned(), reason.to_owned()));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_log_that_is_followed_is_of_the_container_that_counts() {
    let cell = up(V1_37).await;
    let mut beside = pod(A.0, A.1, true);
    let sidecar = serde_json::json!({ "name": "proxy", "image": "proxy:1" });
    beside["spec"]["containers"].as_array_mut().unwrap().insert(0, sidecar);
    beside["metadata"]["annotations"] =
        serde_json::json!({ "kubectl.kubernetes.io/default-container": "mcp-hub" });
    cell.put("pods", beside);
    cell.api.until("a log", |asked| asked.iter().any(|asked| asked.path.ends_with("/pods/a/log"))).await;
    let asked = cell.api.asked().into_iter().find(|asked| asked.path.ends_with("/pods/a/log")).unwrap();
    assert_eq!(asked.query.get("container").map(String::as_str), Some("mcp-hub"));
}

#[tokio::test]
async fn a_node_that_cannot_retrieve_a_log_is_asked_again_and_its_own_lines_are_none_of_the_containers() {
    let cell = up(V1_37).await;
    let unretrievable = "unable to retrieve container logs for containerd://0a\n";
    let removed = "rpc error: code = NotFound desc = an error occurred when try to find container \"0a\": not found\n\
                   port 8000 is in use\n";
    let unreached = serde_json::json!({ "kind": "Status", "status": "Failure", "code": 500, "message": "dial tcp: i/o timeout" });
    for (status, said) in [(500, unreached), (200, unretrievable.into()), (200, removed.into())] {
        cell.api.answer(Method::GET, &format!("{NAMESPACE}/pods/a/log"), status, said);
    }
    cell.put("pods", pod(A.0, A.1, true));
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let told = async {
        while !cell.recorder.entries().iter().any(|entry| matches!(entry.what, What::Log { .. })) {
            look.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("a line is told");
    let lines = cell.recorder.entries().into_iter().filter_map(|entry| match entry.what {
        What::Log { pod, line } => Some((pod, line)),
        _ => None,
    });
    assert_eq!(lines.collect::<Vec<_>>(), [("a".to_owned(), "port 8000 is in use".to_owned())]);
}

/// What became of a pod.
fn changes(cell: &Cell, name: &str) -> Vec<PodChange> {
    let of = |what| match what {
        What::Pod { pod, change } if pod == name => Some(change),
        _ => None,
    };
    cell.recorder.entries().into_iter().filter_map(|entry| of(entry.what)).collect()
}
