//! What stands in the files beside the hub: what of it comes up with the hub on a cluster, and what the notes say.

use harness::cluster::manifest::{Beside, CompanionKind, Manifests};
use serde_json::{Value, json};

/// A gateway with a cache, as people have it.
const GATEWAY: &str = include_str!("companions/gateway.yaml");

fn gateway(rule: Beside<'_>) -> Manifests {
    let choice = harness::cluster::manifest::Choice {
        deployment: Some("hub".to_owned()),
        ..harness::cluster::manifest::Choice::default()
    };
    let mut manifests = Manifests::parse_for(&[("all.yaml", GATEWAY)], &choice).expect("they are right");
    manifests.bring_up_beside(rule);
    manifests
}

fn labels(manifests: &Manifests) -> Vec<String> {
    manifests.beside().iter().map(|companion| companion.label()).collect()
}

/// A companion as it is applied.
fn applied(manifests: &Manifests, label: &str) -> Value {
    let found = manifests.beside().iter().find(|companion| companion.label() == label);
    found.map(|companion| companion.object().clone()).unwrap_or_default()
}

#[test]
fn what_belongs_to_a_namespace_comes_up_on_a_cluster_that_is_ours() {
    let manifests = gateway(Beside::Everything);
    let expected = [
        "serviceaccount/hub",
        "role/hub",
        "rolebinding/hub",
        "persistentvolumeclaim/data",
        "service/cache",
        "service/db",
        "statefulset/db",
        "deployment/cache",
    ];
    assert_eq!(labels(&manifests), expected);
    assert_eq!(
        manifests.remarks(),
        [
            "applied before the hub, in each cell's own namespace: secret/cache, serviceaccount/hub, role/hub, rolebinding/hub, \
             persistentvolumeclaim/data, service/cache, service/db, statefulset/db, deployment/cache",
            "not applied: deployment/canary (the hub's Service selects its pods, too); namespace/tools (each cell has a namespace of its \
             own); job/migrate, cronjob/clean (jobs are not run); ingress/edge (hubcheck's clients enter by the Service); \
             horizontalpodautoscaler/cache (scenarios set the number of replicas); networkpolicy/cache (it could shut out hubcheck's \
             clients); clusterrole/view (it belongs to no namespace); redis/main (a custom resource, whose operator is not here)",
            "the hub: left out on KIND's nodes: `priorityClassName`, `nodeSelector`",
            "persistentvolumeclaim/data: `storageClassName: fast` is replaced by KIND's own",
            "persistentvolumeclaim/data: its volume is `ReadWriteOnce`: on KIND all pods that mount it run on one node",
            "deployment/cache: `serviceAccountName` is left out, since the ServiceAccount elsewhere is not applied",
        ]
    );
}

#[test]
fn a_hub_keeps_the_account_and_the_volume_that_are_applied() {
    let pod = |manifests: &Manifests| manifests.deployment.spec.clone().unwrap().template.spec.unwrap();
    let ours = pod(&gateway(Beside::Everything));
    assert_eq!(ours.service_account_name.as_deref(), Some("hub"));
    assert!(ours.volumes.unwrap()[0].persistent_volume_claim.is_some());
    let theirs = gateway(Beside::Only(&[]));
    assert_eq!(labels(&theirs), [""; 0]);
    let hub = pod(&theirs);
    assert_eq!((hub.service_account_name, hub.service_account), (None, None));
    assert!(hub.volumes.unwrap()[0].empty_dir.is_some());
    assert_eq!(hub.priority_class_name.as_deref(), Some("high"), "a cluster of the user's may have it");
    let named = theirs.remarks().iter().find(|line| line.contains("--apply")).unwrap();
    assert_eq!(
        named,
        "not applied, since the cluster is not hubcheck's own: deployment/cache, statefulset/db, service/cache, service/db, \
         serviceaccount/hub, role/hub, rolebinding/hub, persistentvolumeclaim/data; `--apply \
         serviceaccount,role,rolebinding,persistentvolumeclaim,service,statefulset,deployment` applies them"
    );
}

#[test]
fn a_flag_applies_a_kind_and_services_go_along_with_pods() {
    let manifests = gateway(Beside::Only(&[CompanionKind::Deployment]));
    assert_eq!(labels(&manifests), ["service/cache", "service/db", "deployment/cache"]);
    let manifests = gateway(Beside::Only(&[CompanionKind::PersistentVolumeClaim]));
    assert_eq!(labels(&manifests), ["persistentvolumeclaim/data"]);
    let claim = applied(&manifests, "persistentvolumeclaim/data");
    assert_eq!(claim["spec"]["storageClassName"], "fast", "the user's cluster has its classes");
}

#[test]
fn companions_are_applied_without_what_another_cluster_wrote() {
    let manifests = gateway(Beside::Everything);
    let service = applied(&manifests, "service/cache");
    assert_eq!(
        service["spec"],
        json!({ "type": "ClusterIP", "selector": { "app": "cache" }, "ports": [{ "port": 6379, "protocol": "TCP" }] })
    );
    assert_eq!(service["metadata"], json!({ "name": "cache" }));
    assert_eq!(
        applied(&manifests, "service/db")["spec"]["clusterIP"],
        "None",
        "a headless Service stays one"
    );
    let cache = applied(&manifests, "deployment/cache");
    assert_eq!(cache.get("status"), None);
    assert_eq!(cache["spec"]["replicas"], 2);
    let labels = &cache["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, json!({ "app": "cache", "hubcheck/companion": "cache" }));
    let container = &cache["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 6379, "probes stay as they are");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    let db = applied(&manifests, "statefulset/db");
    assert_eq!(db["spec"]["volumeClaimTemplates"][0]["spec"].get("storageClassName"), None);
}

#[test]
fn an_image_that_was_loaded_is_not_asked_of_a_registry() {
    let mut manifests = gateway(Beside::Everything);
    assert_eq!(manifests.images_beside(), ["sidecar:1", "postgres:16", "redis:7"]);
    let same = |image: &str| (image.to_owned(), image.to_owned());
    manifests.are_loaded(&[same("hub:1"), same("redis:7")]);
    let hub = manifests.deployment.spec.clone().unwrap().template.spec.unwrap().containers;
    let policy = |idx: usize| hub[idx].image_pull_policy.as_deref();
    assert_eq!((policy(0), policy(1)), (Some("IfNotPresent"), Some("Always")));
    let cache = applied(&manifests, "deployment/cache");
    assert_eq!(cache["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    let db = applied(&manifests, "statefulset/db");
    assert_eq!(db["spec"]["template"]["spec"]["containers"][0].get("imagePullPolicy"), None);
}

#[test]
fn secrets_for_registries_are_kept_without_the_account_and_named_where_no_file_has_them() {
    let account =
        "imagePullSecrets: [{name: registry}, {name: cache}]\nkind: ServiceAccount\nmetadata: {name: hub";
    let text = GATEWAY.replacen("kind: ServiceAccount\nmetadata: {name: hub", account, 1);
    let choice = harness::cluster::manifest::Choice {
        deployment: Some("hub".to_owned()),
        ..harness::cluster::manifest::Choice::default()
    };
    let mut manifests = Manifests::parse_for(&[("all.yaml", &text)], &choice).expect("they are right");
    manifests.bring_up_beside(Beside::Only(&[]));
    let pod = manifests.deployment.spec.clone().unwrap().template.spec.unwrap();
    let names: Vec<String> = pod.image_pull_secrets.unwrap().into_iter().map(|named| named.name).collect();
    assert_eq!(names, ["registry", "cache"]);
    let line =
        "the hub: the Secret registry of `imagePullSecrets` is in no file: images are pulled without it";
    assert_eq!(
        manifests.remarks().iter().filter(|remark| *remark == line).count(),
        1,
        "{:?}",
        manifests.remarks()
    );
    assert!(!manifests.remarks().iter().any(|remark| remark.contains("the Secret cache of")));
}

#[test]
fn secrets_of_companions_are_masked_too() {
    let values = gateway(Beside::Everything).secret_values();
    let names: Vec<&str> = values.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["password", "POSTGRES_PASSWORD"]);
}
