//! Pings, in a session that is open and in one that is not quite.

use futures_util::future::FutureExt;
use harness::check::{Check, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::{Target, initialize_asking};
use serde_json::{Value, json};

use super::SESSIONS;
use crate::words::{reply_text, without_meta};

/// The name of a ping.
const PING: &str = "ping";

/// The name of the `initialize` of a session that is pinged before its client said `notifications/initialized`.
const INITIALIZE: &str = "initialize";

/// A ping is answered.
pub const PINGS: Scenario = Scenario {
    outline: Outline { id: "session/ping", affinities: &[], transports: SESSIONS, needs: &[] },
    title: "a ping is answered, before `notifications/initialized` too",
    why: "Clients take a ping that is not answered for a dead connection.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping"],
    remedy: "hub: answer `ping` with an empty result",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&PING_ANSWERED],
    drive: |stage| ping(stage).boxed(),
};

async fn ping(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    stage.ask(&holder, &service, PING, "ping", Value::Null).await;
    holder.session.end(&service).await;
    ping_early(stage, &service).await;
    Ok(())
}

/// "The client SHOULD NOT send requests other than pings before the server has responded to the `initialize` request": a ping may come
/// at any time, and so between the answer to it and `notifications/initialized`.
async fn ping_early(stage: &Stage, service: &Target) {
    let Some(holder) = stage.begin("early", service, |get| get).await else { return };
    let begun = &holder.session;
    let asking = |version| begun.raw("initialize", initialize_asking(version)).named(INITIALIZE);
    let session = if stage.transport() == Transport::Streamable {
        let answer = holder.client.exchange(service, asking("2025-11-25")).await;
        if stage.was_refused(&holder.client, &answer) {
            return;
        }
        let named = answer.header("mcp-session-id").map(|id| begun.with_id(id.to_owned()));
        let session = named.unwrap_or_else(|| begun.clone());
        stage.opened(&holder.client, &session);
        session
    } else {
        begun.send(service, asking("2024-11-05")).await;
        begun.clone()
    };
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    session.send(service, session.raw("ping", Value::Null).named(PING).carrying(ping.to_string())).await;
    session.notify(service, "notifications/initialized", Value::Null).await;
    session.end(service).await;
}

// === checks ===

/// "The receiver MUST respond promptly with an empty response":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping#behavior-requirements>.
pub const PING_ANSWERED: Check = Check {
    id: "ping-answered",
    level: Level::Must,
    sentence: "The receiver MUST respond promptly with an empty response",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping#behavior-requirements",
    remedy: "hub: answer `ping` with an empty result, whatever state the session is in",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(PING) {
            judgement.judged();
            match call.result().map(without_meta) {
                Some(result) if result == json!({}) => {}
                Some(result) => judgement.breach("an empty result", result.to_string(), call.sent),
                None => judgement.breach("an empty result", reply_text(history, call), call.sent),
            }
        }
        judgement
    },
};
