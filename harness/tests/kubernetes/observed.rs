//! Pods behind a URL: which they are, and which of them had a request.

use std::time::Duration;

use harness::cluster::kubernetes::{Observed, Observer, Somewhere};
use http::Method;
use serde_json::{Value, json};

use super::ages::V1_37;
use super::api::{Api, LIMIT};
use super::cell::{USER, kubeconfig};
use super::objects::{ending, pod};

const PODS: &str = "/api/v1/namespaces/tools/pods";
const SERVICES: &str = "/api/v1/namespaces/tools/services";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/tools/deployments";

/// A server with a Deployment of two ready pods and others, and what reads it.
async fn observed(what: &str) -> (std::sync::Arc<Api>, Observer) {
    let api = Api::start(V1_37).await;
    api.put(
        DEPLOYMENTS,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "hub" },
            "spec": { "selector": { "matchLabels": { "app": "mcp-hub" } }, "template": {} },
        }),
    );
    for (name, ip, is_ready) in
        [("b", "10.244.1.6", true), ("a", "10.244.1.5", true), ("c", "10.244.1.7", false)]
    {
        api.put(PODS, pod(name, ip, is_ready));
    }
    api.put(PODS, ending(pod("d", "10.244.1.8", true)));
    let mut other = pod("other", "10.244.1.9", true);
    other["metadata"]["labels"]["app"] = json!("other");
    api.put(PODS, other);
    let folder = tempfile::tempdir().unwrap();
    let place = Somewhere {
        kubeconfig: Some(kubeconfig(&api, folder.path(), USER)),
        context: Some("dev".to_owned()),
        namespace: Some("tools".to_owned()),
    };
    let observer = Observer::start(&place, what.parse::<Observed>().unwrap()).await.unwrap();
    (api, observer)
}

fn log(api: &Api, pod: &str, lines: &str) {
    api.answer(Method::GET, &format!("{PODS}/{pod}/log"), 200, Value::from(lines));
}

#[tokio::test]
async fn the_pods_of_a_deployment_are_read_and_nothing_is_changed() {
    let (api, observer) = observed("deployment/hub").await;
    let pods = observer.pods().await.unwrap();
    let told: Vec<(&str, bool)> = pods.iter().map(|pod| (pod.name.as_str(), pod.is_ready)).collect();
    assert_eq!(told, [("a", true), ("b", true), ("c", false), ("d", false)]);
    log(&api, "a", "10.0.0.1 \"GET /mcp?hubcheck=5eed HTTP/1.1\" 400\n");
    log(&api, "b", "started\n");
    log(&api, "b", "started\n10.0.0.1 \"GET /mcp?hubcheck=5eed HTTP/1.1\" 400\n");
    log(&api, "a", "10.0.0.1 \"GET /mcp?hubcheck=5eed HTTP/1.1\" 400\n");
    assert_eq!(observer.printing(&pods, "hubcheck=5eed", LIMIT).await, ["a", "b"], "b prints it late");
    assert!(observer.printing(&pods, "hubcheck=5eed", Duration::ZERO).await.is_empty(), "they print no more");
    assert!(api.asked().iter().all(|asked| asked.method == "GET"), "nothing is changed");
}

#[tokio::test]
async fn a_service_of_the_pods_spreads_what_comes_to_its_address() {
    let (api, observer) = observed("app=mcp-hub").await;
    let pods = observer.pods().await.unwrap();
    let service = |name: &str, ip: &str, app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "clusterIP": ip, "selector": { "app": app }, "ports": [{ "port": 80 }] },
        })
    };
    api.put(SERVICES, service("mcp", "10.96.0.7", "mcp-hub"));
    api.put(SERVICES, service("others", "10.96.0.8", "other"));
    let at = async |to: &str| observer.spreads(to.parse().unwrap(), &pods).await;
    assert_eq!(at("10.96.0.7:80").await.as_deref(), Some("mcp"));
    assert_eq!(at("10.96.0.8:80").await, None, "of other pods");
    assert_eq!(at("127.0.0.1:80").await, None);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let api = Api::start(V1_37).await;
    let folder = tempfile::tempdir().unwrap();
    let place = |context: &str| Somewhere {
        kubeconfig: Some(kubeconfig(&api, folder.path(), USER)),
        context: Some(context.to_owned()),
        namespace: None,
    };
    let refused = async |context: &str| {
        let started = Observer::start(&place(context), "deployment/hub".parse().unwrap()).await;
        started.unwrap_err().to_string()
    };
    assert_eq!(refused("dev").await, "reading deployment/hub in namespace default: hub not found (404)");
    assert_eq!(refused("prod").await, "the kubeconfig has no context `prod`; it has dev");
}
