//! Where a replica on `local` listens, and what that means in a pod.

use super::{Place, Rig, RigError};
use crate::cluster::backend::Cluster;
use crate::cluster::inside::Listening;

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
                Err(RigError::ListensElsewhere { at, own: own.to_string() })
            }
            Err(other) => Err(other),
        }
    }

    /// Whether the manifests are the user's. A second container of the pod, which is not run here, may pass connections on
    /// to the first at 127.0.0.1.
    fn is_as_deployed(&self) -> bool {
        let Place::Local(local) = &self.place else { return false };
        let pod = local.manifests.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        local.deployed.is_some() && pod.is_none_or(|pod| pod.containers.len() == 1)
    }
}

/// Where the first replica listens, where that can be seen.
pub(super) fn listening(cluster: &Cluster) -> Option<Listening> {
    match cluster {
        Cluster::Local(local) => local.listening(),
        Cluster::Kubernetes(_) | Cluster::Fixed(_) => None,
    }
}
