//! What comes up before the hub: applied in order, waited for, and told by name when it does not come.

use std::sync::Arc;

use harness::cluster::Condition;
use harness::cluster::kubernetes::UpError;
use harness::cluster::manifest::{Beside, Choice, Manifests};
use harness::transcript::What;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::ages::V1_37;
use super::api::{Api, Asked};
use super::cell::{Cell, core, of, up_with};
use super::objects::{event, pod, ready, slice};

/// A hub that needs a cache, which an account and a claim come with.
fn manifests() -> Manifests {
    let choice = Choice { deployment: Some("hub".to_owned()), ..Choice::default() };
    let text = include_str!("../companions/gateway.yaml");
    let mut manifests = Manifests::parse_for(&[("all.yaml", text)], &choice).unwrap();
    manifests.bring_up_beside(Beside::Everything);
    manifests
}

async fn begun() -> (Arc<Api>, JoinHandle<Result<Cell, UpError>>) {
    let api = Api::start(V1_37).await;
    let cell = tokio::spawn(up_with(Arc::clone(&api), manifests()));
    api.until("the cache's pods", |asked| watched(asked, "cache")).await;
    api.until("the database's pods", |asked| watched(asked, "db")).await;
    (api, cell)
}

/// Whether the pods of this companion are waited for.
fn watched(asked: &[Asked], companion: &str) -> bool {
    let of = format!("hubcheck/companion={companion}");
    asked.iter().any(|asked| asked.query.get("labelSelector") == Some(&of))
}

/// Says of a workload that so many of its pods are available.
fn available(api: &Api, kind: &str, name: &str, count: i64) {
    let collection = of("apps/v1", kind);
    let mut object = api.object(&collection, name).unwrap();
    let generation = object["metadata"]["generation"].clone();
    object["status"] = json!({ "observedGeneration": generation, "availableReplicas": count });
    api.put(&collection, object);
}

/// A pod of a companion whose container waits.
fn waiting(name: &str, companion: &str, reason: &str) -> Value {
    let mut pod = pod(name, "10.244.1.9", false);
    pod["metadata"]["labels"] = json!({ "hubcheck/companion": companion });
    pod["status"]["containerStatuses"][0]["state"] =
        json!({ "waiting": { "reason": reason, "message": "pull access denied" } });
    pod
}

#[tokio::test]
async fn the_hub_comes_last() {
    let (api, cell) = begun().await;
    let applied = |api: &Api| -> Vec<String> {
        let asked = api.asked().into_iter().filter(|asked| asked.method == "PATCH");
        let within = asked.filter(|asked| asked.path.contains("/namespaces/hubcheck-run-0/"));
        within.map(|asked| asked.path.split('/').rev().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let companions = [
        "cache secrets",
        "hub serviceaccounts",
        "hub roles",
        "hub rolebindings",
        "data persistentvolumeclaims",
        "cache services",
        "db services",
        "db statefulsets",
        "cache deployments",
    ];
    assert_eq!(applied(&api), companions);
    available(&api, "deployments", "cache", 1);
    available(&api, "statefulsets", "db", 1);
    assert_eq!(applied(&api), companions, "one of two is not enough");
    available(&api, "deployments", "cache", 2);
    let cell = cell.await.unwrap().unwrap();
    assert_eq!(applied(&api)[companions.len()..], ["hub services", "hub deployments"]);
    let binding = api.object(&of("rbac.authorization.k8s.io/v1", "rolebindings"), "hub").unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], "hubcheck-run-0");
    assert_eq!(binding["metadata"]["namespace"], "hubcheck-run-0");
    let hub = api.object(&of("apps/v1", "deployments"), "hub").unwrap();
    let container = &hub["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][0]["value"], "redis://cache.hubcheck-run-0.svc.cluster.local:6379/0");
    cell.cell.down().await;
}

#[tokio::test]
async fn pods_and_events_of_companions_are_not_the_hubs() {
    let (api, cell) = begun().await;
    available(&api, "deployments", "cache", 2);
    available(&api, "statefulsets", "db", 1);
    let cell = cell.await.unwrap().unwrap();
    cell.put("pods", waiting("cache-7f9-a", "cache", "CrashLoopBackOff"));
    cell.put("events", event("1", "cache-7f9-a", "BackOff", "of the cache"));
    cell.put("events", event("2", "hub-7f9-a", "Pulled", "of the hub"));
    cell.put("pods", pod("hub-7f9-a", "10.244.1.5", true));
    let mut slice = slice("hub-1", "IPv4", vec![ready("hub-7f9-a", "10.244.1.5")]);
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("hub");
    cell.put_slice(slice);
    cell.wait(Condition::Ready(1)).await;
    let replicas: Vec<String> = cell.cell.replicas().into_iter().map(|replica| replica.name).collect();
    assert_eq!(replicas, ["hub-7f9-a"]);
    let recorder = cell.recorder.clone();
    cell.cell.down().await;
    let told: Vec<String> = recorder
        .entries()
        .into_iter()
        .filter_map(|entry| if let What::Event { message, .. } = entry.what { Some(message) } else { None })
        .collect();
    assert_eq!(told, ["of the hub"]);
}

#[tokio::test]
async fn a_companion_whose_image_cannot_be_had_is_named() {
    let (api, cell) = begun().await;
    available(&api, "statefulsets", "db", 1);
    api.put(&core("pods"), waiting("cache-7f9-a", "cache", "ErrImagePull"));
    api.put(&core("pods"), waiting("cache-7f9-a", "cache", "ImagePullBackOff"));
    let error = cell.await.unwrap().map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "deployment/cache, which the manifests have beside the hub, is not ready: pod cache-7f9-a: ImagePullBackOff (pull access denied)"
    );
    assert!(matches!(error, UpError::Companion { is_hopeless: true, .. }));
    let hub = api.asked().into_iter().any(|asked| asked.path.ends_with("/deployments/hub"));
    assert!(!hub, "the hub is not started");
}
