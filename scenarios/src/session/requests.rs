//! Requests that any server of any era must cope with.

use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::plan::{Outline, Transport};
use harness::run::stage::client_name;
use harness::run::{Scenario, Setup, Stage};
use harness::wire::{Raw, initialize_asking};
use serde_json::{Value, json};

use super::{EVERY_TRANSPORT, SESSIONS, checks};

/// The name of a request of a method that there is not.
pub(super) const UNKNOWN_METHOD: &str = "unknown method";
/// The name of a call of a tool that there is not.
pub(super) const UNKNOWN_TOOL: &str = "unknown tool";
/// The name of requests that are in flight at once.
pub(super) const AT_ONCE: &str = "at once";
/// The name of an `initialize` that asks for a version that never was.
pub(super) const IMPOSSIBLE: &str = "impossible version";
/// The name of a request of 64 kB.
pub(super) const SMALL: &str = "64 kB";
/// The names of larger ones.
pub(super) const BIG: [&str; 2] = ["1 MB", "5 MB"];
/// The name of the request after them.
pub(super) const AFTER_BIG: &str = "after big bodies";
/// The name of an `initialize` that asks for a version that a server may speak.
pub(super) const KNOWN_VERSION: &str = "known version";
/// The name of a request whose id is a string.
pub(super) const STRING_ID: &str = "string id";
/// The version that never was.
pub(super) const NEVER: &str = "1999-01-01";

/// How many requests of [`CONCURRENT`] are in flight at once.
const MANY: usize = 50;

/// What does not exist is an error.
pub const UNKNOWN_NAMES: Scenario = Scenario {
    outline: Outline {
        id: "session/unknown-names",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[],
    },
    title: "a method or tool that does not exist is an error with the request's id",
    why: "A client that gets no error, or one without its id, waits for ever.",
    spec: &["https://www.jsonrpc.org/specification#error_object"],
    remedy: "hub: answer an unknown method with -32601, and an unknown tool with -32602 or an `isError` result",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::UNKNOWN_METHOD_IS_ERROR,
        &checks::UNKNOWN_METHOD_CODE,
        &checks::UNKNOWN_TOOL_IS_ERROR,
        &checks::ERROR_CODES_DEFINED,
    ],
    drive: |stage| unknown_names(stage).boxed(),
};

/// An id may be a string.
pub const STRING_IDS: Scenario = Scenario {
    outline: Outline { id: "session/string-ids", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "a request whose id is a string is answered with that string",
    why: "Some clients count, others make ids of letters: one that gets its id back as another value waits for ever.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic#requests"],
    remedy: "hub: keep request ids as they came, whatever type they have",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::STRING_ID_ANSWERED],
    drive: |stage| string_ids(stage).boxed(),
};

/// A version that the server does not speak is not echoed; one that it speaks is.
pub const VERSIONS: Scenario = Scenario {
    outline: Outline { id: "session/versions", affinities: &[], transports: SESSIONS, needs: &[] },
    title: "a version that never was is not agreed to, and one that the server speaks is",
    why: "A client that is told its own impossible version believes that both speak it; one that is told another version than the one \
          both speak may hang up.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#version-negotiation"],
    remedy: "hub: answer `initialize` with the version that was asked for where it speaks that, else with the latest that it speaks",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::VERSION_NEGOTIATED, &checks::KNOWN_VERSION_KEPT, &checks::LATEST_VERSION_OFFERED],
    drive: |stage| versions(stage).boxed(),
};

/// Many requests at once are all answered.
pub const CONCURRENT: Scenario = Scenario {
    outline: Outline { id: "session/concurrent", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "50 requests that are in flight at once are all answered, each once",
    why: "Agents call tools in parallel; an answer that is lost in the crowd hangs one of them.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic#responses"],
    remedy: "hub: keep requests of one session apart by their ids, and bound their number above 50",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::AT_ONCE_ANSWERED],
    drive: |stage| concurrent(stage).boxed(),
};

/// Bodies of any size are served or refused.
pub const SIZES: Scenario = Scenario {
    outline: Outline { id: "session/sizes", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "a body of 64 kB is served, and a larger one is served or refused in clear words",
    why: "Agents send whole files. A hub that drops a large message without a word makes the client hang.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: raise the body limit (`express.json` has 100 kB), and answer 413 above it",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::SMALL_BODY_SERVED, &checks::BIG_BODY_TOLD, &checks::BIG_BODY_SURVIVED],
    drive: |stage| sizes(stage).boxed(),
};

async fn unknown_names(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    stage.ask(&holder, &service, UNKNOWN_METHOD, "hubcheck/no-such-method", json!({})).await;
    let call = json!({ "name": "hubcheck-no-such-tool", "arguments": {} });
    stage.ask(&holder, &service, UNKNOWN_TOOL, "tools/call", call).await;
    holder.session.end(&service).await;
    Ok(())
}

/// The versions that had sessions.
const VERSIONED: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

async fn versions(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let asked = VERSIONED.map(|version| (version, KNOWN_VERSION));
    for (idx, (version, probe)) in [(NEVER, IMPOSSIBLE)].into_iter().chain(asked).enumerate() {
        let Some(holder) = stage.begin(&client_name(idx), &service, |get| get).await else { continue };
        stage.ask(&holder, &service, probe, "initialize", initialize_asking(version)).await;
        if stage.transport() == Transport::Sse {
            holder.session.end(&service).await;
        }
    }
    Ok(())
}

async fn string_ids(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let request = session.raw(stage.small(), json!({})).named(STRING_ID);
    let Ok(mut message) = serde_json::from_slice::<Value>(&request.body) else {
        return Ok(());
    };
    message["id"] = json!("hubcheck-id");
    session.send(&service, request.carrying(message.to_string())).await;
    stage.until_answered(STRING_ID).await;
    session.end(&service).await;
    Ok(())
}

async fn concurrent(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    // The smallest request of the era.
    let method = if stage.transport() == Transport::Stateless { stage.small() } else { "ping" };
    join_all((0..MANY).map(|_| stage.ask(&holder, &service, AT_ONCE, method, json!({})))).await;
    holder.session.end(&service).await;
    Ok(())
}

async fn sizes(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let padded = |probe: &str, length: usize| -> Raw {
        // `_meta` is there for what the other side may not know.
        let meta = json!({ "hubcheck/padding": "x".repeat(length) });
        holder.session.raw(stage.small(), json!({ "_meta": meta })).named(probe)
    };
    holder.session.send(&service, padded(SMALL, 64 * 1000)).await;
    for (probe, length) in BIG.into_iter().zip([1_000_000, 5_000_000]) {
        holder.session.send(&service, padded(probe, length)).await;
    }
    stage.ask(&holder, &service, AFTER_BIG, stage.small(), json!({})).await;
    holder.session.end(&service).await;
    Ok(())
}
