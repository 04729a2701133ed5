//! Images that come late: one more name of an image that is there, which no node has until it is loaded under it.
//!
//! Such a name is of one run, and says so. It goes with the cell that made it, with the run when the cell was cut off, and
//! with the next run, or `hubcheck down`, when the run was.

use bollard::Docker;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};

use super::image::LATE;
use super::state::{Matter, Turn};
use super::{Image, Kind, KindError, load};
use crate::cluster::image_name::ImageName;

/// So much of a digest tells images apart: more than cells have digits.
const DIGITS: usize = 12;

// === impl Kind ===

impl Kind {
    /// Gives an image one more name, for the cell of this number.
    ///
    /// # Errors
    ///
    /// [`KindError`] when Docker does not have the image.
    pub(crate) async fn late_image(&self, of: &str, cell: usize) -> Result<Image, KindError> {
        self.tagged(of, &format!("{}{cell}", of_run(self.lock.run()))).await
    }

    /// The image under a name that nodes can be given it by: one with a digest gets a name of this run, since the digest is that of a
    /// registry, which no archive has.
    ///
    /// # Errors
    ///
    /// [`KindError::NoImage`] when Docker does not have the image.
    pub async fn loadable(&self, image: &Image) -> Result<Image, KindError> {
        let Some(digest) = ImageName::of(&image.reference).digest() else { return Ok(image.clone()) };
        if self.docker.inspect_image(&image.reference).await.is_err() {
            return Err(KindError::NoImage(image.reference.clone()));
        }
        let digest: String = digest.rsplit(':').next().unwrap_or_default().chars().take(DIGITS).collect();
        let tag = format!("{}{digest}", of_run(self.lock.run()));
        self.tagged(&image.reference, &tag).await
    }

    async fn tagged(&self, of: &str, tag: &str) -> Result<Image, KindError> {
        let image = Image { reference: format!("{LATE}:{tag}") };
        self.lock.uses(&image.reference).await?;
        let options = TagImageOptionsBuilder::new().repo(LATE).tag(tag).build();
        let tagged = self.docker.tag_image(of, Some(options)).await;
        tagged.map_err(KindError::docker(format!("giving image {of} one more name")))?;
        Ok(image)
    }

    /// Takes that name away again, from the nodes and from Docker.
    pub(crate) async fn forget(&self, image: &Image) {
        let tag = image.reference.strip_prefix(LATE).unwrap_or_default().trim_start_matches(':');
        self.forget_late(|known| known == tag).await;
        if let Err(error) = self.lock.uses_no_more(&image.reference).await {
            tracing::debug!("forgetting image {}: {error}", image.reference);
        }
    }

    /// The same for every such name of this run.
    pub(super) async fn forget_own(&self) {
        let own = of_run(self.lock.run());
        self.forget_late(|tag| tag.starts_with(&own)).await;
    }

    async fn forget_late(&self, goes: impl Fn(&str) -> bool) {
        let forgotten = async {
            let _turn = Turn::take(Matter::Images).await?;
            if tags(&self.docker).await?.iter().any(|tag| goes(tag)) {
                load::forget_late(&self.nodes_for_pods(), &goes).await;
                untag(&self.docker, goes).await?;
            }
            Ok::<_, KindError>(())
        };
        if let Err(error) = forgotten.await {
            tracing::warn!("forgetting images that came late: {error}");
        }
    }
}

// === helpers ===

/// How the tags of a run begin.
fn of_run(run: &str) -> String {
    format!("{run}-")
}

/// Takes these names away from Docker.
pub(super) async fn untag(docker: &Docker, goes: impl Fn(&str) -> bool) -> Result<(), KindError> {
    for tag in tags(docker).await?.into_iter().filter(|tag| goes(tag)) {
        // The image itself stays for as long as it has another name.
        let options = RemoveImageOptionsBuilder::new().build();
        let reference = format!("{LATE}:{tag}");
        if let Err(error) = docker.remove_image(&reference, Some(options), None).await {
            tracing::debug!("removing image {reference}: {error}");
        }
    }
    Ok(())
}

/// The tags of every such name that Docker knows.
async fn tags(docker: &Docker) -> Result<Vec<String>, KindError> {
    let late = [("reference".to_owned(), vec![LATE.to_owned()])].into();
    let options = ListImagesOptionsBuilder::new().filters(&late).build();
    let found = docker.list_images(Some(options)).await;
    let found = found.map_err(KindError::docker("listing images that came late"))?;
    let names = found.into_iter().flat_map(|image| image.repo_tags);
    let tag = |name: String| name.strip_prefix(LATE)?.strip_prefix(':').map(str::to_owned);
    Ok(names.filter_map(tag).collect())
}
