//! Brings an image into nodes: once out of Docker, into all nodes that lack it at the same time, and of it only the
//! layers that a node does not have.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use bollard::Docker;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::archive::Without;
use super::image::{LATE, NAME};
use super::node::{Node, Running};
use super::{Image, KindError};
use crate::cluster::image_name::ImageName;

/// How many chunks may wait for a node that is slower than Docker or than the others: some tens of MB.
const AHEAD: usize = 256;

/// A node and its images, as they are listed.
pub(super) struct Looked {
    node: Arc<Node>,
    images: String,
}

/// What is asked of nodes before an image is sent to them.
#[derive(Clone, Copy)]
enum Ask {
    /// What they have of other images, to leave that out.
    WhatTheyHave,
    /// Nothing: they get everything.
    Nothing,
}

/// What loading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How many nodes lacked the image.
    pub into: usize,
    /// How many there are.
    pub of: usize,
}

/// Brings the image into the nodes that lack it; the images that each had before.
pub(super) async fn into_nodes(
    docker: &Docker,
    nodes: &[Arc<Node>],
    image: &Image,
) -> Result<(Loaded, Vec<Looked>), KindError> {
    let name = full_name(&image.reference);
    let inspected = match docker.inspect_image(&image.reference).await {
        Ok(inspected) => inspected,
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
            let looked = look(nodes).await?;
            // Nodes may have pulled it, or somebody else loaded it.
            let has = |looked: &Looked| digest(&looked.images, &name).is_some();
            if looked.iter().all(has) {
                return Ok((Loaded { into: 0, of: nodes.len() }, looked));
            }
            return Err(KindError::NoImage(image.reference.clone()));
        }
        Err(error) => return Err(KindError::docker(format!("inspecting image {}", image.reference))(error)),
    };
    let id = inspected.id.unwrap_or_default();
    let looked = look(nodes).await?;
    let lacks = |looked: &&Looked| !is_listed(&looked.images, &name, &id);
    let lacking: Vec<&Arc<Node>> = looked.iter().filter(lacks).map(|looked| &looked.node).collect();
    let loaded = Loaded { into: lacking.len(), of: nodes.len() };
    if lacking.is_empty() {
        return Ok((loaded, looked));
    }
    if spread(docker, &lacking, image, Ask::WhatTheyHave).await.is_err() {
        // A node that lost a layer which it still names, or a Docker that writes archives of the older kind.
        spread(docker, &lacking, image, Ask::Nothing).await?;
    }
    Ok((loaded, looked))
}

/// Lists the images of all nodes.
async fn look(nodes: &[Arc<Node>]) -> Result<Vec<Looked>, KindError> {
    let looked = nodes.iter().map(|node| async move {
        let images = node.sh("ctr --namespace=k8s.io images ls").await?;
        Ok(Looked { node: Arc::clone(node), images })
    });
    join_all(looked).await.into_iter().collect()
}

/// Removes from the nodes the images of ours that are not among those in use.
pub(super) async fn forget_unused(looked: Vec<Looked>, used: &[String]) {
    let used: Vec<String> = used.iter().map(|reference| full_name(reference)).collect();
    forget(looked, &|name| !used.iter().any(|used| used == name)).await;
}

/// Removes from the nodes the images with those tags that came late.
pub(super) async fn forget_late(nodes: &[Arc<Node>], goes: &impl Fn(&str) -> bool) {
    let late = full_name(&format!("{LATE}:"));
    match look(nodes).await {
        Ok(looked) => forget(looked, &|name| name.strip_prefix(&late).is_some_and(goes)).await,
        Err(error) => tracing::debug!("listing the images of nodes: {error}"),
    }
}

/// Removes from the nodes those of our own images.
async fn forget(looked: Vec<Looked>, goes: &impl Fn(&str) -> bool) {
    let forgotten =
        looked.iter().map(|looked| looked.node.forget(ours(&looked.images).filter(|name| goes(name))));
    for error in join_all(forgotten).await.into_iter().filter_map(Result::err) {
        tracing::debug!("removing images from a node: {error}");
    }
}

/// Reads the image once, and writes to each node what it does not have.
async fn spread(docker: &Docker, nodes: &[&Arc<Node>], image: &Image, ask: Ask) -> Result<(), KindError> {
    let ways = nodes.iter().map(|node| {
        let (sender, chunks) = mpsc::channel(AHEAD);
        (sender, node.import(chunks))
    });
    let (senders, imports): (Vec<_>, Vec<_>) = ways.unzip();
    let export = async {
        let mut exported = pin!(docker.export_image(&image.reference).peekable());
        let known = async {
            match ask {
                Ask::WhatTheyHave => join_all(nodes.iter().map(|node| node.blobs())).await,
                Ask::Nothing => vec![BTreeSet::new(); nodes.len()],
            }
        };
        // Docker writes the whole image to files before it gives any of it: time enough for the nodes to say that.
        let (known, _) = tokio::join!(known, exported.as_mut().peek());
        let mut ways: Vec<_> = senders.into_iter().zip(known.into_iter().map(Without::new)).collect();
        while let Some(chunk) = exported.next().await {
            let chunk =
                chunk.map_err(KindError::docker(format!("reading image {} from Docker", image.reference)))?;
            for (sender, without) in &mut ways {
                // What a node has takes no place in its queue: Docker need not wait while the node writes what it has not.
                for piece in without.take(chunk.clone()) {
                    // A node that stopped reading says why when its import ends.
                    let _ = sender.send(piece).await;
                }
            }
            if ways.iter().all(|(_, without)| without.is_over()) {
                // Docker removes its files before it ends its answer.
                break;
            }
        }
        Ok::<_, KindError>(())
    };
    let (exported, imported) = tokio::join!(export, join_all(imports));
    imported.into_iter().collect::<Result<Vec<()>, _>>()?;
    exported
}

// === impl Node ===

impl Node {
    /// The digests of what the node has of any image; none where it does not say.
    async fn blobs(&self) -> BTreeSet<String> {
        let listed = self.sh("ctr --namespace=k8s.io content ls -q").await.unwrap_or_default();
        listed.lines().filter_map(|line| line.trim().strip_prefix("sha256:")).map(str::to_owned).collect()
    }

    /// Removes these images.
    async fn forget(&self, names: impl Iterator<Item = &str>) -> Result<(), KindError> {
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        self.sh(&format!("ctr --namespace=k8s.io images rm {}", names.join(" "))).await.map(drop)
    }

    async fn import(&self, mut chunks: mpsc::Receiver<Bytes>) -> Result<(), KindError> {
        let command = ["ctr", "--namespace=k8s.io", "images", "import", "-"];
        let Running { id, mut output, mut input } = self.start(&command, true).await?;
        let feed = async move {
            while let Some(chunk) = chunks.recv().await {
                if input.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = input.shutdown().await;
        };
        let listen = async {
            let mut said = Vec::new();
            while let Some(chunk) = output.next().await {
                said.extend_from_slice(&chunk?.into_bytes());
            }
            Ok::<_, bollard::errors::Error>(said)
        };
        let ((), said) = tokio::join!(feed, listen);
        let said = said.map_err(KindError::docker(format!("importing an image on {}", self.name)))?;
        match self.code(&id).await? {
            0 => Ok(()),
            code => Err(self.failed(&command.join(" "), code, String::from_utf8_lossy(&said).into_owned())),
        }
    }
}

// === helpers ===

/// The name that containerd knows an image by.
fn full_name(reference: &str) -> String {
    ImageName::of(reference).full()
}

/// The names of our own images in a listing.
fn ours(listed: &str) -> impl Iterator<Item = &str> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| {
        let named = name.rsplit('/').next().and_then(|last| last.split_once(':'));
        name.contains('/') && named.is_some_and(|(name, _)| [NAME, LATE].contains(&name))
    })
}

/// Whether the listing has both the name and the id that the runtime made of the same content.
fn is_listed(listed: &str, name: &str, id: &str) -> bool {
    // Docker's newer image store calls an image by the digest that the node lists, its older one by the id.
    let named = digest(listed, name);
    named.is_some() && (named == Some(id) || named == digest(listed, id))
}

/// The digest of what has this name in a listing.
fn digest<'l>(listed: &'l str, reference: &str) -> Option<&'l str> {
    listed.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(reference)).then(|| words.find(|word| word.starts_with("sha256:")))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_images_are_ours_to_remove() {
        let listed = "\
REF                                  TYPE        DIGEST      SIZE
docker.io/library/hubcheck-hub:1     application sha256:aaaa 3 MiB
docker.io/library/hubcheck-late:7-0  application sha256:aaaa 3 MiB
docker.io/library/hubcheck-hub-2:1   application sha256:bbbb 3 MiB
docker.io/me/hub:1                   application sha256:bbbb 3 MiB
sha256:1111                          application sha256:aaaa 3 MiB
";
        let expected = ["docker.io/library/hubcheck-hub:1", "docker.io/library/hubcheck-late:7-0"];
        assert_eq!(ours(listed).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_image_counts_only_with_its_own_content() {
        let listed = "\
REF                     TYPE        DIGEST      SIZE
docker.io/library/hub:1 application sha256:aaaa 3 MiB
sha256:1111             application sha256:aaaa 3 MiB
sha256:2222             application sha256:bbbb 3 MiB
";
        assert!(is_listed(listed, "docker.io/library/hub:1", "sha256:1111"));
        assert!(!is_listed(listed, "docker.io/library/hub:1", "sha256:2222"));
        assert!(!is_listed(listed, "docker.io/library/hub:2", "sha256:1111"));
        assert!(is_listed(listed, "docker.io/library/hub:1", "sha256:aaaa"));
    }
}
