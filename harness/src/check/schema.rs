//! The JSON schemas of the protocol's revisions, and whether a message that a server sent is valid against one.
//!
//! The schemas are those of <https://github.com/modelcontextprotocol/modelcontextprotocol>, byte for byte
//! (`schema/README.md` says of which commit). Each type is compiled once per process, when it is first needed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

/// One revision of the protocol, and its schema.
#[derive(Debug)]
pub struct Revision {
    /// Its date, which is its name.
    pub name: &'static str,
    schema: LazyLock<Value>,
    compiled: Mutex<BTreeMap<String, Option<Arc<Validator>>>>,
}

/// What a message that a server sends is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent<'m> {
    /// The answer to a request of this method, or to one that is not known.
    Answer(Option<&'m str>),
    /// A request or notification of its own.
    Own,
}

/// Every revision, the oldest first.
static REVISIONS: [Revision; 5] = [
    Revision::new("2024-11-05", || parsed(include_str!("schema/2024-11-05.json"))),
    Revision::new("2025-03-26", || parsed(include_str!("schema/2025-03-26.json"))),
    Revision::new("2025-06-18", || parsed(include_str!("schema/2025-06-18.json"))),
    Revision::new("2025-11-25", || parsed(include_str!("schema/2025-11-25.json"))),
    Revision::new("2026-07-28", || parsed(include_str!("schema/2026-07-28.json"))),
];

/// The revision of this name.
pub fn revision(name: &str) -> Option<&'static Revision> {
    REVISIONS.iter().find(|revision| revision.name == name)
}

// === impl Revision ===

impl Revision {
    const fn new(name: &'static str, schema: fn() -> Value) -> Self {
        Self { name, schema: LazyLock::new(schema), compiled: Mutex::new(BTreeMap::new()) }
    }

    /// What is wrong with a message, in one line; `None` when it is valid.
    pub fn fault(&self, message: &Value, sent: Sent<'_>) -> Option<String> {
        match sent {
            Sent::Answer(_) if message.get("error").is_some() => self.fault_of_error(message),
            Sent::Answer(method) => self
                .first_fault(&["JSONRPCResultResponse", "JSONRPCResponse"], message, "")
                .or_else(|| self.fault_of_result(message, method)),
            Sent::Own => {
                let kind = if message.get("id").is_some() { "JSONRPCRequest" } else { "JSONRPCNotification" };
                self.first_fault(&[kind], message, "").or_else(|| {
                    // A method that the revision does not know is an extension's.
                    let known = self.type_of(message.get("method")?.as_str()?)?;
                    self.first_fault(&[&known], message, "")
                })
            }
        }
    }

    /// Servers say `null` or nothing as the id where they could not read the request's; that is legal JSON-RPC.
    fn fault_of_error(&self, message: &Value) -> Option<String> {
        let mut message = message.clone();
        if message.get("id").is_none_or(Value::is_null) {
            message["id"] = json!("unknown");
        }
        self.first_fault(&["JSONRPCErrorResponse", "JSONRPCError"], &message, "")
    }

    /// `CallToolRequest` is answered by `CallToolResult`, and so on; what has no result of its own by `EmptyResult`.
    fn fault_of_result(&self, message: &Value, method: Option<&str>) -> Option<String> {
        let request = self.type_of(method?)?;
        let stem = request.strip_suffix("Request")?;
        // Where a request may be answered by several results, a type of the whole response says so.
        let response = format!("{stem}ResultResponse");
        if self.definitions().get(&response).is_some() {
            return self.first_fault(&[&response], message, "");
        }
        self.first_fault(&[&format!("{stem}Result"), "EmptyResult"], &message["result"], "/result")
    }

    /// The name of the request or notification that has this method.
    fn type_of(&self, method: &str) -> Option<String> {
        let types = self.definitions().as_object()?;
        let has_method = |value: &Value| value["properties"]["method"]["const"] == method;
        types.iter().find(|(_, value)| has_method(value)).map(|(name, _)| name.clone())
    }

    /// The fault of a value against the first of these types that there is.
    fn first_fault(&self, types: &[&str], value: &Value, place: &str) -> Option<String> {
        let (name, validator) = types.iter().find_map(|name| Some((*name, self.validator(name)?)))?;
        let error = validator.iter_errors(value).next()?;
        let mut why = error.to_string();
        if let Some((cut, _)) = why.char_indices().nth(200) {
            why.truncate(cut);
            why.push_str("..");
        }
        Some(format!("{place}{}: {why} ({name} of {})", error.instance_path(), self.name))
    }

    fn definitions(&self) -> &Value {
        let schema = &*self.schema;
        schema.get("$defs").unwrap_or(&schema["definitions"])
    }

    fn validator(&self, name: &str) -> Option<Arc<Validator>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(name) {
            return known.clone();
        }
        let place = if self.schema.get("$defs").is_some() { "$defs" } else { "definitions" };
        let validator = self.definitions().get(name).and_then(|_| {
            let mut schema = self.schema.clone();
            schema["$ref"] = json!(format!("#/{place}/{name}"));
            jsonschema::options().should_validate_formats(false).build(&schema).ok().map(Arc::new)
        });
        compiled.insert(name.to_owned(), validator.clone());
        validator
    }
}

// === helpers ===

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_compiles() {
        for revision in &REVISIONS {
            let names: Vec<String> =
                revision.definitions().as_object().expect("definitions").keys().cloned().collect();
            assert!(names.len() > 50, "{}", revision.name);
            for name in names {
                assert!(revision.validator(&name).is_some(), "{name} of {}", revision.name);
            }
        }
    }

    #[test]
    fn a_result_is_held_against_the_type_that_its_method_wants() {
        let answer = |result: Value| json!({ "jsonrpc": "2.0", "id": 1, "result": result });
        let tools = answer(json!({ "tools": [{ "name": "x", "inputSchema": { "type": "object" } }] }));
        let nameless = answer(json!({ "tools": [{ "inputSchema": { "type": "object" } }] }));
        for revision in &REVISIONS[..4] {
            let sent = Sent::Answer(Some("tools/list"));
            assert_eq!(revision.fault(&tools, sent), None);
            let fault = revision.fault(&nameless, sent).expect("a tool has a name");
            assert!(fault.starts_with("/result/tools/0: "), "{fault}");
            assert_eq!(revision.fault(&nameless, Sent::Answer(None)), None, "any result");
            assert_eq!(revision.fault(&answer(json!({})), Sent::Answer(Some("ping"))), None);
            assert!(revision.fault(&answer(json!({})), Sent::Answer(Some("initialize"))).is_some());
        }
        let modern = revision("2026-07-28").expect("it is there");
        assert!(modern.fault(&tools, Sent::Answer(Some("tools/list"))).is_some(), "resultType is missing");
    }

    #[test]
    fn errors_may_have_no_id_and_extensions_are_nobodys_business() {
        for revision in &REVISIONS {
            for id in [json!(null), json!("server-error"), json!(3)] {
                let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "x" } });
                assert_eq!(revision.fault(&error, Sent::Answer(None)), None, "{}", revision.name);
            }
            let wrong = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": "x", "message": "x" } });
            assert!(revision.fault(&wrong, Sent::Answer(None)).is_some());
            let own = json!({ "jsonrpc": "2.0", "method": "notifications/x-own", "params": { "a": 1 } });
            assert_eq!(revision.fault(&own, Sent::Own), None);
            let log = json!({ "jsonrpc": "2.0", "method": "notifications/message",
                              "params": { "level": "error", "data": "x" } });
            assert_eq!(revision.fault(&log, Sent::Own), None);
            let unlevelled = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
            assert!(revision.fault(&unlevelled, Sent::Own).is_some());
        }
    }
}
