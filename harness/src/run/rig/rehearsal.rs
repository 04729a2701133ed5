//! Tools of a hub that is not ours, tried once each before a scenario relies on them: what a tool does cannot be read off its name
//! and its arguments.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use super::calls::{Call, Heard, LONGEST};
use super::look::Looking;
use super::tools::Tools;
use crate::plan::{Tool, Transport};
use crate::transcript::Echo;
use crate::transcript::measured::TRIED;
use crate::wire::{Client, Outcome, Progress, Target};

/// How often an answer is waited for: behind a URL a session may be lost between replicas.
const TRIES: usize = 5;

/// How many calls a replica has from the sessions of one scenario at once.
const AT_ONCE: usize = 10;

/// A text that no tool says by itself.
const SENT: &str = "hubcheck 4711 echo";

/// Finds out what `echo` puts around a text, and whether `whoami` names this replica, where there is one that is known. Without an
/// answer a tool counts as one that does what its name says: then a scenario finds out why it does not answer.
pub(super) async fn rehearse(
    tools: &mut Tools,
    client: &Client,
    transport: Transport,
    target: &Target,
    replica: Option<String>,
) {
    if let Some(said) = said(tools, Tool::Echo, client, transport, target).await {
        tools.heard_echo(SENT, &said);
    }
    let Some(replica) = replica else { return };
    if let Some(said) = said(tools, Tool::Whoami, client, transport, target).await {
        tools.heard_whoami(&replica, &said);
    }
}

/// Sends as many calls at once as scenarios do: how long the slowest takes is what limits follow from, since a hub that serves one after
/// another is legal.
pub(super) async fn at_once(tools: &Tools, client: &Client, transport: Transport, target: &Target) {
    if !tools.repeats() {
        return;
    }
    for _ in 0..TRIES {
        let Ok(session) = client.open(transport, target).await else { continue };
        let call = tools.call(Tool::Echo, &json!({ "text": SENT }));
        let calls = (0..AT_ONCE).map(|_| session.request(target, "tools/call", call.clone()));
        let answered = join_all(calls).await;
        session.end(target).await;
        if answered.iter().all(|outcome| matches!(outcome, Outcome::Result(_) | Outcome::Error { .. })) {
            return;
        }
    }
}

/// Finds out whether the error for a tool that the hub does not have repeats its name: then texts come back without any tool.
pub(super) async fn ask_for_none(tools: &mut Tools, client: &Client, transport: Transport, target: &Target) {
    if tools.name(Tool::Echo).is_some() {
        return;
    }
    let name = Echo::unknown_tool(SENT);
    let call = json!({ "name": name, "arguments": {} });
    for _ in 0..TRIES {
        let Ok(session) = client.open(transport, target).await else { continue };
        let outcome = session.request(target, "tools/call", call.clone()).await;
        session.end(target).await;
        match outcome {
            Outcome::Error { message, .. } => return tools.heard_unknown(&name, &message),
            Outcome::Result(result) => {
                let said = result["content"][0]["text"].as_str().unwrap_or_default();
                return tools.heard_unknown(&name, said);
            }
            _ => {}
        }
    }
}

/// Sends calls of the hub's own tools once each: what came is what scenarios may use them for.
pub(super) async fn try_calls(
    tools: &mut Tools,
    calls: Vec<Call>,
    client: &Client,
    transport: Transport,
    looking: &Looking<'_>,
    target: &Target,
) {
    for call in calls {
        let heard = try_call(&call, client, transport, looking, target).await;
        tools.heard_call(&call, heard.unwrap_or_default());
    }
    tools.tell_own();
}

async fn try_call(
    call: &Call,
    client: &Client,
    transport: Transport,
    looking: &Looking<'_>,
    target: &Target,
) -> Option<Heard> {
    for _ in 0..TRIES {
        let Ok(session) = client.open(transport, target).await else { continue };
        let began = Instant::now();
        let raw = session.raw_asking("tools/call", call.params(), Progress::Asked).named(TRIED);
        let outcome = session.send_held(target, raw, LONGEST).await?.outcome().await;
        let took = began.elapsed();
        let notices = looking
            .in_history(|history| history.probed_calls(TRIED).last().map_or(0, |call| call.progress.len()));
        session.end(target).await;
        match outcome {
            Outcome::Result(result) => {
                return Some(Heard { is_good: result["isError"] != true, took, notices });
            }
            // A session that was lost between replicas is worth another try.
            Outcome::Http { .. } => {}
            _ => return None,
        }
    }
    None
}

/// What the tool that plays a part answers; nothing where none does or no answer comes.
async fn said(
    tools: &Tools,
    part: Tool,
    client: &Client,
    transport: Transport,
    target: &Target,
) -> Option<String> {
    tools.name(part)?;
    let arguments = if part == Tool::Echo { json!({ "text": SENT }) } else { json!({}) };
    for _ in 0..TRIES {
        let Ok(session) = client.open(transport, target).await else { continue };
        let outcome = session.request(target, "tools/call", tools.call(part, &arguments)).await;
        session.end(target).await;
        match outcome {
            // The words of an error may repeat what was sent.
            Outcome::Result(result) if result["isError"] != true => {
                return Some(result["content"][0]["text"].as_str().unwrap_or_default().to_owned());
            }
            Outcome::Result(_) | Outcome::Error { .. } => return Some(String::new()),
            _ => {}
        }
    }
    None
}
