//! What was run, on what, and what its verdict depends on beside the entries. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(test)]
use super::FORMAT;
use super::history::Call;
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
    /// How the hub takes a text and gives it back.
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

/// How a hub gives back a text: by a tool, or by the error that repeats the name of a tool that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The argument that the tool takes the text as.
    pub argument: String,
    /// What it puts before the text.
    pub before: String,
    /// What it puts after it.
    pub after: String,
    /// Whether it is the error: the name of the tool carries the text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_name: bool,
}

/// How the names of tools begin and end that no hub has. Between them a text is whole: none is the beginning of another.
const UNKNOWN_TOOL: (&str, &str) = ("hubcheck.", ".end");

// === impl Echo ===

impl Default for Echo {
    fn default() -> Self {
        Self { argument: "text".to_owned(), before: String::new(), after: String::new(), is_name: false }
    }
}

impl Echo {
    /// What is left of an answer without what the tool puts around a text.
    pub fn unwrapped<'s>(&self, said: &'s str) -> &'s str {
        let inner = said.strip_prefix(self.before.as_str());
        inner.and_then(|said| said.strip_suffix(self.after.as_str())).unwrap_or(said)
    }

    /// The name of a tool that no hub has, which carries a text. It keeps to the letters that names of tools should have.
    pub fn unknown_tool(text: &str) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let (begins, ends) = UNKNOWN_TOOL;
        format!("{begins}{}{ends}", text.chars().map(letter).collect::<String>())
    }

    /// The text that a call carries, to be given back.
    pub fn sent<'c>(&self, call: &'c Call<'_>) -> Option<&'c str> {
        if self.is_name {
            call.tool().filter(|name| name.starts_with(UNKNOWN_TOOL.0))
        } else {
            call.argument(&self.argument)?.as_str()
        }
    }

    /// What an answer says in return.
    pub fn said<'m>(&self, answer: &'m Value) -> Option<&'m str> {
        let result = || answer.pointer("/result/content/0/text");
        let said = if self.is_name { answer.pointer("/error/message").or_else(result) } else { result() };
        said.and_then(Value::as_str).filter(|said| !self.is_name || said.contains(UNKNOWN_TOOL.0))
    }

    /// Whether what was said gives back this text.
    pub fn gives_back(&self, said: &str, text: &str) -> bool {
        if self.is_name { said.contains(text) } else { self.unwrapped(said) == text }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unknown_tool_has_a_name_that_another_begins_with() {
        let echo = Echo { is_name: true, ..Echo::default() };
        let (first, tenth) = (Echo::unknown_tool("round 1"), Echo::unknown_tool("round 10"));
        assert_eq!(first, "hubcheck.round-1.end");
        let answer = serde_json::json!({ "error": { "message": format!("Unknown tool: {tenth}") } });
        let said = echo.said(&answer).expect("it says the name");
        assert!(echo.gives_back(said, &tenth) && !echo.gives_back(said, &first));
        assert_eq!(echo.said(&serde_json::json!({ "error": { "message": "Unknown tool" } })), None);
    }
}
