//! What the API has of a cell's objects, as people want to read it. Secrets are never asked for.

use std::fmt::Write;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::{Api, ListParams, LogParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::said;
use super::objects::Objects;
use super::seen::container;
use super::site::Site;
use crate::cluster::Page;

/// How many lines of a container's log are read.
const LINES: i64 = 2000;

/// Every kind of object of the cell, and what its containers printed before they were restarted.
pub(super) async fn described(site: &Site, objects: &Objects) -> Vec<Page> {
    let pods = objects.api::<Pod>();
    let nodes: Api<Node> = Api::all(site.client().clone());
    let (deployments, replica_sets, services, config_maps) = (
        objects.api::<Deployment>(),
        objects.api::<ReplicaSet>(),
        objects.api::<Service>(),
        objects.api::<ConfigMap>(),
    );
    let (pages, mut previous) = tokio::join!(
        async {
            tokio::join!(
                page("pods.yaml", &pods),
                page("deployment.yaml", &deployments),
                page("replica-sets.yaml", &replica_sets),
                page("service.yaml", &services),
                endpoints(site, objects),
                page("config-maps.yaml", &config_maps),
                page("nodes.yaml", &nodes),
            )
        },
        previous(&pods)
    );
    let (a, b, c, d, e, f, g) = pages;
    previous.extend([a, b, c, d, e, f, g]);
    previous
}

/// Where the Service leads to, in the objects that its routing is made of.
async fn endpoints(site: &Site, objects: &Objects) -> Page {
    match site.has_slices() {
        true => page("endpoint-slices.yaml", &objects.api::<EndpointSlice>()).await,
        false => page("endpoints.yaml", &objects.api::<Endpoints>()).await,
    }
}

/// The logs of containers that were restarted.
async fn previous(pods: &Api<Pod>) -> Vec<Page> {
    let mut pages = Vec::new();
    for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
        let container = container(&pod).map(str::to_owned);
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let is_it = |name: &str| container.as_deref() == Some(name);
        if !statuses.iter().any(|status| is_it(&status.name) && status.restart_count > 0) {
            continue;
        }
        let name = pod.metadata.name.unwrap_or_default();
        let params = LogParams { container, previous: true, tail_lines: Some(LINES), ..LogParams::default() };
        let text = match pods.logs(&name, &params).await {
            Ok(text) => text,
            Err(error) => format!("the API does not have it: {}\n", said(&error)),
        };
        pages.push(Page { name: format!("logs/{name}.previous.txt"), text });
    }
    pages
}

async fn page<K>(name: &str, api: &Api<K>) -> Page
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let mut text = String::new();
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            for object in list {
                let mut value = serde_json::to_value(&object).unwrap_or_default();
                if let Some(metadata) = value["metadata"].as_object_mut() {
                    // Who wrote which field is longer than all the rest.
                    metadata.remove("managedFields");
                }
                if let Some(status) = value["status"].as_object_mut() {
                    // Of a node.
                    status.remove("images");
                }
                text += "---\n";
                write_yaml(&mut text, &value, 0);
            }
        }
        Err(error) => text = format!("the API does not tell: {}\n", said(&error)),
    }
    Page { name: name.to_owned(), text }
}

/// Block style; strings are quoted as JSON does wherever YAML might read them as anything else.
fn write_yaml(out: &mut String, value: &Value, indent: usize) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                let key = scalar(&Value::from(key.as_str()));
                match nested(field) {
                    true => {
                        let _ = writeln!(out, "{pad}{key}:");
                        write_yaml(out, field, indent + 1);
                    }
                    false => drop(writeln!(out, "{pad}{key}: {}", scalar(field))),
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                write_yaml(&mut text, item, indent + 1);
                // The first line begins with the dash in place of its indentation.
                let _ = write!(out, "{pad}- {}", text.trim_start());
            }
        }
        _ => drop(writeln!(out, "{pad}{}", scalar(value))),
    }
}

fn nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    let is_plain = |text: &str| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
            && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
                .contains(&text.to_ascii_lowercase().as_str())
    };
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_yaml_that_reads_back() {
        let object = json!({
            "kind": "Pod",
            "metadata": { "name": "mcp-hub-a", "labels": {}, "annotations": { "a/b": "1: 2\n3" } },
            "spec": { "containers": [{ "name": "hub", "args": ["--x", "true", ""], "ports": [{ "containerPort": 8000 }] }] },
            "status": { "conditions": [], "ready": true, "note": null, "at": "2026-01-01T00:00:00Z" },
        });
        let mut text = String::new();
        write_yaml(&mut text, &object, 0);
        assert!(text.contains("\nmetadata:\n") && text.contains("name: mcp-hub-a"), "{text}");
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, object, "{text}");
    }
}
