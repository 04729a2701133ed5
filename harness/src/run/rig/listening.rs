//! Where a replica on `local` listens, and what that means in a pod.

use std::time::Duration;

use tokio::time::Instant;

use super::{Place, Rig, RigError};
use crate::cluster::backend::Cluster;
use crate::cluster::inside::Listening;
use crate::cluster::isolation;
use crate::plan::Need;

/// Between two looks at where a replica listens.
const LOOK: Duration = Duration::from_secs(1);

/// For so long a replica listens at another port than it was asked to, and then is not expected to do better.
const ELSEWHERE: Duration = Duration::from_secs(5);

impl Rig {
    /// What the survey came to, seen with where the replica listens: a pod's own address is no loopback address, and a
    /// replica here is asked to listen at an address and port of its own.
    ///
    /// # Errors
    ///
    /// [`RigError::LoopbackOnly`] and [`RigError::ListensElsewhere`], and what the survey failed with.
    pub(super) fn heard_at<T>(
        &mut self,
        listening: Option<Listening>,
        surveyed: Result<T, RigError>,
    ) -> Result<T, RigError> {
        let Some(listening) = listening.filter(|listening| !listening.at.is_empty()) else { return surveyed };
        let (at, own) = (listening.to_string(), listening.own);
        match surveyed {
            Ok(_) if listening.is_at_loopback_only() && self.is_as_deployed() => {
                Err(RigError::LoopbackOnly { at })
            }
            Ok(found) => {
                if listening.is_at_loopback_only() {
                    self.noted.push(format!(
                        "the hub listens at {at} only: in a pod nothing reaches it; let it listen at 0.0.0.0 there"
                    ));
                }
                Ok(found)
            }
            Err(RigError::NotReady(unmet)) if listening.is_at_loopback_only() && self.is_as_deployed() => {
                tracing::debug!("{unmet}");
                Err(RigError::LoopbackOnly { at })
            }
            Err(RigError::NotReady(_)) if !listening.is_reachable() => {
                let fixed_port = listening.fixed_port(self.declared_port());
                Err(RigError::ListensElsewhere { at, own: own.to_string(), fixed_port })
            }
            Err(other) => Err(other),
        }
    }

    /// Gives each replica a network of its own, in which two can listen at the same port; whether that can be had and was not there.
    pub(super) fn give_networks(&mut self, port: Option<u16>) -> bool {
        let can_be_had = self.can_have_networks();
        let Place::Local(local) = &mut self.place else { return false };
        if can_be_had {
            local.fixed_port = port;
            // It is not told which port: nothing can have that first.
            self.offers.has.remove(&Need::TakenPort);
        }
        can_be_had && port.is_some()
    }

    /// Takes the networks back.
    pub(super) fn take_networks(&mut self) {
        if let Place::Local(local) = &mut self.place {
            local.fixed_port = None;
            self.offers.has.insert(Need::TakenPort);
        }
    }

    /// Returns when the only replica listens elsewhere, and a network of its own may help.
    pub(super) async fn until_elsewhere(&self, cluster: &Cluster) {
        until_elsewhere(cluster, self.declared_port()).await;
        if !self.can_have_networks() {
            // It may still come to listen where it was asked to.
            std::future::pending::<()>().await;
        }
    }

    /// Whether replicas could have networks of their own, and have none.
    fn can_have_networks(&self) -> bool {
        match &self.place {
            Place::Local(local) => {
                local.fixed_port.is_none() && isolation::network_tried(&local.supervisor).is_ok()
            }
            Place::Kind(_) | Place::Kube(_) | Place::Url { .. } => false,
        }
    }

    /// The first port that the user's manifests declare for the hub.
    fn declared_port(&self) -> Option<u16> {
        let Place::Local(local) = &self.place else { return None };
        local.deployed.as_ref()?;
        let pod = local.manifests.deployment.spec.as_ref()?.template.spec.as_ref()?;
        u16::try_from(pod.containers.first()?.ports.as_ref()?.first()?.container_port).ok()
    }

    /// Whether the manifests are the user's. A second container of the pod, which is not run here, may pass connections on
    /// to the first at 127.0.0.1.
    fn is_as_deployed(&self) -> bool {
        let Place::Local(local) = &self.place else { return false };
        let pod = local.manifests.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        local.deployed.is_some() && pod.is_none_or(|pod| pod.containers.len() == 1)
    }
}

/// Returns when the only replica has listened for a while, at one port, and not where it was asked to: it will not become ready.
async fn until_elsewhere(cluster: &Cluster, declared: Option<u16>) {
    let mut look = tokio::time::interval(LOOK);
    let mut seen: Option<(u16, Instant)> = None;
    loop {
        let now = look.tick().await;
        let port = listening(cluster).and_then(|listening| listening.fixed_port(declared));
        seen = port.map(|port| seen.filter(|(known, _)| *known == port).unwrap_or((port, now)));
        if seen.is_some_and(|(_, since)| now.duration_since(since) >= ELSEWHERE) {
            return;
        }
    }
}

/// Where the first replica listens, where that can be seen.
pub(super) fn listening(cluster: &Cluster) -> Option<Listening> {
    match cluster {
        Cluster::Local(local) => local.listening(),
        Cluster::Kubernetes(_) | Cluster::Fixed(_) => None,
    }
}
