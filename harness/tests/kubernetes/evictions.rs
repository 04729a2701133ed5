//! Evictions, and the budgets that refuse them.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::ages::{Age, V1_20, V1_21, V1_37, WITHOUT_POLICY};
use super::api::failure;
use super::cell::{Cell, NAMESPACE, of, up};
use super::objects::{ending, pod};

/// The version of budgets and that of evictions.
const VERSIONS: [(Age, &str, &str); 3] = [
    (V1_20, "policy/v1beta1", "policy/v1beta1"),
    (V1_21, "policy/v1", "policy/v1beta1"),
    (V1_37, "policy/v1", "policy/v1"),
];

/// What is answered while a budget allows nothing: the words are the same in 1.20 and 1.37.
fn not_allowed() -> Value {
    let mut refused =
        failure(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
    refused["details"] = json!({ "causes": [{ "reason": "DisruptionBudget",
        "message": "The disruption budget hubcheck needs 1 healthy pods and has 1 currently" }] });
    refused
}

fn evictions(cell: &Cell) -> Vec<Value> {
    let posted = cell.api.asked().into_iter().filter(|asked| asked.path.ends_with("/pods/a/eviction"));
    posted.map(|asked| asked.body).collect()
}

async fn with_a_pod(age: Age) -> Cell {
    let cell = up(age).await;
    cell.put("pods", pod("a", "10.244.1.5", true));
    // Whoever asks for its log has seen it.
    cell.api.until("a log", |asked| asked.iter().any(|asked| asked.path.ends_with("/pods/a/log"))).await;
    assert_eq!(cell.cell.replicas().len(), 1);
    cell
}

#[tokio::test]
async fn an_eviction_that_a_budget_refuses_is_told_and_another_is_taken() {
    join_all(VERSIONS.map(async |(age, _, version)| {
        let cell = with_a_pod(age).await;
        let path = format!("{NAMESPACE}/pods/a/eviction");
        cell.api.answer(Method::POST, &path, 429, not_allowed());
        let refused = cell.cell.evict("a").await.unwrap().unwrap();
        assert_eq!(refused.reason, "TooManyRequests");
        assert_eq!(refused.message, "Cannot evict pod as it would violate the pod's disruption budget.");
        assert_eq!(evictions(&cell).len(), 1, "what is refused is not asked again behind our back");
        let (evicted, ()) = tokio::join!(cell.cell.evict("a"), async {
            cell.api
                .until("a second eviction", |asked| {
                    asked.iter().filter(|asked| asked.path.ends_with("/eviction")).count() == 2
                })
                .await;
            cell.put("pods", ending(pod("a", "10.244.1.5", true)));
        });
        assert_eq!(evicted.unwrap(), None);
        let expected = json!({ "apiVersion": version, "kind": "Eviction",
                               "metadata": { "name": "a", "namespace": "hubcheck-run-0" } });
        assert_eq!(evictions(&cell), [expected.clone(), expected], "{age:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_server_that_is_overwhelmed_refuses_by_no_budget() {
    let cell = with_a_pod(V1_37).await;
    let busy = failure(429, "TooManyRequests", "too many requests, please try again later");
    cell.api.answer(Method::POST, &format!("{NAMESPACE}/pods/a/eviction"), 429, busy);
    let error = cell.cell.evict("a").await.unwrap_err().to_string();
    assert_eq!(error, "evicting a pod: too many requests, please try again later (429)");
}

#[tokio::test]
async fn a_budget_is_of_the_version_that_is_served_and_is_watched_until_it_is_counted() {
    join_all(VERSIONS.map(async |(age, version, _)| {
        let cell = up(age).await;
        let budgets = of(version, "poddisruptionbudgets");
        let counted = |generation: i64, allowed: i64| {
            let mut budget = cell.api.object(&budgets, "hubcheck").unwrap();
            budget["metadata"]["generation"] = json!(2);
            budget["status"] = json!({ "observedGeneration": generation, "disruptionsAllowed": allowed });
            cell.api.put(&budgets, budget);
        };
        let (kept, ()) = tokio::join!(cell.cell.keep_available(1), async {
            let watched = "a watch of budgets";
            cell.api
                .until(watched, |asked| asked.iter().any(|asked| asked.is_watch() && asked.path == budgets))
                .await;
            // Of the budget as it was before, and then too few pods.
            counted(1, 1);
            counted(2, 0);
            counted(2, 1);
        });
        kept.unwrap();
        let asked: Vec<_> =
            cell.api.asked().into_iter().filter(|asked| asked.is_of("poddisruptionbudgets")).collect();
        let methods: Vec<_> = asked.iter().map(|asked| (asked.method.as_str(), asked.is_watch())).collect();
        assert_eq!(
            methods,
            [("PATCH", false), ("GET", false), ("GET", true)],
            "{age:?}: nothing is asked again"
        );
        let selector = json!({ "matchLabels": { "app": "mcp-hub" } });
        let expected = json!({ "apiVersion": version, "kind": "PodDisruptionBudget", "metadata": { "name": "hubcheck" },
                               "spec": { "minAvailable": 1, "selector": selector } });
        assert_eq!(asked[0].body, expected, "{age:?}");
    }))
    .await;
}

#[tokio::test]
async fn where_neither_is_served_it_is_said() {
    let cell = with_a_pod(WITHOUT_POLICY).await;
    assert!(!cell.cell.evicts());
    let error = cell.cell.keep_available(1).await.unwrap_err().to_string();
    assert_eq!(error, "the cluster serves no PodDisruptionBudgets");
    let error = cell.cell.evict("a").await.unwrap_err().to_string();
    assert_eq!(error, "the cluster serves no evictions");
}
