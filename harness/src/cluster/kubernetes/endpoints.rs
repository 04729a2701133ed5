//! Which pods a Service gives connections to: of EndpointSlices where they are served (from 1.21), else of Endpoints.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The ready pods by the objects that name them: a Service has several slices when it has many pods, and one of each
/// kind of address that it has.
#[derive(Debug, Default)]
pub(super) struct Ready {
    known: BTreeMap<String, BTreeSet<String>>,
    /// What a listing has named so far. It replaces what is known only when it is complete: that a watch is made anew says
    /// nothing about the pods.
    listed: Option<BTreeMap<String, BTreeSet<String>>>,
}

// === impl Ready ===

impl Ready {
    /// The names of all of them, sorted.
    pub(super) fn pods(&self) -> Vec<String> {
        self.known.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    pub(super) fn says(&mut self, object: String, ready: BTreeSet<String>) {
        self.known.insert(object, ready);
    }

    pub(super) fn forget(&mut self, object: &str) {
        self.known.remove(object);
    }

    pub(super) fn listing_begins(&mut self) {
        self.listed = Some(BTreeMap::new());
    }

    pub(super) fn lists(&mut self, object: String, ready: BTreeSet<String>) {
        self.listed.get_or_insert_default().insert(object, ready);
    }

    pub(super) fn listing_ends(&mut self) {
        self.known = self.listed.take().unwrap_or_default();
    }
}

// === helpers ===

/// The names of the ready pods of an Endpoints object.
pub(super) fn ready_of(endpoints: &Endpoints) -> BTreeSet<String> {
    let subsets = endpoints.subsets.iter().flatten();
    let addresses = subsets.flat_map(|subset| subset.addresses.iter().flatten());
    addresses.filter_map(|address| address.target_ref.as_ref()?.name.clone()).collect()
}

/// The names of the ready pods of one slice. What is not said to be unready counts as ready, as the API's text has it:
/// "A nil value should be interpreted as \"true\"".
/// <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>
pub(super) fn ready_of_slice(slice: &EndpointSlice) -> BTreeSet<String> {
    let is_ready = |endpoint: &&Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    };
    let ready = slice.endpoints.iter().filter(is_ready);
    ready.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a 1.20 API server tells it: two pods, one of them ready.
    const ENDPOINTS: &str = r#"{
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": "mcp-hub-service", "namespace": "cell" },
        "subsets": [{
            "addresses": [{ "ip": "10.244.1.5", "nodeName": "worker",
                "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-a", "uid": "1" } }],
            "notReadyAddresses": [{ "ip": "10.244.2.7", "nodeName": "worker2",
                "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-b", "uid": "2" } }],
            "ports": [{ "name": "http", "port": 8000, "protocol": "TCP" }]
        }]
    }"#;

    /// As a newer one tells it: one ready, one that is ending and still serves, one not ready, one of which nothing is
    /// said, and one that is no pod.
    const SLICE: &str = r#"{
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "mcp-hub-service-x2x7q", "namespace": "cell",
            "labels": { "kubernetes.io/service-name": "mcp-hub-service" } },
        "endpoints": [
            { "addresses": ["10.244.1.5"], "conditions": { "ready": true, "serving": true, "terminating": false },
              "nodeName": "worker", "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-a" } },
            { "addresses": ["10.244.1.6"], "conditions": { "ready": false, "serving": true, "terminating": true },
              "nodeName": "worker", "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-b" } },
            { "addresses": ["10.244.1.7"], "conditions": { "ready": false, "serving": false, "terminating": false },
              "nodeName": "worker", "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-c" } },
            { "addresses": ["10.244.1.8"], "conditions": {},
              "targetRef": { "kind": "Pod", "namespace": "cell", "name": "mcp-hub-d" } },
            { "addresses": ["192.0.2.1"], "conditions": { "ready": true } }
        ],
        "ports": [{ "name": "http", "port": 8000, "protocol": "TCP" }]
    }"#;

    fn names(found: &BTreeSet<String>) -> Vec<&str> {
        found.iter().map(String::as_str).collect()
    }

    #[test]
    fn endpoints_name_their_ready_pods() {
        let endpoints: Endpoints = serde_json::from_str(ENDPOINTS).unwrap();
        assert_eq!(names(&ready_of(&endpoints)), ["mcp-hub-a"]);
        assert!(ready_of(&Endpoints::default()).is_empty(), "a Service without a pod has no subsets");
    }

    #[test]
    fn slices_name_their_ready_pods() {
        let slice: EndpointSlice = serde_json::from_str(SLICE).unwrap();
        assert_eq!(names(&ready_of_slice(&slice)), ["mcp-hub-a", "mcp-hub-d"]);
    }

    #[test]
    fn a_slice_without_endpoints_names_none() {
        // So a Service without pods has it, in the words of Go's JSON.
        let empty = r#"{ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
            "metadata": { "name": "mcp-hub-service-6" }, "endpoints": null, "ports": null }"#;
        let slice: EndpointSlice = serde_json::from_str(empty).unwrap();
        assert!(ready_of_slice(&slice).is_empty());
    }

    #[test]
    fn slices_of_one_service_are_read_together() {
        let pods = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut ready = Ready::default();
        ready.says("v4-1".to_owned(), pods(&["b"]));
        ready.says("v4-2".to_owned(), pods(&["a"]));
        ready.says("v6-1".to_owned(), pods(&["b"]));
        assert_eq!(ready.pods(), ["a", "b"], "each once, whatever its addresses");
        ready.says("v4-1".to_owned(), pods(&[]));
        assert_eq!(ready.pods(), ["a", "b"]);
        ready.forget("v6-1");
        assert_eq!(ready.pods(), ["a"]);
    }

    #[test]
    fn a_new_listing_counts_when_it_is_complete() {
        let pods = |name: &str| BTreeSet::from([name.to_owned()]);
        let mut ready = Ready::default();
        ready.says("1".to_owned(), pods("a"));
        ready.listing_begins();
        assert_eq!(ready.pods(), ["a"]);
        ready.lists("2".to_owned(), pods("b"));
        assert_eq!(ready.pods(), ["a"]);
        ready.listing_ends();
        assert_eq!(ready.pods(), ["b"]);
    }

    #[test]
    fn both_tell_the_same_of_the_same_pods() {
        let endpoints: Endpoints = serde_json::from_str(ENDPOINTS).unwrap();
        let mut slice: EndpointSlice = serde_json::from_str(SLICE).unwrap();
        slice.endpoints.truncate(2);
        assert_eq!(ready_of(&endpoints), ready_of_slice(&slice));
    }
}
