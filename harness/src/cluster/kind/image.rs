//! The reference hub's image: static binaries on an empty base, built through the Docker API.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bollard::Docker;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::archive::{File, archive};
use super::{KindError, RunLock};
use crate::cluster::kubernetes::{LABEL_MANAGED_BY, MANAGER};

/// What our images are called.
pub(super) const NAME: &str = "hubcheck-hub";

/// What images that come late are called: any hub's, under a name that is ours.
pub const LATE: &str = "hubcheck-late";

/// How the image is built; what it copies comes from [`Binaries`].
const DOCKERFILE: &str = include_str!("../../../../hub/Dockerfile");

/// An image that Docker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name and tag.
    pub reference: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not Linux.
    #[error(
        "the image that wire clients run as can only be built on Linux; name one that was built elsewhere with `--relay-image` \
         (the reference hub's does), and the hub's with `--image`"
    )]
    NotLinux,
    /// No sources.
    #[error("the reference hub's sources are not at `{}`; name its image with `--relay-image`, and the hub's with `--image`", .0.display())]
    NoSources(PathBuf),
    /// Cargo could not be started.
    #[error("starting cargo: {0}")]
    NoCargo(io::Error),
    /// Cargo failed.
    #[error("building the hub for its image failed:\n{0}")]
    Cargo(String),
    /// A binary cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Binary {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Docker could not build.
    #[error("building image {reference}: {said}")]
    Build {
        /// The image.
        reference: String,
        /// What Docker said.
        said: String,
    },
}

/// The hub's binaries for an empty base.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

/// What the reference hub's image is made from. Its tag is made from the content.
struct Context {
    image: Image,
    archive: Vec<u8>,
}

// === impl Context ===

impl Context {
    fn of(binaries: &Binaries) -> Result<Self, ImageError> {
        let read = |name: &str| {
            let path = binaries.folder.join(name);
            std::fs::read(&path).map_err(|error| ImageError::Binary { path, error })
        };
        let (hub, relay) = (read("hub")?, read("relay")?);
        let archive = archive(&[
            File { name: "Dockerfile", is_executable: false, content: DOCKERFILE.as_bytes() },
            File { name: "hub", is_executable: true, content: &hub },
            File { name: "relay", is_executable: true, content: &relay },
        ]);
        let digest = Sha256::digest(&archive);
        let tag: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { image: Image { reference: format!("{NAME}:{tag}") }, archive })
    }

    fn reference(&self) -> &str {
        &self.image.reference
    }

    /// Makes the image, unless there is one of the same content.
    async fn image(self, docker: &Docker) -> Result<Image, ImageError> {
        if docker.inspect_image(&self.image.reference).await.is_err() {
            build(docker, &self.image, self.archive).await?;
        }
        Ok(self.image)
    }
}

async fn build(docker: &Docker, image: &Image, context: Vec<u8>) -> Result<(), ImageError> {
    let labels = [(LABEL_MANAGED_BY, MANAGER)].into();
    let options =
        BuildImageOptionsBuilder::new().t(&image.reference).labels(&labels).rm(true).forcerm(true).build();
    let body = bollard::body_full(Bytes::from(context));
    let failed = |said: String| ImageError::Build { reference: image.reference.clone(), said };
    let mut told = docker.build_image(options, None, Some(body));
    while let Some(news) = told.next().await {
        let news = news.map_err(|error| failed(error.to_string()))?;
        if let Some(error) = news.error_detail {
            return Err(failed(error.message.unwrap_or_default()));
        }
    }
    Ok(())
}

impl Binaries {
    /// Builds them.
    ///
    /// # Errors
    ///
    /// [`ImageError`].
    pub async fn build() -> Result<Self, ImageError> {
        if !cfg!(target_os = "linux") {
            return Err(ImageError::NotLinux);
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        if !workspace.join("hub/Cargo.toml").is_file() {
            return Err(ImageError::NoSources(workspace.join("hub")));
        }
        let target_dir = target_dir(workspace);
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--package",
                "hub",
                "--bins",
                "--target",
                &target,
            ])
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            // Takes the place of RUSTFLAGS when it is set.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .current_dir(workspace)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let built = command.output().await.map_err(ImageError::NoCargo)?;
        if !built.status.success() {
            return Err(ImageError::Cargo(String::from_utf8_lossy(&built.stderr).trim().to_owned()));
        }
        Ok(Self { folder: target_dir.join(target).join("release") })
    }

    /// Makes the reference hub's image from them, or finds that it was made already. No cluster is needed. While the
    /// run of this lock goes on, nobody removes the image.
    ///
    /// # Errors
    ///
    /// [`KindError`].
    pub async fn image(&self, lock: &RunLock) -> Result<Image, KindError> {
        self.image_in(&super::connect().await?, lock).await
    }

    /// The same in a Docker that is known.
    pub(super) async fn image_in(&self, docker: &Docker, lock: &RunLock) -> Result<Image, KindError> {
        let made = Context::of(self)?;
        lock.uses(made.reference()).await?;
        Ok(made.image(docker).await?)
    }
}

/// The target folder in which this executable was built, else the workspace's own.
fn target_dir(workspace: &Path) -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let marked = executable.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(|| workspace.join("target"), Path::to_path_buf)
}
