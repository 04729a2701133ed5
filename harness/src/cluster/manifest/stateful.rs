//! A StatefulSet, run as the Deployment that comes nearest to it.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment, StatefulSet,
};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The Deployment: a StatefulSet replaces its pods one after another and never has one more, so its strategy does, too
/// (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#rolling-updates>). Its volumes begin empty.
pub(super) fn as_deployment(set: StatefulSet) -> Deployment {
    let spec = set.spec.map(|spec| {
        let mut template = spec.template;
        let claims =
            spec.volume_claim_templates.into_iter().flatten().filter_map(|claim| claim.metadata.name);
        let pod = template.spec.get_or_insert_default();
        let volumes = pod.volumes.get_or_insert_default();
        volumes.extend(claims.map(|name| Volume {
            name,
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        }));
        if volumes.is_empty() {
            pod.volumes = None;
        }
        let one_by_one = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(0)),
            max_unavailable: Some(IntOrString::Int(1)),
        };
        DeploymentSpec {
            replicas: spec.replicas,
            selector: spec.selector,
            template,
            min_ready_seconds: spec.min_ready_seconds,
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(one_by_one),
            }),
            ..DeploymentSpec::default()
        }
    });
    Deployment { metadata: set.metadata, spec, ..Deployment::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_replaced_one_by_one_and_have_their_volumes() {
        let text = "metadata: {name: hub}\nspec:\n  replicas: 3\n  serviceName: s\n  selector: {matchLabels: {app: hub}}\n  \
                    template: {spec: {containers: [{name: hub}]}}\n  volumeClaimTemplates: [{metadata: {name: data}}]\n";
        let set: StatefulSet = serde_saphyr::from_str(text).unwrap();
        let spec = as_deployment(set).spec.unwrap();
        let update = spec.strategy.unwrap().rolling_update.unwrap();
        assert_eq!((spec.replicas, update.max_surge), (Some(3), Some(IntOrString::Int(0))));
        assert_eq!(spec.template.spec.unwrap().volumes.unwrap()[0].name, "data");
    }
}
