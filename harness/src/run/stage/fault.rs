//! Faults that are edits of the manifests, and what the cluster says of them.

use std::time::Instant;

use super::Stage;
use crate::cluster::Condition;
use crate::cluster::manifest::Manifests;
use crate::transcript::{Symptom, What};

impl Stage {
    /// The manifests as they are now.
    ///
    /// # Errors
    ///
    /// When the cluster is down, or not ours.
    pub async fn manifests(&self) -> anyhow::Result<Manifests> {
        Ok(self.cluster.manifests().await?)
    }

    /// The manifests as the run was given them, before the scenario's own edits.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn given_manifests(&self) -> anyhow::Result<&Manifests> {
        self.rig.manifests().ok_or_else(|| anyhow::anyhow!("a hub that is not ours has no manifests"))
    }

    /// Edits the manifests and applies them to the running cluster. The words say what changed; they are the same in
    /// every run and on every backend, and hold no value of a Secret.
    ///
    /// # Errors
    ///
    /// When the cluster does not take them.
    pub async fn apply(&self, change: &str, edit: impl FnOnce(&mut Manifests)) -> anyhow::Result<()> {
        let mut manifests = self.manifests().await?;
        edit(&mut manifests);
        // Before a replica can print them.
        self.recorder.mask_also(manifests.secret_values());
        Ok(self.cluster.apply(manifests, change).await?)
    }

    /// Waits for the cluster to tell what is wrong, by a message that names these. Whether it did is in the
    /// transcript, for checks to judge.
    pub async fn symptom(&self, symptom: Symptom, naming: &[&str]) -> bool {
        let began = Instant::now();
        let told = self.cluster.told(symptom, self.rig.timeouts.settle).await;
        let is_told = told.is_ok();
        let (told, instead) = match told {
            Ok(told) => (Some(told), None),
            Err(instead) => (None, Some(instead)),
        };
        self.recorder.record(What::Symptom {
            symptom,
            naming: naming.iter().map(|name| (*name).to_owned()).collect(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            told,
            instead,
        });
        is_told
    }

    /// Waits for what the hub, and not the harness, has to bring about; whether it came true. Where [`Stage::wait`]
    /// breaks the scenario off, this leaves the verdict to the checks.
    pub async fn expect(&self, condition: Condition) -> bool {
        self.cluster.wait(&condition, self.rig.timeouts.settle).await.is_ok()
    }

    /// Notes how long something took, for the report.
    pub fn measured(&self, what: &str, since: Instant) {
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recorder.record(What::Measured { what: what.to_owned(), took_ms });
    }
}
