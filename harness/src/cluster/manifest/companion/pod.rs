//! The pods of a hub and of its companions, fitted to a namespace that has only what hubcheck applies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Beside, Companion, CompanionKind};
use crate::cluster::manifest::document::shown;

/// The label of companions' pods: they are not replicas of the hub.
pub const COMPANION: &str = "hubcheck/companion";

/// What a cell's namespace has.
pub(super) struct Has {
    accounts: BTreeSet<String>,
    claims: BTreeSet<String>,
    /// The Secrets for registries of accounts in the files, applied or not.
    pull_secrets: BTreeMap<String, Value>,
    /// Whether the cluster is ours, which has nothing that was not made for it.
    pub(super) is_ours: bool,
}

// === impl Has ===

impl Has {
    /// What is applied, of all that is in the files.
    pub(super) fn of(applied: &[(CompanionKind, &Companion)], all: &[Companion], rule: Beside<'_>) -> Self {
        let is_account = |found: &&Companion| CompanionKind::of(found) == Some(CompanionKind::ServiceAccount);
        let pull_secrets = all.iter().filter(is_account).filter_map(|account| {
            let secrets = account.object.get("imagePullSecrets").filter(|secrets| secrets.is_array())?;
            Some((account.name.clone(), secrets.clone()))
        });
        let names = |wanted: CompanionKind| {
            let named = applied.iter().filter(|(kind, _)| *kind == wanted);
            named.map(|(_, companion)| companion.name.clone()).collect()
        };
        Self {
            accounts: names(CompanionKind::ServiceAccount),
            claims: names(CompanionKind::PersistentVolumeClaim),
            pull_secrets: pull_secrets.collect(),
            is_ours: matches!(rule, Beside::Everything),
        }
    }
}

/// Takes out of a pod what the namespace or the cluster does not have: it would never start. What was changed, a line each.
pub(super) fn fit(pod: &mut Value, has: &Has) -> Vec<String> {
    let mut changed = Vec::new();
    let Some(fields) = pod.as_object_mut() else { return changed };
    let account = fields.get("serviceAccountName").or(fields.get("serviceAccount")).and_then(Value::as_str);
    let account = account.map(str::to_owned).filter(|name| !name.is_empty() && name != "default");
    if let Some(account) = account.filter(|name| !has.accounts.contains(name)) {
        fields.remove("serviceAccountName");
        fields.remove("serviceAccount");
        // A pod has those of its account if it has none of its own.
        if let Some(secrets) = has.pull_secrets.get(&account) {
            fields.entry("imagePullSecrets").or_insert_with(|| secrets.clone());
        }
        changed.push(format!(
            "`serviceAccountName` is left out, since the ServiceAccount {} is not applied",
            shown(&account)
        ));
    }
    for volume in fields.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let claim = volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str);
        let Some(claim) = claim.filter(|claim| !has.claims.contains(*claim)).map(str::to_owned) else {
            continue;
        };
        let name = volume["name"].clone();
        changed.push(format!(
            "the volume {} begins empty, since the PersistentVolumeClaim {} is not applied",
            shown(name.as_str().unwrap_or_default()),
            shown(&claim)
        ));
        *volume = json!({ "name": name, "emptyDir": {} });
    }
    if has.is_ours {
        fit_to_nodes(fields, &mut changed);
    }
    changed
}

/// The nodes of a KIND cluster have no labels, classes and names but their own.
fn fit_to_nodes(fields: &mut serde_json::Map<String, Value>, changed: &mut Vec<String>) {
    let mut left_out = Vec::new();
    for name in ["priorityClassName", "runtimeClassName", "nodeName"] {
        let is_built_in = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("system-"));
        if fields.get(name).is_some_and(|value| !value.is_null() && !is_built_in(value)) {
            fields.remove(name);
            left_out.push(name);
        }
    }
    if left_out.contains(&"priorityClassName") {
        // A cluster fills it in: it must agree with the class.
        fields.remove("priority");
    }
    let selector = fields.get_mut("nodeSelector").and_then(Value::as_object_mut);
    if let Some(selector) = selector {
        let before = selector.len();
        selector.retain(|label, _| ["kubernetes.io/os", "kubernetes.io/arch"].contains(&label.as_str()));
        if selector.len() < before {
            left_out.push("nodeSelector");
        }
        if selector.is_empty() {
            fields.remove("nodeSelector");
        }
    }
    let affinity = fields.get_mut("affinity").and_then(Value::as_object_mut);
    if affinity.is_some_and(|affinity| affinity.remove("nodeAffinity").is_some()) {
        left_out.push("affinity.nodeAffinity");
    }
    if !left_out.is_empty() {
        let left_out: Vec<String> = left_out.iter().map(|field| format!("`{field}`")).collect();
        changed.push(format!("left out on KIND's nodes: {}", left_out.join(", ")));
    }
}

/// The images of a pod.
pub(super) fn images(pod: &Value) -> impl Iterator<Item = String> {
    let lists = ["initContainers", "containers"].into_iter();
    let containers = lists.flat_map(|list| pod[list].as_array().into_iter().flatten());
    containers.filter_map(|container| container["image"].as_str().map(str::to_owned))
}

/// Says of containers with these images that nodes need not ask a registry for them, and what they are called there.
pub(super) fn are_loaded(pod: &mut Value, images: &[(String, String)]) {
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let image = container["image"].as_str();
            let Some((_, name)) = images.iter().find(|(given, _)| Some(given.as_str()) == image) else {
                continue;
            };
            container["image"] = json!(name);
            if container["imagePullPolicy"] != "Never" {
                container["imagePullPolicy"] = json!("IfNotPresent");
            }
        }
    }
}

/// The variables of a pod that stand in clear: name and value.
pub(super) fn variables(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let lists = ["initContainers", "containers"].into_iter();
    let containers = lists.flat_map(|list| pod[list].as_array().into_iter().flatten());
    let variables = containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
    variables.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
}
