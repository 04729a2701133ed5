//! A cluster that stays up, at an address that the user chose.

use std::net::SocketAddr;

use super::{Place, Rig, RigError};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::cluster::local::{Local, UpError};
use crate::cluster::manifest::Manifests;
use crate::plan::Affinity;
use crate::run::Setup;
use crate::transcript::Recorder;

impl Rig {
    /// A cluster of all replicas whose Service is at `listen`, and all of them ready.
    ///
    /// # Errors
    ///
    /// [`RigError`] when it cannot be started or does not become ready.
    pub async fn serve(
        &self,
        listen: SocketAddr,
        affinity: Affinity,
        recorder: &Recorder,
    ) -> Result<Cluster, RigError> {
        let Place::Local(local) = &self.place else { return Err(RigError::Up(UpError::NotLinux)) };
        let fit = |manifests: &mut Manifests| {
            self.fit(manifests, self.replicas, Some(affinity), &Setup::ORDINARY);
        };
        let mut spec = Self::spec(local, fit);
        spec.listen = Some(listen);
        let cluster = Cluster::Local(Local::up(spec, recorder.clone()).await?);
        match cluster.wait(&Condition::Ready(self.replicas), self.timeouts.ready).await {
            Ok(()) => Ok(cluster),
            Err(unmet) => {
                cluster.down().await;
                Err(unmet.into())
            }
        }
    }
}
