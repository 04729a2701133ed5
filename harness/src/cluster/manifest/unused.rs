//! What the local backend does with each field: fields that are not listed here are not honoured.

use serde_json::Value;

/// Honoured fields of a Deployment; `*` stands for everything below.
const DEPLOYMENT: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels.*",
    "metadata.annotations.*",
    "spec.replicas",
    "spec.selector.*",
    "spec.strategy.type",
    "spec.strategy.rollingUpdate.*",
    "spec.template.metadata.labels.*",
    "spec.template.metadata.annotations.*",
    "spec.template.spec.terminationGracePeriodSeconds",
    "spec.template.spec.restartPolicy",
    "spec.template.spec.enableServiceLinks",
    "spec.template.spec.containers[].name",
    "spec.template.spec.containers[].image",
    "spec.template.spec.containers[].args.*",
    "spec.template.spec.containers[].command.*",
    "spec.template.spec.containers[].ports[].name",
    "spec.template.spec.containers[].ports[].containerPort",
    "spec.template.spec.containers[].ports[].protocol",
    "spec.template.spec.containers[].env[].name",
    "spec.template.spec.containers[].env[].value",
    "spec.template.spec.containers[].env[].valueFrom.secretKeyRef.*",
    "spec.template.spec.containers[].env[].valueFrom.configMapKeyRef.*",
    "spec.template.spec.containers[].env[].valueFrom.fieldRef.*",
    "spec.template.spec.containers[].envFrom.*",
    "spec.template.spec.containers[].resources.limits.memory",
    "spec.template.spec.containers[].lifecycle.preStop.*",
];

/// Honoured fields of each probe.
const PROBE: &[&str] = &[
    "exec.*",
    "httpGet.path",
    "httpGet.port",
    "httpGet.scheme",
    "httpGet.httpHeaders.*",
    "tcpSocket.port",
    "initialDelaySeconds",
    "periodSeconds",
    "timeoutSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationGracePeriodSeconds",
];

/// Honoured fields of a Service.
const SERVICE: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels.*",
    "metadata.annotations.*",
    "spec.selector.*",
    "spec.sessionAffinity",
    "spec.sessionAffinityConfig.*",
    "spec.ports[].name",
    "spec.ports[].port",
    "spec.ports[].protocol",
    "spec.ports[].targetPort",
];

/// Values of honoured fields that are not.
const VALUES: &[(&str, &str)] = &[("httpGet.scheme", "HTTPS"), ("valueFrom.fieldRef.fieldPath", "spec.")];

/// The fields of this Deployment that are not honoured.
pub(crate) fn of_deployment(deployment: &Value) -> Vec<String> {
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
    let probes = probes.iter().flat_map(|probe| {
        PROBE.iter().map(move |field| format!("spec.template.spec.containers[].{probe}.{field}"))
    });
    let honoured: Vec<String> = DEPLOYMENT.iter().map(|field| (*field).to_owned()).chain(probes).collect();
    let mut paths = Vec::new();
    walk(deployment, "", &honoured, &mut paths);
    let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    for idx in 1..containers.map_or(0, Vec::len) {
        paths.push(format!("spec.template.spec.containers[{idx}]"));
    }
    named("deployment", deployment, paths)
}

/// The fields of this Service that are not honoured.
pub(crate) fn of_service(service: &Value) -> Vec<String> {
    let honoured: Vec<String> = SERVICE.iter().map(|field| (*field).to_owned()).collect();
    let mut paths = Vec::new();
    walk(service, "", &honoured, &mut paths);
    for idx in 1..service.pointer("/spec/ports").and_then(Value::as_array).map_or(0, Vec::len) {
        paths.push(format!("spec.ports[{idx}]"));
    }
    named("service", service, paths)
}

fn named(kind: &str, object: &Value, paths: Vec<String>) -> Vec<String> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    paths.into_iter().map(|path| format!("{kind} {name}: {path}")).collect()
}

/// Finds the highest fields that are not honoured, each once.
fn walk(value: &Value, path: &str, honoured: &[String], paths: &mut Vec<String>) {
    let below = |child: &str| honoured.iter().any(|field| field.starts_with(child));
    let within = |child: &str| honoured.iter().any(|field| field.strip_suffix(".*") == Some(child));
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let child = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                visit(value, child, honoured, paths, (&below, &within));
            }
        }
        Value::Array(items) => {
            // Of a list of containers or ports the first is used; the others are listed as a whole.
            let count = if path.ends_with(".env") { items.len() } else { 1 };
            for value in items.iter().take(count) {
                visit(value, format!("{path}[]"), honoured, paths, (&below, &within));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

type Test<'a> = &'a dyn Fn(&str) -> bool;

fn visit(
    value: &Value,
    path: String,
    honoured: &[String],
    paths: &mut Vec<String>,
    (below, within): (Test<'_>, Test<'_>),
) {
    let is_leaf = honoured.contains(&path);
    let is_refused = VALUES.iter().any(|(field, beginning)| {
        path.ends_with(field) && value.as_str().is_some_and(|text| text.starts_with(beginning))
    });
    if is_refused {
        push_once(paths, format!("{path}: {}", value.as_str().unwrap_or_default()));
    } else if is_leaf || within(&path) {
        // `fieldRef.*` is honoured but for some values.
        if path.ends_with("fieldRef") {
            walk(value, &path, &[format!("{path}.fieldPath"), format!("{path}.apiVersion")], paths);
        }
    } else if below(&format!("{path}.")) || below(&format!("{path}[")) {
        walk(value, &path, honoured, paths);
    } else {
        push_once(paths, path);
    }
}

fn push_once(paths: &mut Vec<String>, path: String) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}
