//! Who gets connections, as slices say it.

use harness::cluster::Condition;
use serde_json::json;

use super::ages::{V1_20, V1_37};
use super::cell::up;
use super::objects::{ending, endpoint, endpoints, pod, ready, slice};

#[tokio::test]
async fn slices_of_one_service_are_read_together() {
    let cell = up(V1_37).await;
    cell.put("pods", pod("a", "10.244.1.5", true));
    cell.put("pods", pod("b", "10.244.1.6", true));
    // Two with addresses of one kind, and one with those of the other, as of a Service that has both.
    cell.put_slice(slice("mcp-hub-service-1", "IPv4", vec![ready("b", "10.244.1.6")]));
    cell.put_slice(slice("mcp-hub-service-2", "IPv4", vec![ready("a", "10.244.1.5")]));
    cell.put_slice(slice("mcp-hub-service-6", "IPv6", vec![ready("a", "fd00::5"), ready("b", "fd00::6")]));
    cell.wait(Condition::Ready(2)).await;
    assert_eq!(cell.endpoints_told().last().unwrap(), &["a", "b"], "each once");
    // It is gone when no slice names it any more.
    cell.put_slice(slice("mcp-hub-service-1", "IPv4", vec![]));
    cell.put_slice(slice("mcp-hub-service-6", "IPv6", vec![ready("a", "fd00::5")]));
    cell.wait(Condition::NotReady("b".to_owned())).await;
    assert_eq!(cell.endpoints_told().last().unwrap(), &["a"]);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_or_ends_gets_no_connections() {
    let cell = up(V1_37).await;
    for (name, ip) in [("a", "10.244.1.5"), ("b", "10.244.1.6"), ("c", "10.244.1.7")] {
        cell.put("pods", pod(name, ip, true));
    }
    let all = [("a", "10.244.1.5"), ("b", "10.244.1.6"), ("c", "10.244.1.7")];
    cell.put_slice(slice("mcp-hub-service-1", "IPv4", all.map(|(pod, ip)| ready(pod, ip)).to_vec()));
    cell.wait(Condition::Ready(3)).await;
    cell.put("pods", pod("b", "10.244.1.6", false));
    cell.put("pods", ending(pod("c", "10.244.1.7", true)));
    let endpoints = vec![
        ready("a", "10.244.1.5"),
        endpoint("b", "10.244.1.6", json!({ "ready": false, "serving": false, "terminating": false })),
        endpoint("c", "10.244.1.7", json!({ "ready": false, "serving": true, "terminating": true })),
    ];
    cell.put_slice(slice("mcp-hub-service-1", "IPv4", endpoints));
    tokio::join!(
        cell.wait(Condition::NotReady("b".to_owned())),
        cell.wait(Condition::NotReady("c".to_owned()))
    );
    assert_eq!(cell.endpoints_told().last().unwrap(), &["a"]);
    let replicas = cell.cell.replicas();
    let told: Vec<_> = replicas.iter().map(|pod| (pod.name.as_str(), pod.ready, pod.terminating)).collect();
    assert_eq!(told, [("a", true, false), ("b", false, false), ("c", true, true)]);
}

#[tokio::test]
async fn old_endpoints_say_the_same() {
    let cell = up(V1_20).await;
    cell.put("pods", pod("a", "10.244.1.5", true));
    cell.put("pods", pod("b", "10.244.1.6", true));
    cell.put("endpoints", endpoints(&["a", "b"], &[]));
    cell.wait(Condition::Ready(2)).await;
    cell.put("pods", pod("b", "10.244.1.6", false));
    cell.put("endpoints", endpoints(&["a"], &["b"]));
    cell.wait(Condition::NotReady("b".to_owned())).await;
    assert_eq!(cell.endpoints_told(), [vec!["a", "b"], vec!["a"]]);
}
