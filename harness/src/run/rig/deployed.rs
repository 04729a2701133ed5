//! The user's manifests, as far as plan and remedies go by them, and a cell's manifests.

use std::time::Duration;

use super::{Hub, Rig};
use crate::cluster::manifest::Manifests;
use crate::plan::deployed::{Front, Readiness};
use crate::plan::{Affinity, Cell, Deployed, Offers};
use crate::run::{Probes, Scenario, Setup};

/// The kinds of objects that pick replicas, or hide the addresses of clients, before the Service does.
const PROXIES: &[&str] = &["ingress", "ingressroute", "httproute", "virtualservice", "httpproxy"];

/// `timeoutSeconds` of a Service with `ClientIP` that says nothing, and of cells that vary with the affinity:
/// <https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity>.
const AFFINITY_S: u32 = 10_800;

// === impl Hub ===

impl Hub {
    /// What the user's manifests deploy; `None` without any.
    pub fn deployed(&self) -> Option<&Deployed> {
        match self {
            Hub::Local(hub) => hub.deployed.as_ref(),
            Hub::Kind(hub) => hub.deployed.as_ref(),
            Hub::Kube(hub) => hub.deployed.as_ref(),
            Hub::Url(_) => None,
        }
    }
}

/// What the user's manifests deploy.
pub(in crate::run) fn of_manifests(manifests: &Manifests) -> Deployed {
    let replicas = manifests.replicas();
    let affinity = manifests.affinity();
    let has = |kind: &str| manifests.others.iter().any(|other| other.split('/').next() == Some(kind));
    let is_proxy = |other: &&String| PROXIES.contains(&other.split('/').next().unwrap_or_default());
    let front =
        manifests.others.iter().find(is_proxy).map_or(Front::Service, |name| Front::Proxy(name.clone()));
    let asks = manifests.readiness_asks();
    let readiness = manifests.readiness_numbers().map(|(period_s, timeout_s, failures)| Readiness {
        period_s,
        timeout_s,
        failures,
        asks,
    });
    Deployed {
        by_manifests: true,
        affinities: vec![if affinity.is_some() { Affinity::ClientIp } else { Affinity::Off }],
        affinity_timeout_s: affinity.map(whole),
        // An autoscaler keeps more than one where that is worth having.
        replicas: Some(if has("horizontalpodautoscaler") { replicas.max(2) } else { replicas }),
        front,
        readiness,
        grace_s: Some(manifests.grace_period().as_secs()),
        keeps_client_addresses: manifests.keeps_client_addresses(),
    }
}

// === impl Rig ===

impl Rig {
    /// How many replicas a cell begins with.
    pub(in crate::run) fn replicas_of(&self, scenario: Option<&Scenario>) -> usize {
        let Some(scenario) = scenario.filter(|_| self.manifests().is_some()) else { return self.replicas };
        scenario.setup.replicas.unwrap_or_else(|| self.offers.replicas_of(&scenario.outline))
    }

    /// What hub and backend offer a cell with so many replicas.
    pub(in crate::run) fn offers_with(&self, replicas: usize) -> Offers {
        Offers { replicas: replicas.max(self.replicas), ..self.offers.clone() }
    }

    /// What a scenario edits of the manifests before its cluster comes up, in a line for each field. That a cell about one replica
    /// has one is no such edit.
    pub(in crate::run) fn edits(&self, scenario: &Scenario, cell: Cell) -> Vec<String> {
        let Some(given) = self.manifests() else { return Vec::new() };
        let deployed = &self.offers.deployed;
        let here = cell.affinity.unwrap_or(deployed.affinity());
        let there = if deployed.by_manifests { deployed.affinity() } else { here };
        let replicas = self.replicas_of(Some(scenario));
        let deployed_replicas = if replicas > 1 { self.replicas } else { replicas };
        let (mut before, mut after) = (given.clone(), given.clone());
        let unedited = Setup { probes: scenario.setup.probes, ..Setup::ORDINARY };
        self.fit(&mut before, deployed_replicas, Some(there), &unedited);
        self.fit(&mut after, replicas, Some(here), &scenario.setup);
        before.differences(&after)
    }

    /// Makes of the user's manifests those of a cell: its replicas, its affinity, and what its scenario edits.
    pub(super) fn fit(
        &self,
        manifests: &mut Manifests,
        replicas: usize,
        affinity: Option<Affinity>,
        setup: &Setup,
    ) {
        let deployed = &self.offers.deployed;
        manifests.set_replicas(replicas);
        let timeout_s = setup.affinity_timeout_s.or(deployed.affinity_timeout_s).unwrap_or(AFFINITY_S);
        manifests.set_affinity(match affinity.unwrap_or(deployed.affinity()) {
            Affinity::Off => None,
            Affinity::ClientIp => Some(Duration::from_secs(u64::from(timeout_s))),
        });
        match setup.probes {
            Probes::Quickened => manifests.quicken(&self.pace),
            Probes::AsDeployed => {}
        }
        setup.apply(manifests, self.place.is_reference());
    }
}

fn whole(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(service: &str, deployment: &str, more: &str) -> Deployed {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: hub}}\nspec:\n  selector: {{matchLabels: {{app: hub}}}}\n  \
             template:\n    metadata: {{labels: {{app: hub}}}}\n    spec: {{containers: [{{name: hub, image: x}}]}}\n{deployment}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: hub}}\nspec:\n  ports: [{{port: 80}}]\n{service}\n---\n{more}"
        );
        of_manifests(&Manifests::parse(&[("all.yaml", &text)]).expect("manifests"))
    }

    #[test]
    fn what_manifests_leave_out_is_what_kubernetes_fills_in() {
        let plain = manifests("", "", "");
        assert_eq!((plain.replicas, plain.affinities.as_slice()), (Some(1), &[Affinity::Off][..]));
        assert_eq!((plain.grace_s, plain.readiness), (Some(30), None));
        let sticky = manifests("  sessionAffinity: ClientIP", "  replicas: 4", "");
        assert_eq!((sticky.affinity_timeout_s, sticky.replicas), (Some(10_800), Some(4)));
        assert!(sticky.has_client_ip());
    }

    #[test]
    fn an_ingress_stands_in_front_and_an_autoscaler_makes_two() {
        let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: edge}";
        assert_eq!(manifests("", "", ingress).front, Front::Proxy("ingress/edge".to_owned()));
        let scaler = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: hub}";
        assert_eq!(manifests("", "", scaler).replicas, Some(2));
    }
}
