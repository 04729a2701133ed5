//! A hub whose replicas are processes of this machine: manifests, and what runs in place of their images.

use std::path::PathBuf;

use super::{REFERENCE_IMAGE, RigError, deployed};
use crate::cluster::companions::{GivenCompanion, Runs};
use crate::cluster::image_name;
use crate::cluster::local::Launch;
use crate::cluster::manifest::Manifests;
use crate::plan::Deployed;

/// A hub whose replicas we run as processes.
pub struct LocalHub {
    /// What the user calls it.
    pub(super) name: String,
    pub(super) manifests: Manifests,
    pub(super) launches: Vec<(String, Launch)>,
    pub(super) env: Vec<(String, String)>,
    pub(super) supervisor: PathBuf,
    /// Whether the readiness probe asks the hub itself. Ours for an unknown one only sees that its port accepts, which
    /// a hanging process does too.
    pub(super) asks: bool,
    /// Whether it is the reference hub.
    pub(super) is_reference: bool,
    /// What the user's manifests deploy; then what is not simulated is worth a note, too.
    pub(super) deployed: Option<Deployed>,
    /// The port at which the hub listens whatever it is asked to, when the survey found that.
    pub(super) fixed_port: Option<u16>,
    /// What is started for each cell before the hub.
    pub(super) companions: Vec<GivenCompanion>,
}

// === impl LocalHub ===

impl LocalHub {
    /// A hub from what the user gave: manifests or ours, a command or the reference hub.
    ///
    /// # Errors
    ///
    /// When the manifests of `kind/` cannot be read, which would be a bug.
    pub fn new(
        manifests: Option<Manifests>,
        command: Option<Launch>,
        launches: Vec<(String, Launch)>,
        ready_path: Option<String>,
        env: Vec<(String, String)>,
        supervisor: PathBuf,
    ) -> Result<Self, RigError> {
        let deployed = manifests.as_ref().map(deployed::of_manifests);
        let theirs = deployed.is_some();
        let mut manifests = match manifests {
            Some(manifests) => manifests,
            None => Manifests::embedded()?,
        };
        let mut launches = launches;
        let mut name = "the reference hub".to_owned();
        if let Some(command) = command {
            name = shell_words::join(&command.argv);
            if !theirs {
                manifests.for_a_plain_command();
            }
            // A given command runs whatever the image of the hub's container is.
            launches.insert(0, (manifests.image().unwrap_or_default().to_owned(), command));
        } else if theirs {
            name = manifests.image().unwrap_or("the manifests' hub").to_owned();
        }
        let image = manifests.image().unwrap_or_default().to_owned();
        if theirs && launches.iter().any(|(known, _)| image_name::is_same(known, &image)) {
            manifests.stand_in();
        }
        if ready_path.is_some() || !manifests.has_readiness_probe() {
            manifests.set_ready_path(ready_path.as_deref());
        }
        let asks = manifests.readiness_asks();
        let is_reference = false;
        Ok(Self {
            name,
            manifests,
            launches,
            env,
            supervisor,
            asks,
            is_reference,
            deployed,
            fixed_port: None,
            companions: Vec::new(),
        })
    }

    /// The reference hub with these extra environment variables, run by this supervisor.
    ///
    /// # Errors
    ///
    /// When the manifests of `kind/` cannot be read, which would be a bug.
    pub fn reference(
        binary: &std::path::Path,
        env: Vec<(String, String)>,
        supervisor: PathBuf,
    ) -> Result<Self, RigError> {
        let mut hub = Self::new(None, None, Vec::new(), None, env, supervisor)?;
        hub.add_reference(REFERENCE_IMAGE.to_owned(), binary);
        Ok(hub)
    }

    /// The same with what it needs beside it.
    #[must_use]
    pub fn beside(mut self, companions: Vec<GivenCompanion>) -> Self {
        if self.deployed.is_some() {
            let names: Vec<&str> = companions.iter().map(|companion| companion.name.as_str()).collect();
            self.manifests.remark_on_companions(&names);
        }
        Self { companions, ..self }
    }

    /// Which companions there are; nothing without any.
    pub(super) fn companions_noted(&self) -> Option<String> {
        let noted = self.companions.iter().map(|companion| match &companion.runs {
            Runs::Command(_) => format!("{}: `{}`, started for each cell", companion.name, companion.runs),
            Runs::At { .. } => format!("{}: {}", companion.name, companion.runs),
        });
        let noted: Vec<String> = noted.collect();
        (!noted.is_empty()).then(|| format!("companions: {}", noted.join("; ")))
    }

    /// Adds the reference hub where the manifests name its image and nothing else says what to run.
    ///
    /// # Errors
    ///
    /// What building it says, or [`RigError::NoCommand`] as `E` for an image that nobody knows.
    pub fn with_reference<E>(
        mut self,
        build: impl FnOnce() -> Result<PathBuf, E>,
        unknown: impl FnOnce(RigError) -> E,
    ) -> Result<Self, E> {
        let image = self.manifests.image().unwrap_or_default().to_owned();
        if self.launches.iter().any(|(known, _)| image_name::is_same(known, &image)) {
            return Ok(self);
        }
        if image == REFERENCE_IMAGE {
            self.add_reference(image, &build()?);
            return Ok(self);
        }
        if self.manifests.has_command() {
            return Ok(self);
        }
        Err(unknown(RigError::NoCommand { image }))
    }

    fn add_reference(&mut self, image: String, binary: &std::path::Path) {
        let launch = Launch { argv: vec![binary.display().to_string()], cwd: None };
        self.launches.push((image, launch));
        self.is_reference = true;
    }
}
