//! A hub whose replicas are pods of a KIND cluster: the cluster, the image and the relays, made once per run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::kube_hub::is_ours;
use super::rig::{REFERENCE_IMAGE, RigError, deployed, secret_env};
use crate::cluster::kind::{Binaries, CLUSTER, Goes, Image, Kind, KindError, RunLock};
use crate::cluster::kubernetes::{Kubernetes, Site, UpError};
use crate::cluster::manifest::{Beside, Manifests};
use crate::plan::Deployed;
use crate::transcript::{Recorder, Secret};

/// What stays when a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A cluster that this run made goes with the last run that uses it; one that was there stays.
    Found,
    /// The cluster stays.
    Cluster,
}

/// Whether somebody waits for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// The run was interrupted.
    Yes,
    /// It is over.
    No,
}

/// A hub whose replicas are pods.
pub struct KindHub {
    pub(super) name: String,
    pub(super) manifests: Manifests,
    /// What the user's manifests deploy.
    pub(super) deployed: Option<Deployed>,
    /// Variables given with `--env` that must not be recorded.
    pub(super) secret_env: Vec<Secret>,
    /// Whether the readiness probe asks the hub itself.
    pub(super) asks: bool,
    /// Whether it is the reference hub.
    pub(super) is_reference: bool,
    image: Option<String>,
    /// What wire clients run as, where it is not to be built.
    relay_image: Option<String>,
    run: String,
    cluster: String,
    keep: Keep,
    /// Whether the cluster is being made.
    is_making: AtomicBool,
    lock: OnceCell<Arc<RunLock>>,
    /// Set before the image is built: a run may be interrupted then.
    kind: OnceCell<Arc<Kind>>,
    up: OnceCell<Up>,
    phases: Mutex<Vec<Phase>>,
}

/// A part of a run, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// For how long.
    pub took: Duration,
}

/// Hears what is being done.
pub type Say<'s> = &'s (dyn Fn(&str) + Send + Sync);

/// What is there once the cluster is up.
struct Up {
    site: Arc<Site>,
    image: Image,
    /// The images beside the hub's that were loaded into the nodes, and their names there.
    loaded: Vec<(String, String)>,
}

// === impl KindHub ===

impl KindHub {
    /// A hub from what the user gave: manifests or ours, an image or the reference hub's.
    ///
    /// # Errors
    ///
    /// When the manifests of `kind/` cannot be read, which would be a bug.
    pub fn new(
        manifests: Option<Manifests>,
        image: Option<String>,
        ready_path: Option<&str>,
        env: Vec<(String, String)>,
        run: String,
        keep: Keep,
    ) -> Result<Self, RigError> {
        let deployed = manifests.as_ref().map(deployed::of_manifests);
        let theirs = deployed.is_some();
        let (mut manifests, asks) = for_pods(manifests, ready_path, &env)?;
        manifests.bring_up_beside(Beside::Everything);
        let own = manifests.image().unwrap_or_default().to_owned();
        // Only the reference hub's image is ours to build.
        let image = image.or_else(|| (own != REFERENCE_IMAGE).then_some(own));
        let name = match &image {
            Some(image) => image.clone(),
            None if theirs => REFERENCE_IMAGE.to_owned(),
            None => "the reference hub".to_owned(),
        };
        Ok(Self {
            name,
            manifests,
            deployed,
            secret_env: secret_env(&env),
            asks,
            is_reference: image.is_none(),
            image,
            relay_image: None,
            run,
            cluster: CLUSTER.to_owned(),
            keep,
            is_making: AtomicBool::new(false),
            lock: OnceCell::new(),
            kind: OnceCell::new(),
            up: OnceCell::new(),
            phases: Mutex::default(),
        })
    }

    /// The same on the KIND cluster of this name.
    pub fn on(self, cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), ..self }
    }

    /// The same with wire clients that run as this image: with an image of the hub, too, nothing has to be built here.
    pub fn relayed_by(self, relay_image: Option<String>) -> Self {
        Self { relay_image, ..self }
    }

    /// Brings up the cluster, the image and the relays, unless they are.
    ///
    /// # Errors
    ///
    /// [`UpError`].
    pub async fn prepare(&self, say: Say<'_>) -> Result<(), UpError> {
        self.up(say).await.map(drop)
    }

    /// Where the time went, cells aside.
    pub fn phases(&self) -> Vec<Phase> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn took(&self, name: &'static str, since: Instant) {
        let phase = Phase { name, took: since.elapsed() };
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase);
    }

    /// A cell's own namespace, with manifests that are made fit for the cell.
    pub(super) async fn cell(
        &self,
        fit: impl FnOnce(&mut Manifests) + Send,
        recorder: Recorder,
    ) -> Result<Kubernetes, UpError> {
        let up = self.up(&|line| tracing::info!("{line}")).await?;
        let mut manifests = self.manifests.clone();
        manifests.set_image(&up.image.reference);
        let own = (up.image.reference.clone(), up.image.reference.clone());
        manifests.are_loaded(&[&[own], up.loaded.as_slice()].concat());
        fit(&mut manifests);
        recorder.mask_also(manifests.secret_values());
        Kubernetes::up(Arc::clone(&up.site), manifests, recorder).await
    }

    /// Ends what the run made: namespaces, relays, and the cluster when it is not kept. Waits for the namespaces, unless
    /// somebody is in a hurry: they go by themselves.
    ///
    /// # Errors
    ///
    /// [`KindError`] when the cluster cannot be removed.
    pub async fn finish(&self, hurry: Hurry) -> Result<(), KindError> {
        let Some(lock) = self.lock.get() else { return Ok(()) };
        let Some(kind) = self.kind.get() else {
            // Cut off in the middle of making it, it would be of no use to anyone.
            return if self.is_making.load(Ordering::Relaxed) { self.remove(lock).await } else { Ok(()) };
        };
        let began = Instant::now();
        if kind.goes_now() {
            kind.finish().await;
            let removed = self.remove(lock).await;
            self.took("the cluster's end", began);
            return removed;
        }
        let namespaces = async {
            let Some(up) = self.up.get() else { return };
            match hurry {
                Hurry::Yes => up.site.let_go().await,
                Hurry::No => {
                    for name in up.site.finish().await {
                        tracing::warn!("namespace {name} does not go");
                    }
                }
            }
        };
        tokio::join!(kind.finish(), namespaces);
        self.took("namespaces' end", began);
        Ok(())
    }

    /// Removes the cluster, unless another run came to use it in the meantime: it goes with that one.
    async fn remove(&self, lock: &RunLock) -> Result<(), KindError> {
        match Kind::remove(&self.cluster, Some(lock)).await {
            Err(KindError::InUse { run, .. }) => {
                tracing::info!("cluster {} is left to run {run}", self.cluster);
                Ok(())
            }
            removed => removed,
        }
    }

    async fn kind(&self, say: Say<'_>) -> Result<Arc<Kind>, KindError> {
        let lock = self.lock.get_or_try_init(async || RunLock::take(&self.run, &self.cluster).map(Arc::new));
        let lock = lock.await?;
        let goes = match self.keep {
            Keep::Found => Goes::WithLastRun,
            Keep::Cluster => Goes::Never,
        };
        let up = async || Kind::up(Arc::clone(lock), goes, &self.is_making, say).await.map(Arc::new);
        self.kind.get_or_try_init(up).await.cloned()
    }

    async fn up(&self, say: Say<'_>) -> Result<&Up, UpError> {
        self.up
            .get_or_try_init(|| async {
                let began = Instant::now();
                let after = || format!("{:.1} s", began.elapsed().as_secs_f64());
                // Making a cluster takes a minute, building the binaries for the first time three: without a cluster
                // nobody waits for them.
                let cluster = async {
                    let kind = self.kind(say).await;
                    self.took("cluster", began);
                    kind
                };
                let is_given = self.image.is_some() && self.relay_image.is_some();
                let built = async {
                    if is_given {
                        return Ok(None);
                    }
                    let binaries = Binaries::build().await;
                    self.took("binaries (meanwhile)", began);
                    Ok(Some(binaries))
                };
                let (kind, binaries) = tokio::try_join!(cluster, built)?;
                say(&format!("cluster up after {}", after()));
                let since = Instant::now();
                // Relays are of our image, whoever's hub is tested.
                let ours = match binaries {
                    Some(Ok(binaries)) => Some(kind.build(&binaries).await),
                    Some(Err(error)) => Some(Err(error.into())),
                    None => None,
                };
                self.took("image", since);
                say(&format!("image built after {}", after()));
                let given = |reference: &Option<String>| {
                    reference.as_ref().map(|reference| Image { reference: reference.clone() })
                };
                let (image, relays) = match (given(&self.image), given(&self.relay_image), ours) {
                    // Whatever registry it comes from: it has a relay too.
                    (Some(image), None, Some(Err(_))) if is_ours(&image.reference) => (image.clone(), image),
                    (image, relays, Some(ours)) => {
                        let ours = ours?;
                        (image.unwrap_or_else(|| ours.clone()), relays.unwrap_or(ours))
                    }
                    (Some(image), Some(relays), None) => (image, relays),
                    (_, _, None) => return Err(KindError::NoImage(REFERENCE_IMAGE.to_owned()).into()),
                };
                if self.relay_image.is_some() {
                    kind.open_relays_given(&relays).await?;
                } else {
                    kind.open_relays(&relays);
                }
                let since = Instant::now();
                let image = kind.loadable(&image).await?;
                let loaded = kind.load(&image).await?;
                let mut known = Vec::new();
                for reference in self.manifests.images_beside() {
                    let image = Image { reference: reference.clone() };
                    let into_nodes = async {
                        let image = kind.loadable(&image).await?;
                        kind.load(&image).await.map(|_| image.reference)
                    };
                    match into_nodes.await {
                        Ok(name) => known.push((reference, name)),
                        // The nodes pull it; should they not, the pod that has it is named.
                        Err(KindError::NoImage(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                // Only now: the image may be of a name that another run left.
                kind.reap().await?;
                self.took("load", since);
                say(&format!("image loaded into {} of {} nodes after {}", loaded.into, loaded.of, after()));
                let site = Arc::new(Site::of_kind(Arc::clone(&kind), self.run.clone()).await?);
                site.reap(RunLock::is_held).await;
                say(&format!("ready for cells after {}", after()));
                Ok(Up { site, image, loaded: known })
            })
            .await
    }
}

// === helpers ===

/// The manifests of a hub whose replicas are pods, ours when there are none; and whether the readiness probe asks the
/// hub itself.
pub(super) fn for_pods(
    manifests: Option<Manifests>,
    ready_path: Option<&str>,
    env: &[(String, String)],
) -> Result<(Manifests, bool), RigError> {
    let mut manifests = match manifests {
        Some(manifests) => manifests,
        None => Manifests::embedded()?,
    };
    if ready_path.is_some() || !manifests.has_readiness_probe() {
        manifests.set_ready_path(ready_path);
    }
    let asks = manifests.readiness_asks();
    for (name, value) in env {
        manifests.set_env(name, value);
    }
    Ok((manifests, asks))
}
