//! What the suite expects to find, as data: `fixtures.json` beside this file.
//!
//! Names and texts are the suite's; what a tool does is one of the few things that [`Does`] lists.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rmcp::model::{
    ContentBlock, ElicitationSchema, InputRequests, Prompt, Resource, ResourceContents, ResourceTemplate,
    ServerCapabilities, Tool,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Everything in the file.
#[derive(Debug, Deserialize)]
pub(super) struct Fixtures {
    pub(super) capabilities: ServerCapabilities,
    pub(super) tools: Vec<ToolFixture>,
    pub(super) prompts: Vec<PromptFixture>,
    pub(super) resources: Vec<ResourceFixture>,
    pub(super) templates: Vec<ResourceTemplate>,
    /// Suggestions by the argument's name.
    pub(super) completions: BTreeMap<String, Vec<String>>,
}

/// A tool and what it does.
#[derive(Debug, Deserialize)]
pub(super) struct ToolFixture {
    #[serde(flatten, deserialize_with = "tool")]
    pub(super) tool: Tool,
    pub(super) does: Does,
}

/// What a tool of the suite does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Does {
    /// Answers with this.
    Answer(Vec<ContentBlock>),
    /// Fails, which its caller sees.
    Fail(String),
    /// Logs these lines, with a pause between two.
    Log(Vec<String>),
    /// Tells these parts of 100, with a pause between two.
    Progress(Vec<u32>),
    /// Asks the client's model, in the session eras.
    Sample,
    /// Asks the client's user, in the session eras.
    Ask {
        /// What the answer begins with.
        says: String,
        /// What is asked for.
        schema: ElicitationSchema,
    },
    /// Is refused to a client without the capability to sample.
    NeedSampling,
    /// Tells those who listen that a list has changed.
    Change(List),
    /// Asks in its result and is called again, as 2026-07-28 has it.
    Gather(Gather),
}

/// A list that can change.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum List {
    Tools,
    Prompts,
}

/// Inputs that are gathered in rounds.
#[derive(Debug, Deserialize)]
pub(super) struct Gather {
    /// What each round asks for, by key.
    pub(super) rounds: Vec<InputRequests>,
    /// Whether the client carries a sealed state from round to round.
    #[serde(default)]
    pub(super) sealed: bool,
    /// What the result says at the end.
    pub(super) done: String,
}

/// A prompt. `{name}` in its messages is replaced by the argument of this name.
#[derive(Debug, Deserialize)]
pub(super) struct PromptFixture {
    #[serde(flatten)]
    pub(super) prompt: Prompt,
    pub(super) messages: Value,
    pub(super) gather: Option<Gather>,
}

/// A resource and its content.
#[derive(Debug, Deserialize)]
pub(super) struct ResourceFixture {
    #[serde(flatten)]
    pub(super) resource: Resource,
    pub(super) content: ResourceContents,
}

/// The fixtures, read once.
///
/// # Panics
/// When the file that was compiled in is no fixtures file; a test reads it.
pub(super) fn fixtures() -> &'static Fixtures {
    static FIXTURES: LazyLock<Fixtures> =
        LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).expect("well-formed fixtures"));
    &FIXTURES
}

/// A tool whose `inputSchema` may be left out: most take no arguments.
fn tool<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Tool, D::Error> {
    let mut tool = Value::deserialize(from)?;
    if let Some(fields) = tool.as_object_mut() {
        fields.entry("inputSchema").or_insert_with(|| json!({"type": "object", "properties": {}}));
    }
    serde_json::from_value(tool).map_err(serde::de::Error::custom)
}
