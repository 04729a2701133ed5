//! Objects as clusters have them, with what the harness reads of them.

use serde_json::{Value, json};

/// A pod of ours whose container runs.
pub(crate) fn pod(name: &str, ip: &str, is_ready: bool) -> Value {
    let ready = if is_ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "mcp-hub" } },
        "spec": {
            "containers": [{ "name": "mcp-hub", "image": "hub:1", "ports": [{ "containerPort": 8000 }] }],
            "nodeName": "worker", "terminationGracePeriodSeconds": 3,
        },
        "status": {
            "phase": "Running", "podIP": ip,
            "conditions": [{ "type": "Ready", "status": ready, "reason": "ContainersNotReady" }],
            "containerStatuses": [{ "name": "mcp-hub", "image": "", "imageID": "", "ready": is_ready, "restartCount": 0,
                                    "containerID": format!("containerd://{name}"), "state": { "running": {} } }],
        },
    })
}

/// The same pod, told to go.
pub(crate) fn ending(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod
}

/// The same pod when its container has ended.
pub(crate) fn ended(mut pod: Value) -> Value {
    let terminated = json!({ "exitCode": 0, "reason": "Completed", "containerID": "containerd://ended" });
    pod["status"]["containerStatuses"][0]["state"] = json!({ "terminated": terminated });
    pod
}

/// A slice of the Service `mcp-hub-service`, which the cluster gives a name of its own.
pub(crate) fn slice(name: &str, addresses: &str, endpoints: Vec<Value>) -> Value {
    // Go writes no list as null.
    let endpoints = if endpoints.is_empty() { Value::Null } else { endpoints.into() };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": addresses,
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "mcp-hub-service" } },
        "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8000, "protocol": "TCP" }],
    })
}

/// An endpoint of a slice that is ready, and serves.
pub(crate) fn ready(pod: &str, address: &str) -> Value {
    endpoint(pod, address, json!({ "ready": true, "serving": true, "terminating": false }))
}

/// An endpoint of a slice in this condition.
pub(crate) fn endpoint(pod: &str, address: &str, conditions: Value) -> Value {
    json!({ "addresses": [address], "conditions": conditions, "nodeName": "worker",
            "targetRef": { "kind": "Pod", "name": pod } })
}

/// The Endpoints of the Service: those that are ready, and those that are not.
pub(crate) fn endpoints(is_ready: &[&str], is_not: &[&str]) -> Value {
    let addresses = |pods: &[&str]| {
        let address = |(idx, pod): (usize, &&str)| json!({ "ip": format!("10.244.1.{}", idx + 5), "targetRef": { "kind": "Pod", "name": pod } });
        pods.iter().enumerate().map(address).collect::<Vec<_>>()
    };
    json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "mcp-hub-service" },
        "subsets": [{ "addresses": addresses(is_ready), "notReadyAddresses": addresses(is_not),
                      "ports": [{ "name": "http", "port": 8000, "protocol": "TCP" }] }],
    })
}

/// What a kubelet tells of a pod.
pub(crate) fn event(name: &str, pod: &str, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": name },
        "involvedObject": { "kind": "Pod", "name": pod },
        "reason": reason, "message": message, "type": "Normal",
    })
}
