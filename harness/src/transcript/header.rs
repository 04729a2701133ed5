//! What was run, on what, and what its verdict depends on beside the entries. Pure.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::FORMAT;
use super::measured::Measured;
use crate::plan::{Affinity, Deployed, Transport};

/// The first line of a transcript's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// The cell's id, `family/scenario@affinity-transport`.
    pub cell: String,
    /// The scenario's id: says which checks judge it.
    pub scenario: String,
    /// The affinity, when the scenario varies with it.
    pub affinity: Option<Affinity>,
    /// The transport that its clients speak.
    pub transport: Option<Transport>,
    /// Where the replicas ran: `local`, `kind`, ..
    pub backend: String,
    /// The hub under test, as the user named it.
    pub hub: String,
    /// How many replicas the cell began with.
    pub replicas: usize,
    /// The parts that the hub's tools can play: decides which checks apply.
    pub tools: Vec<String>,
    /// How the hub's `echo` takes a text and gives it back.
    #[serde(default, skip_serializing_if = "Echo::is_plain")]
    pub echo: Echo,
    /// How long the hub took in the survey: decides how long it may take.
    #[serde(default, skip_serializing_if = "Measured::is_empty")]
    pub measured: Measured,
    /// What the user deploys: decides which remedies are of use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deployed: Deployed,
    /// What the cell has and the user does not deploy; then its verdict counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_if: Option<String>,
    /// What the scenario edited of the manifests, in a line for each field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<String>,
}

/// How a tool that gives back a text does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The argument that it takes the text as.
    pub argument: String,
    /// What it puts before the text.
    pub before: String,
    /// What it puts after it.
    pub after: String,
}

// === impl Echo ===

impl Default for Echo {
    fn default() -> Self {
        Self { argument: "text".to_owned(), before: String::new(), after: String::new() }
    }
}

impl Echo {
    /// What is left of an answer without what the tool puts around a text.
    pub fn unwrapped<'s>(&self, said: &'s str) -> &'s str {
        let inner = said.strip_prefix(self.before.as_str());
        inner.and_then(|said| said.strip_suffix(self.after.as_str())).unwrap_or(said)
    }

    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

// === impl Header ===

#[cfg(test)]
impl Header {
    /// For tests: of a transcript that no run made.
    pub(crate) fn made_by_hand(backend: &str, transport: Option<Transport>) -> Self {
        Self {
            format: FORMAT,
            cell: "family/scenario".to_owned(),
            scenario: "family/scenario".to_owned(),
            affinity: None,
            transport,
            backend: backend.to_owned(),
            hub: "made by hand".to_owned(),
            replicas: 1,
            tools: Vec::new(),
            echo: Echo::default(),
            measured: Measured::default(),
            deployed: Deployed::default(),
            what_if: None,
            edits: Vec::new(),
        }
    }
}

fn is_default(deployed: &Deployed) -> bool {
    *deployed == Deployed::default()
}
