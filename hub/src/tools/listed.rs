//! What `tools/list` says of each tool.

use rmcp::model::Tool;
use serde_json::{Value, json};

/// Every tool, in the order in which it is listed.
pub(super) fn list() -> Vec<Tool> {
    let int = |what: &str, default: Value| match default {
        Value::Null => json!({"type": "integer", "description": what}),
        default => json!({"type": "integer", "description": what, "default": default}),
    };
    let text = |what: &str| json!({"type": "string", "description": what});
    let tool = |name: &'static str, what: &'static str, properties: Value, required: &[&str]| {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let Value::Object(schema) = schema else { unreachable!("an object was just written") };
        Tool::new(name, what, schema)
    };
    vec![
        tool("whoami", "The name of the replica that runs this session.", json!({}), &[]),
        tool("echo", "Answers with the text.", json!({"text": text("what to answer")}), &["text"]),
        tool(
            "count",
            "Sends n progress notifications, then answers n.",
            json!({"n": int("how many", Value::Null), "interval_ms": int("time between two", json!(0))}),
            &["n"],
        ),
        tool(
            "tally",
            "Adds to a counter of this process at once, notifies, holds, and answers the count after the addition.",
            json!({
                "key": text("which counter"),
                "add": int("how much; 0 only reads", json!(1)),
                "hold_ms": int("time until the answer", json!(0)),
            }),
            &["key"],
        ),
        tool(
            "work",
            "Adds 1 to a counter of this process n times, notifies each time, and answers the counter.",
            json!({
                "key": text("which counter; tally reads it"),
                "n": int("how often", Value::Null),
                "interval_ms": int("time between two", json!(0)),
            }),
            &["key", "n"],
        ),
        tool(
            "allocate",
            "Allocates, touches and keeps memory, and answers how many MiB are held.",
            json!({"mib": int("how many MiB", Value::Null)}),
            &["mib"],
        ),
        tool(
            "sleep",
            "Answers after a time.",
            json!({"ms": int("how many milliseconds", Value::Null)}),
            &["ms"],
        ),
        tool(
            "ask",
            "Pings the client, and answers when it has answered.",
            json!({"limit_ms": int("how many milliseconds it may take", json!(4000))}),
            &[],
        ),
    ]
}
