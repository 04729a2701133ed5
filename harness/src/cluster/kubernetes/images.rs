//! Images that nodes do not have yet, where the nodes are ours.

use super::Kubernetes;
use crate::cluster::FaultError;
use crate::cluster::kind::{Image, Kind};
use crate::transcript::{Fault, What};

impl Kubernetes {
    /// The container's image under a name that no node has: the cell's own, which goes with it.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the nodes are not ours, or Docker does not have the image.
    pub async fn late_image(&self) -> Result<String, FaultError> {
        let of = self.manifests.lock().await.image().unwrap_or_default().to_owned();
        let made = self.nodes()?.late_image(&of, self.leave.number()).await;
        let image = made.map_err(FaultError::refused)?;
        Ok(self.late.get_or_init(|| image).reference.clone())
    }

    /// Brings an image into every node that runs pods.
    ///
    /// # Errors
    ///
    /// [`FaultError::Refused`] when the nodes are not ours, or Docker does not have the image.
    pub async fn load(&self, image: &str) -> Result<(), FaultError> {
        let kind = self.nodes()?;
        self.recorder.record(What::Fault(Fault::Load { image: image.to_owned() }));
        let loaded = kind.load(&Image { reference: image.to_owned() }).await;
        loaded.map(drop).map_err(FaultError::refused)
    }

    pub(super) fn nodes(&self) -> Result<&Kind, FaultError> {
        let ours = self.site.kind().map(AsRef::as_ref);
        ours.ok_or_else(|| FaultError::Refused("the nodes of this cluster are not ours".to_owned()))
    }
}
