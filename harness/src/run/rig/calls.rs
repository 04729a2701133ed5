//! Calls of a hub's own tools: those that the user allows, with their arguments, and those that the hub marks as read-only. Pure.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use super::tools::Listed;
use crate::plan::{Need, nearest_of};

/// How many tools that are marked as read-only are tried.
const MOST_TRIED: usize = 3;

/// A call that is answered within this serves as any small request does.
const QUICK: Duration = Duration::from_millis(500);

/// A call that takes this long is one that others can be held up by.
const SLOW: Duration = Duration::from_secs(3);

/// A call that takes longer is too long for a cell.
pub(super) const LONGEST: Duration = Duration::from_secs(20);

/// So many notifications show that a call reports progress.
const NOTICES: usize = 2;

/// A tool that the user allows to be called, with the arguments that may be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCall {
    /// The tool's name.
    pub name: String,
    /// Its arguments: a JSON object.
    pub arguments: Value,
}

/// A call that may be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) named: NamedCall,
    /// Whether the user named it; otherwise the hub marks its tool as read-only.
    pub(super) is_asked: bool,
}

/// What a call came to when it was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Whether it was answered with a result that is no error.
    pub(super) is_good: bool,
    /// How long that took.
    pub(super) took: Duration,
    /// How many progress notifications came before.
    pub(super) notices: usize,
}

/// The calls of the hub's own tools that scenarios may send, each for what it is good for.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnCalls {
    /// One that is answered at once.
    pub(super) quick: Option<Call>,
    /// One that takes its time.
    pub(super) slow: Option<Call>,
    /// One that reports progress.
    pub(super) telling: Option<Call>,
    /// A tool that demands arguments, and may be called without them: it must refuse.
    pub(super) demanding: Option<String>,
}

// === impl NamedCall ===

/// `NAME`, or `NAME {"argument": ..}`.
impl FromStr for NamedCall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let at = text.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(text.len());
        let (name, arguments) = (&text[..at], text[at..].trim());
        if name.is_empty() {
            return Err("it begins with no tool's name".to_owned());
        }
        let arguments = match arguments {
            "" => json!({}),
            given => {
                serde_json::from_str(given).map_err(|error| format!("its arguments are no JSON: {error}"))?
            }
        };
        if !arguments.is_object() {
            return Err("its arguments are no JSON object".to_owned());
        }
        Ok(Self { name: name.to_owned(), arguments })
    }
}

// === impl Call ===

impl Call {
    /// The parameters of the request.
    pub(super) fn params(&self) -> Value {
        json!({ "name": self.named.name, "arguments": self.named.arguments })
    }
}

// === impl OwnCalls ===

impl OwnCalls {
    /// Learns what a call is good for. The first that fits stays.
    pub(super) fn heard(&mut self, call: &Call, heard: Heard) {
        if !heard.is_good || heard.took > LONGEST {
            return;
        }
        let fits = |place: &mut Option<Call>, does_fit: bool| {
            if does_fit && place.is_none() {
                *place = Some(call.clone());
            }
        };
        fits(&mut self.quick, heard.took <= QUICK);
        fits(&mut self.slow, heard.took >= SLOW);
        fits(&mut self.telling, heard.notices >= NOTICES);
    }

    /// What these calls make possible.
    pub(super) fn needs(&self) -> impl Iterator<Item = Need> + use<> {
        let progress = self.telling.as_ref().map(|_| Need::Progress);
        let slow = self.slow.as_ref().map(|_| Need::SlowCall);
        progress.into_iter().chain(slow)
    }

    /// Which tools are called, and why they may be.
    pub(super) fn line(&self) -> Option<String> {
        let mut names: Vec<String> = Vec::new();
        for call in [&self.quick, &self.slow, &self.telling].into_iter().flatten() {
            let why = if call.is_asked { "`--call`" } else { "marked as read-only" };
            let name = format!("`{}` ({why})", call.named.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| format!("tools of the hub that are called: {}", names.join(", ")))
    }
}

// === helpers ===

/// The calls to try: those that the user named, then tools that are marked as read-only and need nothing that their schema does
/// not say. Of these, tools that say that they touch nothing outside of the hub come first.
pub(super) fn to_try<'l>(listed: impl Iterator<Item = &'l Listed>, asked: &[NamedCall]) -> Vec<Call> {
    let mut calls: Vec<Call> =
        asked.iter().map(|named| Call { named: named.clone(), is_asked: true }).collect();
    let is_asked = |tool: &&Listed| asked.iter().any(|named| named.name == tool.name());
    let mut marked: Vec<&Listed> = listed.filter(|tool| tool.is_read_only() && !is_asked(tool)).collect();
    marked.sort_by_key(|tool| (tool.is_open_world(), tool.name().to_owned()));
    let derived = marked.into_iter().filter_map(|tool| {
        let named = NamedCall { name: tool.name().to_owned(), arguments: tool.own_arguments()? };
        Some(Call { named, is_asked: false })
    });
    calls.extend(derived.take(MOST_TRIED));
    calls
}

/// A tool that may be called and demands arguments.
pub(super) fn demanding<'l>(
    mut listed: impl Iterator<Item = &'l Listed>,
    asked: &[NamedCall],
    parts: impl Fn(&str) -> bool,
) -> Option<String> {
    let is_asked = |name: &str| asked.iter().any(|named| named.name == name);
    let may = |tool: &&Listed| tool.is_read_only() || is_asked(tool.name());
    listed.find(|tool| may(tool) && tool.demands() && !parts(tool.name())).map(|tool| tool.name().to_owned())
}

/// The tool of the list whose name is nearest to this one.
pub(super) fn nearest<'l>(name: &str, listed: impl Iterator<Item = &'l Listed>) -> Option<String> {
    nearest_of(name, listed.map(|tool| tool.name().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, schema: &Value, annotations: &Value) -> Listed {
        let tool = json!({ "name": name, "inputSchema": schema, "annotations": annotations });
        Listed::read(&tool).expect("a tool")
    }

    #[test]
    fn a_call_is_a_name_and_an_object() {
        let call: NamedCall = r#" search {"query": "x"} "#.parse().expect("a call");
        assert_eq!((call.name.as_str(), &call.arguments), ("search", &json!({ "query": "x" })));
        assert_eq!("now".parse::<NamedCall>().expect("a call").arguments, json!({}));
        assert_eq!("f{}".parse::<NamedCall>().expect("a call").name, "f");
        for bad in ["", "search {", "search [1]", "search x", r#"{"query": 1}"#] {
            assert!(bad.parse::<NamedCall>().is_err(), "{bad}");
        }
    }

    #[test]
    fn marked_tools_are_tried_with_what_their_schema_says() {
        let read_only = json!({ "readOnlyHint": true });
        let closed = json!({ "readOnlyHint": true, "openWorldHint": false });
        let unit =
            json!({ "required": ["unit"], "properties": { "unit": { "enum": ["C", "F"] }, "more": {} } });
        let city = json!({ "required": ["city"], "properties": { "city": { "type": "string" } } });
        let tools = [
            listed("by_city", &city, &read_only),
            listed("by_unit", &unit, &read_only),
            listed("count", &json!({}), &closed),
            listed("drop_all", &json!({}), &json!({})),
        ];
        let tried = to_try(tools.iter(), &[]);
        let names: Vec<&str> = tried.iter().map(|call| call.named.name.as_str()).collect();
        assert_eq!(names, ["count", "by_unit"]);
        assert_eq!(tried[1].named.arguments, json!({ "unit": "C" }));
        assert_eq!(demanding(tools.iter(), &[], |_| false).as_deref(), Some("by_city"));
        let asked = ["drop_all".parse().expect("a call")];
        assert_eq!(to_try(tools.iter(), &asked)[0].named.name, "drop_all");
        assert_eq!(nearest("by_citty", tools.iter()).as_deref(), Some("by_city"));
    }

    #[test]
    fn a_call_is_used_for_what_it_did() {
        let call = |name: &str| Call { named: name.parse().expect("a call"), is_asked: true };
        let heard =
            |ms: u64, notices: usize| Heard { is_good: true, took: Duration::from_millis(ms), notices };
        let mut own = OwnCalls::default();
        own.heard(&call("broken"), Heard { is_good: false, ..heard(1, 5) });
        own.heard(&call("eternal"), heard(60_000, 9));
        own.heard(&call("long"), heard(4_000, 4));
        own.heard(&call("quick"), heard(20, 0));
        let name = |call: &Option<Call>| call.as_ref().map(|call| call.named.name.clone());
        assert_eq!(name(&own.quick).as_deref(), Some("quick"));
        assert_eq!(name(&own.slow).as_deref(), Some("long"));
        assert_eq!(name(&own.telling).as_deref(), Some("long"));
    }
}
