//! How old or new an API server is: what it serves, and what we take of that.

use futures_util::future::join_all;
use harness::cluster::Condition;
use harness::plan::{Need, Offers, Outline, Selection, plan};
use serde_json::{Value, json};

use super::cell::{Cell, up};
use super::objects::{endpoints, pod, ready, slice};

/// What a server serves, as far as we ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    /// Groups with their versions, the preferred one first.
    groups: &'static [(&'static str, &'static [&'static str])],
    /// The version of `policy` that evictions have.
    evictions: Option<&'static str>,
}

/// As KIND's node images of that version serve it.
pub(crate) const V1_20: Age = Age {
    groups: &[("apps", &["v1"]), ("discovery.k8s.io", &["v1beta1"]), ("policy", &["v1beta1"])],
    evictions: Some("v1beta1"),
};

/// As some distributions of it serve it.
const V1_20_WITHOUT_SLICES: Age =
    Age { groups: &[("apps", &["v1"]), ("policy", &["v1beta1"])], evictions: Some("v1beta1") };

/// Budgets have a new version here, and evictions the old one.
pub(crate) const V1_21: Age = Age {
    groups: &[("apps", &["v1"]), ("discovery.k8s.io", &["v1", "v1beta1"]), ("policy", &["v1", "v1beta1"])],
    evictions: Some("v1beta1"),
};

pub(crate) const V1_37: Age = Age {
    groups: &[
        ("apps", &["v1"]),
        ("discovery.k8s.io", &["v1"]),
        ("events.k8s.io", &["v1"]),
        ("policy", &["v1"]),
    ],
    evictions: Some("v1"),
};

/// An API server that is not all of Kubernetes.
pub(crate) const WITHOUT_POLICY: Age =
    Age { groups: &[("apps", &["v1"]), ("discovery.k8s.io", &["v1"])], evictions: None };

// === impl Age ===

impl Age {
    /// The answer to GET /apis.
    pub(crate) fn groups(self) -> Value {
        let groups = self.groups.iter().map(|(group, versions)| {
            let version =
                |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
            let all: Vec<Value> = versions.iter().map(version).collect();
            json!({ "name": group, "versions": all, "preferredVersion": all[0] })
        });
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() })
    }

    /// The answer to GET /api/v1.
    pub(crate) fn core(self) -> Value {
        let resource = |name: &str, kind: &str| json!({ "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["create", "get"] });
        let mut resources = vec![resource("pods", "Pod"), resource("pods/log", "Pod")];
        if let Some(version) = self.evictions {
            let mut eviction = resource("pods/eviction", "Eviction");
            (eviction["group"], eviction["version"]) = (json!("policy"), json!(version));
            resources.push(eviction);
        }
        json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": resources })
    }
}

/// The paths of what is watched to know the Service's endpoints.
fn endpoints_watched(cell: &Cell) -> Vec<String> {
    let asked = cell.api.asked().into_iter();
    let watched =
        asked.filter(|asked| asked.is_watch() && (asked.is_of("endpoints") || asked.is_of("endpointslices")));
    watched.map(|asked| asked.path).collect()
}

#[tokio::test]
async fn slices_are_read_where_their_version_1_is_served() {
    join_all([V1_21, V1_37].map(async |age| {
        let cell = up(age).await;
        cell.put("pods", pod("a", "10.244.1.5", true));
        cell.put_slice(slice("mcp-hub-service-1", "IPv4", vec![ready("a", "10.244.1.5")]));
        cell.wait(Condition::Ready(1)).await;
        let expected = "/apis/discovery.k8s.io/v1/namespaces/hubcheck-run-0/endpointslices";
        assert_eq!(endpoints_watched(&cell), [expected], "{age:?}");
    }))
    .await;
}

#[tokio::test]
async fn endpoints_are_read_where_only_an_older_version_is_or_none() {
    join_all([V1_20, V1_20_WITHOUT_SLICES].map(async |age| {
        let cell = up(age).await;
        cell.put("pods", pod("a", "10.244.1.5", true));
        cell.put("endpoints", endpoints(&["a"], &[]));
        cell.wait(Condition::Ready(1)).await;
        let expected = "/api/v1/namespaces/hubcheck-run-0/endpoints";
        assert_eq!(endpoints_watched(&cell), [expected], "{age:?}");
    }))
    .await;
}

#[tokio::test]
async fn only_what_is_served_is_asked_for_when_a_cell_is_described() {
    for (age, page, not) in
        [(V1_20, "endpoints.yaml", "endpointslices"), (V1_37, "endpoint-slices.yaml", "endpoints")]
    {
        let cell = up(age).await;
        let pages = cell.cell.described().await;
        assert!(pages.iter().any(|found| found.name == page), "{age:?}");
        assert!(!cell.api.asked().iter().any(|asked| asked.is_of(not)), "{age:?} was asked for {not}");
        let refused = pages.iter().find(|page| page.text.contains("does not tell"));
        assert_eq!(refused, None, "{age:?}");
    }
}

#[tokio::test]
async fn everything_is_applied_and_made_under_our_own_name() {
    let cell = up(V1_37).await;
    let written: Vec<_> = cell.api.asked().into_iter().filter(|asked| asked.method != "GET").collect();
    for asked in &written {
        let manager = asked.query.get("fieldManager").map(String::as_str);
        assert_eq!(manager, Some("hubcheck"), "{} {}", asked.method, asked.path);
    }
    for kind in ["namespaces", "secrets", "services", "deployments"] {
        let applied = written.iter().find(|asked| asked.method == "PATCH" && asked.is_of(kind));
        assert!(applied.is_some_and(|asked| asked.query.contains_key("force")), "{kind} are applied");
    }
}

#[tokio::test]
async fn draining_a_node_is_not_applicable_by_name_where_nothing_can_be_evicted() {
    let drain =
        Outline { id: "lifecycle/node-drain", affinities: &[], transports: &[], needs: &[Need::Evictions] };
    for (age, lacks) in [(V1_20, None), (V1_21, None), (V1_37, None), (WITHOUT_POLICY, Some(Need::Evictions))]
    {
        let cell = up(age).await;
        let has = cell.cell.evicts().then_some(Need::Evictions).into_iter().collect();
        let planned =
            plan(&[drain], &Selection::default(), &Offers { replicas: 2, has, ..Offers::default() }).unwrap();
        assert_eq!(planned[0].lacks, lacks, "{age:?}");
    }
    let named = Need::Evictions.to_string();
    assert_eq!(named, "evictions and PodDisruptionBudgets (`policy/v1`, or `v1beta1`)");
}
