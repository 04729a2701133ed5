//! Which of a hub's tools play the parts that scenarios need. A tool must take the arguments that are sent, and it must be allowed to
//! be called: a name alone says neither. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::RigError;
use super::calls::{self, Call, Heard, NamedCall, OwnCalls};
use crate::plan::{Need, Tool};
use crate::transcript::Echo;

/// What the reference hub calls itself.
pub(super) const OURS: &str = "hubcheck-hub";

/// Types of JSON Schema that take a string.
const TEXT: &[&str] = &["string"];

/// Types of JSON Schema that take an integer.
const NUMBER: &[&str] = &["integer", "number"];

/// The argument under which scenarios send a text to `echo`.
const ECHOED: &str = "text";

/// A tool as the hub lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    name: String,
    schema: Value,
    is_read_only: bool,
    is_open_world: bool,
}

/// Which tools the user names for which part, and which calls: these may be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    parts: BTreeMap<Tool, String>,
    calls: Vec<NamedCall>,
}

/// The tools that scenarios may call.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    played: BTreeMap<Tool, String>,
    withheld: BTreeSet<Tool>,
    echo: Echo,
    /// Parts whose tools may be called only because they are marked as read-only.
    marked: BTreeSet<Tool>,
    /// Calls of other tools, as far as they were tried.
    own: OwnCalls,
    notes: Vec<String>,
}

// === impl Listed ===

impl Listed {
    /// A tool of a `tools/list`.
    pub(super) fn read(tool: &Value) -> Option<Self> {
        let name = tool["name"].as_str()?.to_owned();
        let is_read_only = tool["annotations"]["readOnlyHint"] == true;
        let is_open_world = tool["annotations"]["openWorldHint"] != false;
        Some(Self { name, schema: tool["inputSchema"].clone(), is_read_only, is_open_world })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the hub says that it changes nothing.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether it may reach what is outside of the hub: the protocol's default.
    pub(super) fn is_open_world(&self) -> bool {
        self.is_open_world
    }

    /// Whether it demands arguments.
    pub(super) fn demands(&self) -> bool {
        self.required().next().is_some()
    }

    /// Arguments that follow from its schema: none where it demands none, else the first value that the schema itself names.
    pub(super) fn own_arguments(&self) -> Option<Value> {
        let named = |name: &str| {
            let property = self.schema["properties"].get(name)?;
            let listed = ["enum", "examples"].iter().find_map(|word| property.get(word)?.get(0));
            let single = ["const", "default", "example"].iter().find_map(|word| property.get(word));
            Some((name.to_owned(), single.or(listed)?.clone()))
        };
        self.required().map(named).collect::<Option<Map<String, Value>>>().map(Value::Object)
    }

    fn required(&self) -> impl Iterator<Item = &str> {
        self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether it takes the arguments that a part is sent; with the name of the argument for the text, where there is one.
    fn takes(&self, tool: Tool, is_asked: bool) -> Option<&str> {
        let required: BTreeSet<&str> = self.required().collect();
        let sent = arguments(tool);
        let is_known = |name: &&str| sent.iter().any(|(own, _)| own == name);
        let says_nothing =
            self.schema["properties"].is_null() && self.schema["additionalProperties"] != false;
        let takes_all = sent.iter().all(|(name, types)| self.has(name, types)) || is_asked && says_nothing;
        if takes_all && required.iter().all(is_known) {
            return Some(ECHOED);
        }
        let mut required = required.into_iter();
        match (tool, required.next(), required.next()) {
            // By such a name another part's argument would be meant.
            (Tool::Echo, Some(only), None) if self.has(only, TEXT) && !is_argument(only) => Some(only),
            _ => None,
        }
    }

    /// Whether an argument of this name takes any value of one of these types.
    fn has(&self, name: &str, types: &[&str]) -> bool {
        let Some(property) = self.schema["properties"].get(name) else { return false };
        let is_limited = ["enum", "const"].iter().any(|word| property.get(word).is_some());
        let fits = |value: &Value| value.as_str().is_some_and(|own| types.contains(&own));
        !is_limited
            && match &property["type"] {
                Value::Null => true,
                Value::Array(several) => several.iter().any(fits),
                one => fits(one),
            }
    }
}

// === impl Asked ===

impl Asked {
    pub(super) fn new(tools: Vec<(Tool, String)>) -> Self {
        Self { parts: tools.into_iter().collect(), calls: Vec::new() }
    }

    /// Calls that may be sent.
    pub(super) fn allow(&mut self, calls: Vec<NamedCall>) {
        self.calls.extend(calls);
    }

    /// Calls that may be sent.
    pub(super) fn calls(&self) -> &[NamedCall] {
        &self.calls
    }

    /// The name of the tool that may play a part.
    fn name(&self, tool: Tool) -> String {
        self.parts.get(&tool).cloned().unwrap_or_else(|| tool.to_string())
    }

    /// Whether the hub lists each tool that the user names for a call.
    ///
    /// # Errors
    ///
    /// [`RigError::NoSuchTool`] for the first that it does not.
    pub(super) fn are_listed(&self, listed: &BTreeMap<String, Listed>) -> Result<(), RigError> {
        match self.calls.iter().find(|call| !listed.contains_key(&call.name)) {
            None => Ok(()),
            Some(call) => Err(RigError::NoSuchTool {
                name: call.name.clone(),
                nearest: calls::nearest(&call.name, listed.values()),
            }),
        }
    }

    fn flag(&self, tool: Tool) -> String {
        match self.parts.get(&tool) {
            Some(name) if *name != tool.to_string() => format!("--tool {tool}={name}"),
            _ => format!("--tool {tool}"),
        }
    }
}

// === impl Tools ===

impl Tools {
    /// The tools of a hub that is ours, as documented.
    pub(super) fn of_reference() -> Self {
        let played = Tool::ALL.map(|tool| (tool, tool.to_string())).into();
        Self { played, ..Self::default() }
    }

    /// Casts each part with the tool of its name that takes what is sent, if it may be called: because the hub is ours, the user
    /// named the tool, or it is annotated as read-only.
    pub(super) fn cast(listed: &BTreeMap<String, Listed>, asked: &Asked, is_ours: bool) -> Self {
        let mut tools = Self::default();
        for part in Tool::ALL {
            let is_asked = asked.parts.contains_key(&part);
            let name = asked.name(part);
            let Some(tool) = listed.get(&name) else {
                tools
                    .notes
                    .extend(is_asked.then(|| format!("`{}`: the hub lists no such tool", asked.flag(part))));
                continue;
            };
            match tool.takes(part, is_asked) {
                Some(text) if is_ours || is_asked || tool.is_read_only => {
                    tools.played.insert(part, name);
                    if !is_ours && !is_asked {
                        tools.marked.insert(part);
                    }
                    if part == Tool::Echo {
                        text.clone_into(&mut tools.echo.argument);
                    }
                }
                Some(_) => {
                    tools.withheld.insert(part);
                }
                None if is_asked => {
                    let sent: Vec<String> =
                        arguments(part).iter().map(|(name, _)| format!("`{name}`")).collect();
                    let takes =
                        if sent.is_empty() { "a call without any".to_owned() } else { sent.join(", ") };
                    tools.notes.push(format!("`{}`: its arguments do not fit {takes}", asked.flag(part)));
                }
                None => {}
            }
        }
        tools.notes.extend(tools.withheld_line());
        let is_part = |name: &str| tools.played.values().any(|played| played == name);
        tools.own.demanding = calls::demanding(listed.values(), &asked.calls, is_part);
        tools
    }

    /// What was found and may not be called, and what allows it.
    fn withheld_line(&self) -> Option<String> {
        let names: Vec<String> = self.withheld.iter().map(|tool| format!("`{tool}`")).collect();
        let flags: Vec<String> = self.withheld.iter().map(|tool| format!("--tool {tool}")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "not called, because the hub does not mark them as read-only (`readOnlyHint`): {}; if calls do no harm, add `{}`",
                names.join(", "),
                flags.join(" "),
            )
        })
    }

    /// What the hub's tools make possible.
    pub(super) fn needs(&self) -> Vec<Need> {
        let has = |tool: Tool| self.played.contains_key(&tool);
        let held = has(Tool::Tally) || has(Tool::Sleep);
        let tools = self.played.keys().copied().map(Need::Tool);
        let held = held.then_some([Need::HeldCall, Need::SlowCall]).into_iter().flatten();
        let progress = has(Tool::Count).then_some(Need::Progress);
        let repeats = self.repeats().then_some(Need::Repeats);
        let own = self.own.needs().chain(progress).chain(repeats);
        tools.chain(held).chain(own).chain(has(Tool::Whoami).then_some(Need::Routed)).collect()
    }

    /// Whether some answer repeats what was sent.
    pub(super) fn repeats(&self) -> bool {
        self.echo.is_name || self.played.contains_key(&Tool::Echo)
    }

    /// Calls of the hub's own tools that scenarios may send.
    pub(super) fn own(&self) -> &OwnCalls {
        &self.own
    }

    /// Whether the tool of this part may be called only because it is marked as read-only.
    pub(super) fn is_marked(&self, tool: Tool) -> bool {
        self.marked.contains(&tool)
    }

    /// Whether any tool may be called only because it is marked as read-only.
    pub(super) fn calls_marked(&self) -> bool {
        let own = [&self.own.quick, &self.own.slow, &self.own.telling];
        !self.marked.is_empty() || own.into_iter().flatten().any(|call| !call.is_asked)
    }

    /// The parts whose tools may not be called.
    pub(super) fn withheld(&self) -> &BTreeSet<Tool> {
        &self.withheld
    }

    /// What is worth a line.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How `echo` takes its text and gives it back.
    pub(super) fn echo(&self) -> &Echo {
        &self.echo
    }

    /// The hub's name of the tool that plays a part; nothing where none does.
    pub(super) fn name(&self, tool: Tool) -> Option<&str> {
        self.played.get(&tool).map(String::as_str)
    }

    /// The parameters of a call to the tool that plays a part. Where none does, the name is empty, and nothing is called.
    pub(super) fn call(&self, tool: Tool, arguments: &Value) -> Value {
        if let (Tool::Echo, true, Some(text)) = (tool, self.echo.is_name, arguments[ECHOED].as_str()) {
            return json!({ "name": Echo::unknown_tool(text), "arguments": {} });
        }
        let mut arguments = arguments.clone();
        if let Some(given) = arguments.as_object_mut().filter(|_| tool == Tool::Echo) {
            self.rename_text(given);
        }
        json!({ "name": self.name(tool).unwrap_or_default(), "arguments": arguments })
    }

    fn rename_text(&self, given: &mut Map<String, Value>) {
        if let Some(text) = given.remove(ECHOED) {
            given.insert(self.echo.argument.clone(), text);
        }
    }

    /// Learns what `echo` adds to a text; one that does not give the text back plays no part.
    pub(super) fn heard_echo(&mut self, sent: &str, said: &str) {
        match said.split_once(sent) {
            Some((before, after)) => {
                before.clone_into(&mut self.echo.before);
                after.clone_into(&mut self.echo.after);
            }
            None => self.dismiss(Tool::Echo, "it does not give back the text that it gets"),
        }
    }

    /// Takes `whoami` for what names replicas only where it names the one that there is.
    pub(super) fn heard_whoami(&mut self, replica: &str, said: &str) {
        if said != replica {
            self.dismiss(Tool::Whoami, "it does not name the replica (POD_NAME, or its host name)");
        }
    }

    /// Learns what an error puts around the name of a tool that the hub does not have.
    pub(super) fn heard_unknown(&mut self, name: &str, said: &str) {
        if let Some((before, after)) = said.split_once(name) {
            self.echo =
                Echo { before: before.to_owned(), after: after.to_owned(), is_name: true, ..Echo::default() };
        }
    }

    /// Learns what a call of the hub's own tool is good for.
    pub(super) fn heard_call(&mut self, call: &Call, heard: Heard) {
        self.own.heard(call, heard);
        if call.is_asked && !heard.is_good {
            self.notes.push(format!(
                "`--call {}` is not used: the hub answered it with an error, or not at all",
                call.named.name
            ));
        }
    }

    /// Notes which of the hub's own tools are called.
    pub(super) fn tell_own(&mut self) {
        self.notes.extend(self.own.line());
    }

    fn dismiss(&mut self, tool: Tool, why: &str) {
        if let Some(name) = self.played.remove(&tool) {
            self.notes.push(format!("tool `{name}` cannot play the part of `{tool}`: {why}"));
        }
        if tool == Tool::Echo {
            self.echo = Echo::default();
        }
    }
}

// === helpers ===

/// The arguments that scenarios send to the tool that plays a part, with the types of a schema that take them.
fn arguments(tool: Tool) -> &'static [(&'static str, &'static [&'static str])] {
    match tool {
        Tool::Whoami | Tool::Ask => &[],
        Tool::Echo => &[(ECHOED, TEXT)],
        Tool::Count => &[("n", NUMBER), ("interval_ms", NUMBER)],
        Tool::Tally => &[("key", TEXT), ("add", NUMBER), ("hold_ms", NUMBER)],
        Tool::Work => &[("key", TEXT), ("n", NUMBER), ("interval_ms", NUMBER)],
        Tool::Allocate => &[("mib", NUMBER)],
        Tool::Sleep => &[("ms", NUMBER)],
    }
}

/// Whether a part has an argument of this name, by which checks know its calls.
fn is_argument(name: &str) -> bool {
    Tool::ALL.into_iter().flat_map(arguments).any(|(own, _)| *own == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tool of this name with these properties, of which these are required.
    fn tool(name: &str, properties: &Value, required: &[&str], is_read_only: bool) -> Listed {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        let annotations = json!({ "readOnlyHint": is_read_only });
        let tool = json!({ "name": name, "inputSchema": schema, "annotations": annotations });
        Listed::read(&tool).unwrap()
    }

    fn string() -> Value {
        json!({ "type": "string" })
    }

    fn cast(listed: impl IntoIterator<Item = Listed>, asked: &[(Tool, &str)], is_ours: bool) -> Tools {
        let listed = listed.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
        let asked = asked.iter().map(|(tool, name)| (*tool, (*name).to_owned())).collect();
        Tools::cast(&listed, &Asked::new(asked), is_ours)
    }

    #[test]
    fn a_name_alone_is_no_permission() {
        let echo = |is_read_only| tool("echo", &json!({ "text": string() }), &["text"], is_read_only);
        assert_eq!(cast([echo(true)], &[], false).name(Tool::Echo), Some("echo"));
        assert_eq!(cast([echo(false)], &[], true).name(Tool::Echo), Some("echo"), "ours");
        assert_eq!(cast([echo(false)], &[(Tool::Echo, "echo")], false).name(Tool::Echo), Some("echo"));
        let tools = cast([echo(false)], &[], false);
        assert_eq!((tools.name(Tool::Echo), tools.withheld().len()), (None, 1));
        assert_eq!(
            tools.notes(),
            [
                "not called, because the hub does not mark them as read-only (`readOnlyHint`): `echo`; if calls do no harm, add \
              `--tool echo`"
            ]
        );
        let unmarked =
            Listed::read(&json!({ "name": "whoami", "inputSchema": { "type": "object" } })).unwrap();
        assert_eq!(cast([unmarked], &[], false).name(Tool::Whoami), None);
    }

    #[test]
    fn a_tool_must_take_what_is_sent() {
        let number = json!({ "type": "integer" });
        let fits = [
            ("count", json!({ "n": number, "interval_ms": number }), vec!["n"]),
            ("count", json!({ "n": {}, "interval_ms": { "type": ["number", "null"] } }), vec![]),
            ("whoami", json!({ "verbose": { "type": "boolean" } }), vec![]),
            ("sleep", json!({ "ms": { "anyOf": [number, { "type": "null" }] } }), vec!["ms"]),
        ];
        for (name, properties, required) in fits {
            let tools = cast([tool(name, &properties, &required, true)], &[], false);
            assert_eq!(tools.played.len(), 1, "{name} {properties}");
        }
        let misfits = [
            ("count", json!({ "n": number }), vec!["n"]),
            ("count", json!({ "n": string(), "interval_ms": number }), vec!["n"]),
            ("sleep", json!({ "seconds": number }), vec!["seconds"]),
            ("ask", json!({ "question": string() }), vec!["question"]),
            ("work", json!({ "task": string() }), vec!["task"]),
            ("whoami", json!({ "token": string() }), vec!["token"]),
            ("echo", json!({ "text": { "enum": ["a", "b"] } }), vec!["text"]),
            ("echo", json!({ "a": string(), "b": string() }), vec!["a", "b"]),
            ("echo", json!({ "key": string() }), vec!["key"]),
            ("allocate", json!({ "mib": number, "pool": string() }), vec!["mib", "pool"]),
        ];
        for (name, properties, required) in misfits {
            let tools = cast([tool(name, &properties, &required, true)], &[], false);
            assert!(tools.played.is_empty() && tools.withheld.is_empty(), "{name} {properties}");
            assert!(tools.notes().is_empty(), "nothing to be said of another tool");
        }
    }

    #[test]
    fn a_schema_that_says_nothing_takes_what_the_user_promises() {
        let bare = || Listed::read(&json!({ "name": "say", "inputSchema": { "type": "object" } })).unwrap();
        assert_eq!(cast([bare()], &[(Tool::Echo, "say")], false).name(Tool::Echo), Some("say"));
        let tools = cast([bare()], &[(Tool::Count, "counts"), (Tool::Echo, "say")], false);
        assert_eq!(tools.notes(), ["`--tool count=counts`: the hub lists no such tool"]);
        let other = tool("say", &json!({ "words": { "type": "array" } }), &["words"], true);
        let tools = cast([other], &[(Tool::Echo, "say")], false);
        assert_eq!(tools.notes(), ["`--tool echo=say`: its arguments do not fit `text`"]);
    }

    #[test]
    fn the_only_text_of_an_echo_has_any_name() {
        let mut tools = cast([tool("echo", &json!({ "message": string() }), &["message"], true)], &[], false);
        let call = tools.call(Tool::Echo, &json!({ "text": "a" }));
        assert_eq!(call, json!({ "name": "echo", "arguments": { "message": "a" } }));
        tools.heard_echo("a7", "Echo: a7!");
        assert_eq!((tools.echo().before.as_str(), tools.echo().after.as_str()), ("Echo: ", "!"));
        tools.heard_echo("a7", "done");
        assert_eq!((tools.name(Tool::Echo), tools.echo()), (None, &Echo::default()));
    }

    #[test]
    fn a_whoami_that_names_its_user_names_no_replica() {
        let whoami = || [tool("whoami", &json!({}), &[], true)];
        let mut tools = cast(whoami(), &[], false);
        tools.heard_whoami("mcp-hub-0", "mcp-hub-0");
        assert!(tools.needs().contains(&Need::Routed));
        tools.heard_whoami("mcp-hub-0", "alice@example.com");
        assert_eq!(tools.needs(), []);
    }
}
