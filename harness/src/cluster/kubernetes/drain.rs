//! Draining a node as far as one cell is concerned: what `kubectl drain` does, to nobody else's pods.
//!
//! A node is shared with other cells, and with other people's pods where the cluster is theirs. So it is not cordoned:
//! a pod of ours takes its place there, and the cell's own pods, which have an anti-affinity to it from the beginning
//! ([`Manifests::can_be_kept_off`](crate::cluster::manifest::Manifests::can_be_kept_off)), are scheduled elsewhere. Those
//! that run there stay until they are evicted, as on a node that is cordoned.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Status};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use super::{Kubernetes, MANAGER, SEEN, refused, relays};
use crate::cluster::FaultError;
use crate::cluster::manifest::KEEPS_OFF;
use crate::transcript::{Fault, Symptom, Told, What};

/// The name of the pod that keeps others off its node.
const PLACEHOLDER: &str = "keeps-off";

/// The name of a cell's budget.
const BUDGET: &str = "hubcheck";

/// The group of budgets.
const GROUP: &str = "policy";

/// Why an eviction is refused that a budget does not allow, in 1.20 as in the newest: an API server that is overwhelmed
/// answers 429 as well.
const BY_BUDGET: &str = "DisruptionBudget";

impl Kubernetes {
    /// Whether pods can be evicted, and how many must stay can be said.
    pub fn evicts(&self) -> bool {
        self.site.budgets().is_some() && self.site.evictions().is_some()
    }

    /// Lets evictions leave at least so many of the cell's pods available, and waits until the cluster counts them.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the API refuses, or does not allow any eviction in time.
    pub async fn keep_available(&self, count: usize) -> Result<(), FaultError> {
        let version = self.site.budgets().ok_or_else(|| no_budgets("serves no PodDisruptionBudgets"))?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, "PodDisruptionBudget"));
        let budgets: Api<DynamicObject> =
            Api::namespaced_with(self.site.client().clone(), self.leave.name(), &kind);
        let pods = self.manifests.lock().await.deployment.spec.clone().unwrap_or_default().selector;
        let budget = json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": { "name": BUDGET },
            "spec": { "minAvailable": count, "selector": pods },
        });
        let change = format!("a PodDisruptionBudget keeps {count} available");
        self.recorder.record(What::Fault(Fault::Apply { change }));
        let params = PatchParams::apply(MANAGER).force();
        let made = budgets.patch(BUDGET, &params, &Patch::Apply(&budget)).await;
        made.map_err(|error| refused("making a PodDisruptionBudget", error))?;
        let counted = await_condition(budgets, BUDGET, |budget: Option<&DynamicObject>| {
            budget.is_some_and(|budget| allows_eviction(budget.metadata.generation, &budget.data["status"]))
        });
        let counted = tokio::time::timeout(SEEN, counted).await;
        counted
            .map_err(|_| no_budgets("does not count the pods of a PodDisruptionBudget"))?
            .map(drop)
            .map_err(FaultError::refused)
    }

    /// Keeps the cell's new pods off a node; those that run there stay.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the API refuses, or the nodes are not ours.
    pub async fn cordon(&self, node: &str) -> Result<(), FaultError> {
        let image = self.nodes()?.relay_image().await;
        let image = image.map_err(FaultError::refused)?;
        let made = relays::pod(PLACEHOLDER, &image.reference);
        let mut pod = made.map_err(FaultError::refused)?;
        pod.metadata.labels.get_or_insert_default().insert(KEEPS_OFF.to_owned(), String::new());
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        self.recorder.record(What::Fault(Fault::Cordon { node: node.to_owned() }));
        let made = self.objects.api::<Pod>().create(&relays::made_by_us(), &pod).await;
        made.map(drop).map_err(|error| refused("taking a place on a node", error))
    }

    /// Lets the cell's pods onto the node again.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the API refuses.
    pub async fn uncordon(&self, node: &str) -> Result<(), FaultError> {
        self.recorder.record(What::Fault(Fault::Uncordon { node: node.to_owned() }));
        let at_once = DeleteParams::default().grace_period(0);
        let deleted = self.objects.api::<Pod>().delete(PLACEHOLDER, &at_once).await;
        deleted.map(drop).map_err(|error| refused("giving up a place on a node", error))
    }

    /// Asks for a pod's eviction; what the cluster says when its budget does not allow it.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica, or the API refuses for another reason.
    pub async fn evict(&self, replica: &str) -> Result<Option<Told>, FaultError> {
        let grace_s = {
            let view = self.view.borrow();
            view.pod(replica).ok_or_else(|| FaultError::NoReplica(replica.to_owned()))?.grace_s
        };
        let version = self.site.evictions().ok_or_else(|| no_budgets("serves no evictions"))?;
        // kube's own has no version, and fields that no version knows.
        let eviction = json!({
            "apiVersion": version,
            "kind": "Eviction",
            "metadata": { "name": replica, "namespace": self.leave.name() },
        });
        self.recorder.record(What::Fault(Fault::Evict { replica: replica.to_owned(), grace_s }));
        let pods: Api<Pod> = Api::namespaced(self.site.once().clone(), self.leave.name());
        let params = PostParams::default();
        match pods.create_subresource::<_, Value>("eviction", replica, &params, &eviction).await {
            Ok(_) => {
                self.seen(|view| view.pod(replica).is_none_or(|pod| pod.is_terminating())).await;
                Ok(None)
            }
            Err(kube::Error::Api(status)) if is_by_budget(&status) => {
                let pod = Some(replica.to_owned());
                Ok(Some(Told { pod, reason: status.reason.clone(), message: status.message.clone() }))
            }
            Err(error) => Err(refused("evicting a pod", error)),
        }
    }
}

// === helpers ===

/// Whether the cluster has counted the pods of this budget, as it is now, and lets one go.
fn allows_eviction(generation: Option<i64>, status: &Value) -> bool {
    status["observedGeneration"].as_i64() >= generation
        && status["disruptionsAllowed"].as_i64().is_some_and(|allowed| allowed > 0)
}

fn is_by_budget(refused: &Status) -> bool {
    let causes = refused.details.iter().flat_map(|details| &details.causes);
    Symptom::Budget.reasons().contains(&&*refused.reason)
        && causes.into_iter().any(|cause| cause.reason == BY_BUDGET)
}

fn no_budgets(why: &str) -> FaultError {
    FaultError::Refused(format!("the cluster {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_when_it_was_counted_as_it_is_now() {
        let status = |observed: i64, allowed: i64| json!({ "observedGeneration": observed, "disruptionsAllowed": allowed });
        assert!(allows_eviction(Some(2), &status(2, 1)));
        assert!(!allows_eviction(Some(2), &status(2, 0)));
        assert!(!allows_eviction(Some(2), &status(1, 1)), "this was counted for the budget as it was before");
        assert!(!allows_eviction(Some(1), &Value::Null));
    }
}
