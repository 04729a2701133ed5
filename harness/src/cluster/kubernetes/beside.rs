//! What comes up before the hub: applied in the order of its kinds, and waited for.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::objects::Objects;
use super::seen::ON_ITS_WAY;
use super::{MANAGER, UpError};
use crate::cluster::manifest::{COMPANION, Companion, CompanionKind};

/// How long all companions of a cell may take until they are available, the pull of their images included.
const AVAILABLE: Duration = Duration::from_secs(180);

/// Why a container waits that will not start, however long it is waited for.
const HOPELESS: [&str; 3] = ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];

/// Applies the companions, and returns when their pods are available.
///
/// # Errors
///
/// [`UpError::Api`] when the cluster does not take one, [`UpError::Companion`] when one does not become available.
pub(super) async fn up(objects: &Objects, companions: &[Companion]) -> Result<(), UpError> {
    let mut workloads = Vec::new();
    for companion in companions {
        let Some(kind) = companion.companion_kind() else { continue };
        let api = api(objects, kind);
        let applied = apply(objects, &api, kind, companion).await?;
        if kind.is_workload() {
            workloads.push((api, companion, applied));
        }
    }
    let available =
        workloads.iter().map(|(api, companion, applied)| available(objects, api, companion, applied));
    try_join_all(available).await.map(drop)
}

fn api(objects: &Objects, kind: CompanionKind) -> Api<DynamicObject> {
    let (version, kind, plural) = kind.api();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(objects.client().clone(), objects.namespace(), &resource)
}

async fn apply(
    objects: &Objects,
    api: &Api<DynamicObject>,
    kind: CompanionKind,
    companion: &Companion,
) -> Result<DynamicObject, UpError> {
    let object = placed(objects, kind, companion.object());
    let params = PatchParams::apply(MANAGER).force();
    let applied = api.patch(companion.name(), &params, &Patch::Apply(&object)).await;
    applied.map_err(UpError::api(format!("applying {}", companion.label())))
}

/// The object in the cell's namespace, and what it says of namespaces.
fn placed(objects: &Objects, kind: CompanionKind, object: &Value) -> Value {
    let text = objects.names().placed(&object.to_string(), objects.namespace());
    let mut object: Value = serde_json::from_str(&text).unwrap_or_else(|_| object.clone());
    object["metadata"]["namespace"] = json!(objects.namespace());
    if kind == CompanionKind::RoleBinding {
        let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
        for subject in subjects.into_iter().flatten().filter(|subject| subject["kind"] == "ServiceAccount") {
            subject["namespace"] = json!(objects.namespace());
        }
    }
    object
}

/// Waits until as many pods as wanted are available.
async fn available(
    objects: &Objects,
    api: &Api<DynamicObject>,
    companion: &Companion,
    applied: &DynamicObject,
) -> Result<(), UpError> {
    let wanted = applied.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let pods = objects.api::<Pod>();
    let of_companion = companion
        .object()
        .pointer("/spec/template/metadata/labels")
        .and_then(|labels| labels[COMPANION].as_str())
        .map(|value| format!("{COMPANION}={value}"))
        .unwrap_or_default();
    let is_there = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| is_available(object.metadata.generation, &object.data["status"], wanted))
    };
    let there = await_condition(api.clone(), companion.name(), is_there);
    let failed = |why: String, is_hopeless| UpError::Companion { name: companion.label(), why, is_hopeless };
    tokio::select! {
        there = tokio::time::timeout(AVAILABLE, there) => match there {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(format!(": {error}"), false)),
            Err(_) => {
                let why = last_seen(&pods, &of_companion).await;
                Err(failed(format!(" after {} s: {why}", AVAILABLE.as_secs()), false))
            }
        },
        why = hopeless(&pods, &of_companion) => Err(failed(format!(": {why}"), true)),
    }
}

/// Returns when a pod will not start.
async fn hopeless(pods: &Api<Pod>, of: &str) -> String {
    let mut events = watcher(pods.clone(), watcher::Config::default().labels(of)).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event else { continue };
        let waits = containers(&pod).filter_map(|status| status.state.as_ref()?.waiting.as_ref());
        let mut reasons = waits.filter_map(|waiting| waiting.reason.as_deref());
        if reasons.any(|reason| HOPELESS.contains(&reason))
            && let Some(why) = why(&pod)
        {
            return why;
        }
    }
    std::future::pending().await
}

async fn last_seen(pods: &Api<Pod>, of: &str) -> String {
    match pods.list(&ListParams::default().labels(of)).await {
        Ok(found) if found.items.is_empty() => "it has no pods".to_owned(),
        Ok(found) => {
            let why: Vec<String> = found.iter().filter_map(why).collect();
            if why.is_empty() {
                "its pods are ready, and not yet available".to_owned()
            } else {
                why.join("; ")
            }
        }
        Err(error) => error.to_string(),
    }
}

// === helpers ===

/// Whether the controller has seen this generation, and so many pods are available. Before 1.22 a StatefulSet counts ready ones alone.
fn is_available(generation: Option<i64>, status: &Value, wanted: i64) -> bool {
    let count = status["availableReplicas"].as_i64().or(status["readyReplicas"].as_i64()).unwrap_or(0);
    status["observedGeneration"].as_i64() >= generation && count >= wanted
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        let (init, own) = (status.init_container_statuses.iter(), status.container_statuses.iter());
        init.flatten().chain(own.flatten())
    })
}

/// Why a pod is not ready; nothing when it is.
fn why(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let told = |reason: &Option<String>, message: &Option<String>| {
        let reason = reason.clone().unwrap_or_default();
        let message = message.as_deref().filter(|message| !message.is_empty());
        message.map_or(reason.clone(), |message| format!("{reason} ({message})"))
    };
    let waits = |status: &ContainerStatus| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let is_on_its_way = waiting.reason.as_deref().is_some_and(|reason| ON_ITS_WAY.contains(&reason));
        (!is_on_its_way).then(|| format!("pod {name}: {}", told(&waiting.reason, &waiting.message)))
    };
    let ended = |status: &ContainerStatus| {
        let states = [status.state.as_ref(), status.last_state.as_ref()].into_iter().flatten();
        let ended = states.filter_map(|state| state.terminated.as_ref()).next()?;
        let reason = told(&ended.reason, &ended.message);
        (ended.exit_code != 0).then(|| format!("pod {name} ended: {reason}, exit code {}", ended.exit_code))
    };
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unmet = |wanted: &str| {
        let unmet = conditions.iter().find(|known| known.type_ == wanted && known.status != "True")?;
        Some(format!("pod {name}: {}", told(&unmet.reason, &unmet.message)))
    };
    containers(pod)
        .find_map(waits)
        .or_else(|| containers(pod).find_map(ended))
        .or_else(|| unmet("PodScheduled"))
        .or_else(|| unmet("Ready"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "cache-0" }, "status": status })).unwrap()
    }

    fn container(state: Value) -> Value {
        json!([{ "name": "redis", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
    }

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let waiting = json!({ "waiting": { "reason": "ErrImagePull", "message": "not found" } });
        let waits = pod(json!({ "containerStatuses": container(waiting) }));
        assert_eq!(why(&waits).as_deref(), Some("pod cache-0: ErrImagePull (not found)"));
        let init = json!({ "initContainerStatuses": container(json!({ "terminated": { "exitCode": 2, "reason": "Error" } })) });
        assert_eq!(why(&pod(init)).as_deref(), Some("pod cache-0 ended: Error, exit code 2"));
        let unscheduled = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node" }]);
        assert_eq!(
            why(&pod(json!({ "conditions": unscheduled }))).as_deref(),
            Some("pod cache-0: Unschedulable (no node)")
        );
        assert_eq!(why(&pod(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))), None);
    }

    #[test]
    fn pods_count_for_the_generation_that_was_applied() {
        let status = json!({ "observedGeneration": 2, "availableReplicas": 1 });
        assert!(is_available(Some(2), &status, 1) && !is_available(Some(3), &status, 1));
        assert!(!is_available(Some(2), &status, 2));
        assert!(
            is_available(Some(1), &json!({ "observedGeneration": 1, "readyReplicas": 1 }), 1),
            "StatefulSet of 1.20"
        );
        assert!(is_available(Some(1), &json!({ "observedGeneration": 1 }), 0), "none are wanted");
    }
}
