//! What runs leave in Docker, and who still uses it.

use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use futures_util::future::join_all;

use super::image::{LATE, NAME};
use super::state::{Matter, RunLock, Turn};
use super::{KindError, late};
use crate::cluster::kubernetes::{LABEL_MANAGED_BY, LABEL_RUN, MANAGER};

/// Another run that uses the cluster.
pub(super) fn user_of(cluster: &str, own: Option<&RunLock>) -> Option<String> {
    let others = own.map_or_else(RunLock::live, RunLock::others);
    others.into_iter().find(|live| live.cluster == cluster).map(|live| live.run)
}

/// The images that runs use.
pub(super) fn in_use() -> Vec<String> {
    RunLock::live().into_iter().flat_map(|live| live.images).collect()
}

/// The containers with these labels, running or not, and the run that each is of.
pub(super) async fn labelled(docker: &Docker, labels: &[String]) -> Result<Vec<(String, String)>, KindError> {
    let filters = [("label".to_owned(), labels.to_vec())].into();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(KindError::docker("listing containers"))?;
    let run = |labels: Option<std::collections::HashMap<String, String>>| {
        labels.and_then(|mut labels| labels.remove(LABEL_RUN)).unwrap_or_default()
    };
    Ok(found.into_iter().filter_map(|found| Some((found.id?, run(found.labels)))).collect())
}

pub(super) async fn remove_relays(docker: &Docker, of: impl Fn(&str) -> bool) -> Result<(), KindError> {
    // A container that somebody ran from our image has our label, but is of no run.
    let found = labelled(docker, &[format!("{LABEL_MANAGED_BY}={MANAGER}"), LABEL_RUN.to_owned()]).await?;
    let removed = found.into_iter().filter(|(_, run)| of(run.as_str())).map(|(id, _)| async move {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        // It may be on its way already.
        if let Err(error) = docker.remove_container(&id, Some(options)).await {
            tracing::debug!("removing relay {id}: {error}");
        }
    });
    join_all(removed).await;
    Ok(())
}

/// Removes the images that we built, but for those that are used by runs: by others than this one, if it is given.
pub(super) async fn remove_images(docker: &Docker, but_for: Option<&str>) -> Result<(), KindError> {
    let _turn = Turn::take(Matter::Images).await?;
    let live = RunLock::live().into_iter().filter(|live| but_for != Some(live.run.as_str()));
    let used: Vec<String> = live.flat_map(|live| live.images).collect();
    // One image may have a name that is used beside one that is not.
    late::untag(docker, |tag| !used.contains(&format!("{LATE}:{tag}"))).await?;
    let ours = [("label".to_owned(), vec![format!("{LABEL_MANAGED_BY}={MANAGER}")])].into();
    let options = ListImagesOptionsBuilder::new().filters(&ours).build();
    let found = docker.list_images(Some(options)).await.map_err(KindError::docker("listing images"))?;
    // The name and not the image: somebody may have given it another name, or built one of their own on it.
    let is_left = |name: &String| name.starts_with(&format!("{NAME}:")) && !used.contains(name);
    for name in found.iter().flat_map(|image| &image.repo_tags).filter(|name| is_left(name)) {
        // By force, since a relay may be on its way still; one that a running container uses stays.
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        if let Err(error) = docker.remove_image(name, Some(options), None).await {
            tracing::debug!("removing image {name}: {error}");
        }
    }
    Ok(())
}
