//! Brings an image into nodes: once out of Docker, into all nodes that lack it at the same time, and of it only the
//! layers that a node does not have.

use std::collections::BTreeSet;
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

/// How many chunks may wait for a node that is slower than the others.
const AHEAD: usize = 64;

/// What stands between a node's images and the digests of its content.
const BLOBS: &str = "--blobs--";

/// What a node has.
enum Content {
    /// The image.
    TheImage,
    /// These digests, of other images.
    Blobs(BTreeSet<String>),
}

impl Content {
    /// What there is of other images, where the image itself is lacking.
    fn lacking(self) -> Option<BTreeSet<String>> {
        match self {
            Content::TheImage => None,
            Content::Blobs(blobs) => Some(blobs),
        }
    }
}

/// What loading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// How many nodes lacked the image.
    pub into: usize,
    /// How many there are.
    pub of: usize,
}

/// Brings the image into the nodes that lack it.
pub(super) async fn into_nodes(
    docker: &Docker,
    nodes: &[Arc<Node>],
    image: &Image,
) -> Result<Loaded, KindError> {
    let inspected = docker.inspect_image(&image.reference).await.map_err(|error| match error {
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => {
            KindError::NoImage(image.reference.clone())
        }
        error => KindError::docker(format!("inspecting image {}", image.reference))(error),
    })?;
    let id = inspected.id.unwrap_or_default();
    let name = full_name(&image.reference);
    let looked = nodes.iter().map(|node| {
        let (name, id) = (&name, &id);
        async move { Ok::<_, KindError>((node, node.content(name, id).await?)) }
    });
    let looked: Result<Vec<_>, _> = join_all(looked).await.into_iter().collect();
    let (lacking, known): (Vec<&Arc<Node>>, Vec<BTreeSet<String>>) =
        looked?.into_iter().filter_map(|(node, content)| Some((node, content.lacking()?))).unzip();
    let loaded = Loaded { into: lacking.len(), of: nodes.len() };
    if lacking.is_empty() {
        return Ok(loaded);
    }
    if spread(docker, &lacking, image, &known).await.is_err() {
        // A node that lost a layer which it still names, or a Docker that writes archives of the older kind.
        let nothing = vec![BTreeSet::new(); lacking.len()];
        spread(docker, &lacking, image, &nothing).await?;
    }
    Ok(loaded)
}

/// Removes from the nodes the images of ours that are not among those in use.
pub(super) async fn forget_unused(nodes: &[Arc<Node>], used: &[String]) {
    let used: Vec<String> = used.iter().map(|reference| full_name(reference)).collect();
    forget(nodes, &|name| !used.iter().any(|used| used == name)).await;
}

/// Removes from the nodes the images with those tags that came late.
pub(super) async fn forget_late(nodes: &[Arc<Node>], goes: &impl Fn(&str) -> bool) {
    let late = full_name(&format!("{LATE}:"));
    forget(nodes, &|name| name.strip_prefix(&late).is_some_and(goes)).await;
}

/// Removes from the nodes those of our own images.
async fn forget(nodes: &[Arc<Node>], goes: &impl Fn(&str) -> bool) {
    let forgotten = join_all(nodes.iter().map(|node| node.forget(goes))).await;
    for error in forgotten.into_iter().filter_map(Result::err) {
        tracing::debug!("removing images from a node: {error}");
    }
}

/// Reads the image once, and writes to each node what it does not know.
async fn spread(
    docker: &Docker,
    nodes: &[&Arc<Node>],
    image: &Image,
    known: &[BTreeSet<String>],
) -> Result<(), KindError> {
    let (mut senders, mut imports) = (Vec::new(), Vec::new());
    for (node, known) in nodes.iter().zip(known) {
        let (sender, chunks) = mpsc::channel(AHEAD);
        senders.push(sender);
        imports.push(node.import(chunks, known));
    }
    let export = async {
        let mut exported = docker.export_image(&image.reference);
        while let Some(chunk) = exported.next().await {
            let chunk =
                chunk.map_err(KindError::docker(format!("reading image {} from Docker", image.reference)))?;
            for sender in &senders {
                // A node that stopped reading says why when its import ends.
                let _ = sender.send(chunk.clone()).await;
            }
        }
        drop(senders);
        Ok::<_, KindError>(())
    };
    let (exported, imported) = tokio::join!(export, join_all(imports));
    imported.into_iter().collect::<Result<Vec<()>, _>>()?;
    exported
}

// === impl Node ===

impl Node {
    /// Whether the node has this image under this name, or what it has of any.
    async fn content(&self, name: &str, id: &str) -> Result<Content, KindError> {
        let command = format!(
            "ctr --namespace=k8s.io images ls && echo {BLOBS} && ctr --namespace=k8s.io content ls -q"
        );
        let listed = self.sh(&command).await?;
        let (images, blobs) = listed.split_once(BLOBS).unwrap_or((&listed, ""));
        if is_listed(images, name, id) {
            return Ok(Content::TheImage);
        }
        let digests = blobs.lines().filter_map(|line| line.trim().strip_prefix("sha256:"));
        Ok(Content::Blobs(digests.map(str::to_owned).collect()))
    }

    /// Removes those of our own images.
    async fn forget(&self, goes: impl Fn(&str) -> bool) -> Result<(), KindError> {
        let ours = format!("ctr --namespace=k8s.io images ls -q | grep -E '/({NAME}|{LATE}):'; true");
        let listed = self.sh(&ours).await?;
        let go: Vec<&str> = listed.lines().filter(|name| goes(name)).collect();
        if go.is_empty() {
            return Ok(());
        }
        self.sh(&format!("ctr --namespace=k8s.io images rm {}", go.join(" "))).await.map(drop)
    }

    async fn import(
        &self,
        mut chunks: mpsc::Receiver<Bytes>,
        known: &BTreeSet<String>,
    ) -> Result<(), KindError> {
        let command = ["ctr", "--namespace=k8s.io", "images", "import", "-"];
        let Running { id, mut output, mut input } = self.start(&command, true).await?;
        let feed = async move {
            let mut without = Without::new(known);
            while let Some(chunk) = chunks.recv().await {
                if input.write_all(&without.take(&chunk)).await.is_err() {
                    return;
                }
            }
            let _ = input.shutdown().await;
        };
        let listen = async {
            let mut said = Vec::new();
            while let Some(Ok(chunk)) = output.next().await {
                said.extend_from_slice(&chunk.into_bytes());
            }
            said
        };
        let ((), said) = tokio::join!(feed, listen);
        match self.code(&id).await? {
            0 => Ok(()),
            code => Err(self.failed(&command.join(" "), code, String::from_utf8_lossy(&said).into_owned())),
        }
    }
}

// === helpers ===

/// The name that containerd knows an image by.
fn full_name(reference: &str) -> String {
    let (first, rest) =
        reference.split_once('/').map_or((reference, None), |(first, rest)| (first, Some(rest)));
    let tagged = if reference.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    };
    match rest {
        None => format!("docker.io/library/{tagged}"),
        Some(_) if first.contains(['.', ':']) || first == "localhost" => tagged,
        Some(_) => format!("docker.io/{tagged}"),
    }
}

/// Whether the listing has both the name and the id that the runtime made of the same content.
fn is_listed(listed: &str, name: &str, id: &str) -> bool {
    let digest = |reference: &str| {
        listed.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(reference)).then(|| words.find(|word| word.starts_with("sha256:")))?
        })
    };
    // Docker's newer image store calls an image by the digest that the node lists, its older one by the id.
    let named = digest(name);
    named.is_some() && (named == Some(id) || named == digest(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_containerd_has_them() {
        for (given, full) in [
            ("hub:1", "docker.io/library/hub:1"),
            ("hub", "docker.io/library/hub:latest"),
            ("me/hub:1", "docker.io/me/hub:1"),
            ("ghcr.io/me/hub:1", "ghcr.io/me/hub:1"),
            ("localhost:5000/hub", "localhost:5000/hub:latest"),
        ] {
            assert_eq!(full_name(given), full);
        }
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
