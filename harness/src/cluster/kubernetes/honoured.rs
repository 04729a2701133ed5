//! The tables of `docs/manifests.md` against the code: each row is put into a manifest, and looked for in what is applied.

use serde_json::{Value, json};

use super::objects::{Exposed, keyed, reachable};
use crate::cluster::manifest::{Beside, CompanionKind, Manifests};

const DOCS: &str = include_str!("../../../../docs/manifests.md");

/// What stands for these words in a path.
const SHORT: [(&str, &str); 4] = [
    ("container.", "spec.template.spec.containers[0]."),
    ("pod.", "spec.template.spec."),
    ("template.", "spec.template."),
    ("service.", "spec."),
];

/// A value for each field of the tables.
fn sample(field: &str) -> Value {
    let probe = || json!({ "path": "/", "port": 8000 });
    match field {
        "spec.replicas" => json!(3),
        "spec.strategy" => json!({ "type": "Recreate" }),
        "spec.minReadySeconds" | "spec.progressDeadlineSeconds" | "pod.terminationGracePeriodSeconds" => {
            json!(7)
        }
        "template.metadata.labels" => json!({ "app": "hub", "x": "y" }),
        "template.metadata.annotations" => json!({ "x": "y" }),
        "pod.enableServiceLinks" | "pod.automountServiceAccountToken" => json!(false),
        "pod.hostNetwork" | "service.publishNotReadyAddresses" => json!(true),
        "pod.serviceAccountName" => json!("own"),
        "pod.imagePullSecrets" => json!([{ "name": "own" }]),
        "pod.initContainers" => json!([{ "name": "first", "image": "first:1" }]),
        "pod.containers[1]" => json!({ "name": "side", "image": "side:1" }),
        "pod.volumes[].emptyDir" => json!({}),
        "pod.volumes[].configMap" => json!({ "name": "own" }),
        "pod.volumes[].secret" => json!({ "secretName": "own" }),
        "pod.volumes[].persistentVolumeClaim" => json!({ "claimName": "own" }),
        "pod.nodeSelector" => json!({ "pool": "fast" }),
        "pod.affinity.nodeAffinity" => json!({ "preferredDuringSchedulingIgnoredDuringExecution": [] }),
        "pod.affinity.podAntiAffinity" => {
            json!({ "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone" }] })
        }
        "pod.topologySpreadConstraints" => {
            json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }])
        }
        "pod.tolerations" => json!([{ "key": "x", "operator": "Exists" }]),
        "pod.priorityClassName" | "pod.runtimeClassName" => json!("own"),
        "pod.securityContext" => json!({ "runAsUser": 1 }),
        "container.image" => json!("own:1"),
        "container.imagePullPolicy" => json!("Always"),
        "container.command" | "container.args" => json!(["x"]),
        "container.workingDir" => json!("/x"),
        "container.env[].value" => json!("x"),
        "container.env[].valueFrom.secretKeyRef" | "container.env[].valueFrom.configMapKeyRef" => {
            json!({ "name": "own", "key": "x" })
        }
        "container.env[].valueFrom.fieldRef" => json!({ "fieldPath": "metadata.name" }),
        "container.env[].valueFrom.resourceFieldRef" => json!({ "resource": "limits.cpu" }),
        "container.envFrom" => json!([{ "configMapRef": { "name": "own" } }]),
        "container.ports" => json!([{ "containerPort": 8001, "protocol": "TCP" }]),
        "container.resources.limits.memory" => json!("64Mi"),
        "container.resources.limits.cpu" => json!("1"),
        "container.resources.requests" => json!({ "cpu": "1" }),
        "container.volumeMounts" => json!([{ "name": "own", "mountPath": "/x" }]),
        "container.securityContext" => json!({ "privileged": true }),
        "container.lifecycle.preStop" | "container.lifecycle.postStart" | "container.readinessProbe.exec" => {
            match field.starts_with("container.lifecycle") {
                true => json!({ "exec": { "command": ["x"] } }),
                false => json!({ "command": ["x"] }),
            }
        }
        "container.startupProbe.httpGet"
        | "container.readinessProbe.httpGet"
        | "container.livenessProbe.httpGet" => probe(),
        "container.readinessProbe.tcpSocket" | "container.readinessProbe.grpc" => json!({ "port": 8000 }),
        "service.selector" => json!({ "app": "hub" }),
        "service.ports" => json!([{ "port": 81, "protocol": "TCP" }]),
        "service.ports[1]" => json!({ "name": "more", "port": 82, "protocol": "TCP" }),
        "service.ports[].nodePort" => json!(30001),
        "service.type" => json!("LoadBalancer"),
        "service.clusterIP" | "service.loadBalancerIP" => json!("10.0.0.9"),
        "service.sessionAffinity" => json!("ClientIP"),
        "service.externalTrafficPolicy" => json!("Local"),
        other => panic!("the table has {other}, of which the test has no sample"),
    }
}

/// The rows of a table whose header begins so: its first cell without backquotes, and the first words of the others.
fn rows(header: &str) -> Vec<(String, [String; 3])> {
    let table = DOCS.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let first = |cell: &str| {
            let word = cell.split([' ', ',', ':']).next().unwrap_or_default();
            word.trim_matches('`').to_owned()
        };
        (first(cells[0]), [first(cells[1]), first(cells[2]), first(cells[3])])
    });
    rows.collect()
}

/// The path of a field as a JSON pointer.
fn pointer(field: &str) -> String {
    let short = SHORT.iter().find_map(|(short, long)| Some(format!("{long}{}", field.strip_prefix(short)?)));
    let path = short.unwrap_or_else(|| field.to_owned());
    format!("/{}", path.replace("[]", "/0").replace("[0]", "/0").replace("[1]", "/1").replace('.', "/"))
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.trim_start_matches('/').split('/') {
        at = match part.parse::<usize>() {
            Ok(idx) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let list = at.as_array_mut().unwrap();
                while list.len() <= idx {
                    list.push(json!({ "name": "own" }));
                }
                &mut list[idx]
            }
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

/// A hub with this field, and everything that it may refer to.
fn manifests(field: &str, value: &Value) -> Manifests {
    let pod = json!({ "containers": [{ "name": "hub", "image": "hub:1" }] });
    let template = json!({ "metadata": { "labels": { "app": "hub" } }, "spec": pod });
    let mut deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "hub" },
                                 "spec": { "selector": { "matchLabels": { "app": "hub" } }, "template": template } });
    let mut service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hub" },
                              "spec": { "selector": { "app": "hub" }, "ports": [{ "port": 80 }] } });
    let target = if field.starts_with("service.") { &mut service } else { &mut deployment };
    set(target, &pointer(field), value.clone());
    let named = |kind: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "own" } });
    let beside = ["Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim"].map(named);
    let all = [deployment, service].into_iter().chain(beside);
    let text: Vec<String> = all.map(|object| object.to_string()).collect();
    Manifests::parse(&[("all.yaml", &text.join("\n---\n"))]).unwrap()
}

/// The word for a field on a cluster.
fn on_pods(field: &str, value: &Value, rule: Beside<'_>, exposed: Exposed) -> &'static str {
    let mut manifests = manifests(field, value);
    manifests.bring_up_beside(rule);
    let applied = match field.starts_with("service.") {
        true => serde_json::to_value(reachable(manifests.service, exposed)).unwrap(),
        false => serde_json::to_value(keyed(manifests.deployment)).unwrap(),
    };
    match applied.pointer(&pointer(field)) {
        Some(applied) if applied == value => "yes",
        Some(_) => "changed",
        None => "no",
    }
}

#[test]
fn each_field_is_honoured_as_the_table_says() {
    let mut count = 0;
    for (field, [local, kind, kube]) in rows("| field |").into_iter().chain(rows("| field of its Service")) {
        let value = sample(&field);
        let given = manifests(&field, &value);
        let untouched = manifests("spec.paused", &Value::Null);
        let is_simulated = given.not_simulated() == untouched.not_simulated();
        assert_eq!(if is_simulated { "yes" } else { "no" }, local, "{field} on local");
        let everything = on_pods(&field, &value, Beside::Everything, Exposed::AtNodes);
        assert_eq!(everything, kind, "{field} on kind");
        assert_eq!(on_pods(&field, &value, Beside::Only(&[]), Exposed::Within), kube, "{field} on kube");
        count += 1;
    }
    assert!(count > 50, "the table is read: {count} rows");
}

#[test]
fn each_kind_comes_up_as_the_table_says() {
    let rows: Vec<_> = rows("| kind |");
    assert!(rows.len() > 15, "the table is read: {} rows", rows.len());
    for (kind, [local, on_kind, on_kube]) in rows {
        if ["Secret", "ConfigMap"].contains(&kind.as_str()) {
            // They are the hub's own: it is named where they are missing.
            assert_eq!([local.as_str(), on_kind.as_str(), on_kube.as_str()], ["as", "yes", "yes"]);
            continue;
        }
        let version = match kind.as_str() {
            "Deployment" | "StatefulSet" | "DaemonSet" => "apps/v1",
            "Role" | "RoleBinding" | "ClusterRole" => "rbac.authorization.k8s.io/v1",
            "NetworkPolicy" | "Ingress" => "networking.k8s.io/v1",
            "HTTPRoute" => "gateway.networking.k8s.io/v1",
            "Job" | "CronJob" => "batch/v1",
            "HorizontalPodAutoscaler" => "autoscaling/v2",
            "PodDisruptionBudget" => "policy/v1",
            "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
            _ => "v1",
        };
        let template = json!({ "metadata": { "labels": { "app": "own" } }, "spec": { "containers": [{ "name": "own", "image": "own:1" }] } });
        let object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "of-test" }, "spec": { "template": template } });
        let hub = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "hub" }, "spec": { "template": {
            "metadata": { "labels": { "app": "hub" } }, "spec": { "containers": [{ "name": "hub", "image": "hub:1" }] } } } });
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hub" },
                              "spec": { "selector": { "app": "hub" }, "ports": [{ "port": 80 }] } });
        let text = [hub, service, object].map(|object| object.to_string()).join("\n---\n");
        let choice = crate::cluster::manifest::Choice {
            deployment: Some("hub".to_owned()),
            service: Some("hub".to_owned()),
            ..Default::default()
        };
        let read = Manifests::parse_for(&[("all.yaml", &text)], &choice).unwrap();
        let comes_up = |rule: Beside<'_>| {
            let mut manifests = read.clone();
            manifests.bring_up_beside(rule);
            manifests.beside().iter().any(|companion| companion.name() == "of-test")
        };
        let word = |is: bool, word: &'static str| if is { word } else { "no" };
        let started = read.not_started(&[]).is_some_and(|line| line.contains("of-test"));
        assert_eq!(word(started, "--companion"), local, "{kind} on local");
        assert_eq!(word(comes_up(Beside::Everything), "yes"), on_kind, "{kind} on kind");
        assert!(!comes_up(Beside::Only(&[])), "{kind} is not applied without a flag");
        assert_eq!(word(comes_up(Beside::Only(&CompanionKind::ALL)), "--apply"), on_kube, "{kind} on kube");
    }
}
