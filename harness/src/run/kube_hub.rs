//! A hub whose replicas are pods of a cluster that is not ours: namespaces and relays of our own on it, nothing else.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::kind_hub::{Hurry, for_pods};
use super::rig::{RigError, deployed, secret_env};
use crate::cluster::kind::RunLock;
use crate::cluster::kubernetes::{Context, Kubernetes, Site, UpError};
use crate::cluster::manifest::{Beside, CompanionKind, Manifests};
use crate::plan::Deployed;
use crate::transcript::{Recorder, Secret};

/// What the user gave for a cluster that is there.
#[derive(Debug)]
pub struct KubeGiven {
    /// The cluster.
    pub context: Context,
    /// The hub's manifests in place of ours.
    pub manifests: Option<Manifests>,
    /// The hub's image in place of the manifests'.
    pub image: Option<String>,
    /// The image that clients run as, in place of the hub's own: it must have `/relay`.
    pub relay_image: Option<String>,
    /// What a GET of says that a replica is ready.
    pub ready_path: Option<String>,
    /// Environment variables for every replica.
    pub env: Vec<(String, String)>,
    /// What of the manifests is applied beside the hub.
    pub apply: Vec<CompanionKind>,
}

/// A hub on a cluster of a named context.
pub struct KubeHub {
    pub(super) name: String,
    pub(super) manifests: Manifests,
    /// What the user's manifests deploy.
    pub(super) deployed: Option<Deployed>,
    /// Variables given with `--env` that must not be recorded.
    pub(super) secret_env: Vec<Secret>,
    /// Whether the readiness probe asks the hub itself.
    pub(super) asks: bool,
    /// Whether it is known to be the reference hub.
    pub(super) is_reference: bool,
    relay_image: String,
    context: Context,
    run: String,
    up: OnceCell<Up>,
}

struct Up {
    site: Arc<Site>,
    _lock: RunLock,
}

// === impl KubeHub ===

impl KubeHub {
    /// A hub from what the user gave.
    ///
    /// # Errors
    ///
    /// [`RigError::NoRelayImage`] when the image is not known to have a relay; when the manifests of `kind/` cannot be
    /// read, which would be a bug.
    pub fn new(given: KubeGiven, run: String) -> Result<Self, RigError> {
        let KubeGiven { context, manifests, image, relay_image, ready_path, env, apply } = given;
        let deployed = manifests.as_ref().map(deployed::of_manifests);
        let theirs = deployed.is_some();
        let (mut manifests, asks) = for_pods(manifests, ready_path.as_deref(), &env)?;
        manifests.bring_up_beside(Beside::Only(&apply));
        if let Some(image) = &image {
            manifests.set_image(image);
        }
        let is_reference = !theirs && image.as_deref().is_none_or(is_ours);
        let name = manifests.image().unwrap_or("the manifests' hub").to_owned();
        let relay_image = match relay_image {
            Some(image) => image,
            None if theirs => return Err(RigError::NoRelayImage),
            // With our manifests the image is the reference hub's, whatever it is called; else its relay says so.
            None => name.clone(),
        };
        Ok(Self {
            name,
            manifests,
            deployed,
            secret_env: secret_env(&env),
            asks,
            is_reference,
            relay_image,
            context,
            run,
            up: OnceCell::new(),
        })
    }

    /// A cell's own namespace, with manifests that are made fit for the cell.
    pub(super) async fn cell(
        &self,
        fit: impl FnOnce(&mut Manifests) + Send,
        recorder: Recorder,
    ) -> Result<Kubernetes, UpError> {
        let site = self.site().await?;
        site.open_relays(&self.relay_image).await?;
        let mut manifests = self.manifests.clone();
        fit(&mut manifests);
        recorder.mask_also(manifests.secret_values());
        Kubernetes::up(site, manifests, recorder).await
    }

    /// Deletes the namespaces of the run, and waits for their end unless somebody is in a hurry: they go by themselves.
    pub(super) async fn finish(&self, hurry: Hurry) {
        let Some(up) = self.up.get() else { return };
        match hurry {
            Hurry::Yes => up.site.let_go().await,
            Hurry::No => {
                for name in up.site.finish().await {
                    tracing::warn!("namespace {name} does not go");
                }
            }
        }
    }

    async fn site(&self) -> Result<Arc<Site>, UpError> {
        let up = self
            .up
            .get_or_try_init(|| async {
                // KIND calls the context of cluster NAME `kind-NAME`: should it be one of ours, it is not removed.
                let cluster = self.context.name.strip_prefix("kind-").unwrap_or_default();
                let lock = RunLock::take(&self.run, cluster)?;
                let site = Arc::new(Site::of_context(&self.context, self.run.clone()).await?);
                site.reap(RunLock::is_held).await;
                Ok::<_, UpError>(Up { site, _lock: lock })
            })
            .await?;
        Ok(Arc::clone(&up.site))
    }
}

// === helpers ===

/// Whether an image has the name that `hubcheck up` gives the reference hub's, whatever registry it was pushed to.
pub(super) fn is_ours(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next() == Some("hubcheck-hub")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_hub_is_known_by_its_name_in_any_registry() {
        assert!(is_ours("hubcheck-hub:7115d5c38eff"));
        assert!(is_ours("registry.example.com:5000/team/hubcheck-hub@sha256:00"));
        assert!(!is_ours("hubcheck-hub/server:1"));
        assert!(!is_ours("example.com/mcp-hub:1"));
    }
}
