//! What a call says arrives as it was sent, and what it says wrongly is told.

use futures_util::future::FutureExt;
use harness::check::{Check, Judgement, Level};
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::{At, Call, History};
use serde_json::{Value, json};

use super::EVERY_TRANSPORT;
use crate::probed::{LONG_LIST, edited};
use crate::words::reply_text;

/// The name of the listing that says what a tool demands.
const LISTED: &str = "listed";

/// The name of a call whose text is of many scripts.
const SCRIPTS: &str = "many scripts";

/// The name of a request whose id is that text.
const AS_ID: &str = "many scripts in an id";

/// The name of a call without the arguments that its tool demands.
const LACKING: &str = "no arguments";

/// Two bytes, three and four in UTF-8, and a line separator that ends no line of an event stream.
const TEXT: &str = "\u{e9} \u{4e16}\u{754c} \u{1f980} \u{2028} end";

/// Arguments arrive, and missing ones are told.
pub const ARGUMENTS: Scenario = Scenario {
    outline: Outline { id: "session/arguments", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "text of any script comes back as it was sent, and a call that lacks an argument is an error",
    why: "A proxy or a server that reads bytes as Latin-1 spoils every name with an accent. A model that is not told what was wrong with its \
          call takes the answer for the truth.",
    spec: &[SPEC_ENCODING, SPEC_INPUTS],
    remedy: "hub: read and write JSON as UTF-8; hold arguments against the tool's `inputSchema`",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&TEXT_UNCHANGED, &ARGUMENTS_VALIDATED],
    drive: |stage| call(stage).boxed(),
};

async fn call(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    if stage.has_long_list() {
        stage.not_brought_about(LONG_LIST);
    } else {
        stage.ask(&holder, &service, LISTED, "tools/list", json!({})).await;
    }
    if stage.offers(Need::Tool(Tool::Echo)) {
        let call = stage.tool_call(Tool::Echo, &json!({ "text": TEXT }));
        stage.ask(&holder, &service, SCRIPTS, "tools/call", call).await;
    } else {
        // What every answer repeats is the id of its request.
        let request = holder.session.raw(stage.small(), json!({})).named(AS_ID);
        holder.session.send(&service, edited(request, |message| message["id"] = json!(TEXT))).await;
        stage.until_answered(AS_ID).await;
    }
    if let Some(call) = stage.lacking_call() {
        stage.ask(&holder, &service, LACKING, "tools/call", call).await;
    }
    holder.session.end(&service).await;
    Ok(())
}

// === checks ===

/// Where the encoding of messages is specified.
const SPEC_ENCODING: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports";

/// Where it is specified what a server makes of arguments.
const SPEC_INPUTS: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/server/tools#security-considerations";

/// "JSON-RPC messages MUST be UTF-8 encoded.": <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports>; event streams
/// and JSON are UTF-8 in any revision.
pub const TEXT_UNCHANGED: Check = Check {
    id: "text-unchanged",
    level: Level::Must,
    sentence: "JSON-RPC messages MUST be UTF-8 encoded (so text of any script comes back as it was sent)",
    source: SPEC_ENCODING,
    remedy: "hub: read and write bodies and streams as UTF-8; ingress: no `charset` of its own",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AS_ID) {
            // One that was not answered at all is the business of `session/string-ids`.
            judgement.idle_because("a request whose id is a text of many scripts was not answered");
            let came = call.answers.first().map(|(at, _)| (*at, None)).or_else(|| another_id(history, call));
            let Some((at, id)) = came else { continue };
            judgement.judged();
            if let Some(id) = id {
                judgement.breach(
                    format!("an answer with the id {TEXT:?}"),
                    format!("one with the id {id:?}"),
                    at,
                );
            }
        }
        for call in history.probed_calls(SCRIPTS) {
            judgement.judged();
            let text = call.text().unwrap_or_default();
            if !text.contains(TEXT) {
                let actual = if text.is_empty() { reply_text(history, call) } else { format!("{text:?}") };
                judgement.breach(format!("{TEXT:?}"), actual, call.sent);
            }
        }
        judgement
    },
};

/// "Servers MUST: Validate all tool inputs":
/// <https://modelcontextprotocol.io/specification/2025-11-25/server/tools#security-considerations>; every revision says it. How it is told
/// is left to the server: as a protocol error, or as a result with `isError`.
pub const ARGUMENTS_VALIDATED: Check = Check {
    id: "arguments-validated",
    level: Level::Must,
    sentence: "Servers MUST: Validate all tool inputs (a call that lacks a required argument is an error, or a result with `isError`)",
    source: SPEC_INPUTS,
    remedy: "hub: hold arguments against the tool's `inputSchema` before it runs",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if history.probed_calls(LACKING).next().is_none() {
            judgement.idle_because("no tool that demands arguments may be called");
        }
        // What a tool demands is known from the list alone.
        let is_listed = history.probed_calls(LISTED).next().is_some();
        for call in history.probed_calls(LACKING).filter(|_| is_listed) {
            judgement.judged();
            let answer = call.answers.first().map(|(_, answer)| answer);
            let is_told = answer.is_some_and(|answer| {
                answer.get("error").is_some()
                    || answer["result"]["isError"] == true
                    || !demands(history, call)
            });
            if !is_told {
                let actual = if answer.is_some() { "a result".to_owned() } else { reply_text(history, call) };
                judgement.breach("an error, or a result with `isError`", actual, call.sent);
            }
        }
        judgement
    },
};

// === helpers ===

/// An answer on a stream of the same client whose id is a text that no request had.
fn another_id(history: &History<'_>, call: &Call<'_>) -> Option<(At, Option<String>)> {
    let own = history.exchanges.values().filter(|exchange| exchange.request.client == call.client);
    own.flat_map(|exchange| exchange.messages()).find_map(|(at, message)| {
        let id = message["id"].as_str().filter(|id| message.get("method").is_none() && *id != TEXT)?;
        Some((at, Some(id.to_owned())))
    })
}

/// Whether the tool that a call names is listed as demanding an argument.
fn demands(history: &History<'_>, call: &Call<'_>) -> bool {
    let tools = history.probed_calls(LISTED).filter_map(|listed| listed.result()?["tools"].as_array());
    let own = tools.flatten().filter(|tool| Some(&tool["name"]) == call.params.get("name"));
    let required = own.filter_map(|tool| tool["inputSchema"]["required"].as_array());
    required.flatten().any(Value::is_string)
}
