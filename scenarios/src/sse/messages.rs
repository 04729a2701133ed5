//! What a client posts beside its stream: well-formed, malformed, too early, too late, and for no session.

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::plan::{Need, Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::{CLOSING, SLACK};
use serde_json::{Value, json};

use super::{SPEC, SSE, checks};

/// The name of `initialize` as it is posted on the endpoint.
pub(super) const POSTED: &str = "posted";
/// The names of requests that name no session of the client.
pub(super) const STRANGE_IDS: [&str; 4] = ["missing id", "malformed id", "unknown id", "closed id"];
/// The names of bodies that are no message.
pub(super) const GARBAGE: [&str; 3] = ["half a message", "no json-rpc", "invalid utf-8"];
/// The name of the request that follows them.
pub(super) const AFTER_GARBAGE: &str = "after garbage";
/// The name of a ping before `initialize`.
pub(super) const EARLY_PING: &str = "early ping";
/// The name of another request before it.
pub(super) const EARLY_REQUEST: &str = "early request";
/// The name of the `initialize` that follows.
pub(super) const LATE_INITIALIZE: &str = "late initialize";

/// A message is accepted where the endpoint says, and answered on the stream.
pub const POSTING: Scenario = Scenario {
    outline: Outline { id: "sse/posting", affinities: &[], transports: SSE, needs: &[] },
    title: "a message that is posted to the endpoint is accepted, and its answer comes on the stream",
    why: "Clients do not follow redirects of a POST, and look for answers nowhere but on their own stream.",
    spec: &[SPEC, HUB_CONTRACT],
    remedy: "hub: answer POSTs on the endpoint 202 without a redirect, and send answers as `message` events",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::POST_ACCEPTED, &checks::REPLY_ON_STREAM],
    drive: |stage| post(stage).boxed(),
};

/// A message that names no session is refused.
pub const SESSION_IDS: Scenario = Scenario {
    outline: Outline {
        id: "sse/session-ids",
        affinities: &[],
        transports: SSE,
        needs: &[Need::SessionIds(Transport::Sse)],
    },
    title: "a message for no session is refused within 5 s",
    why: "A client that is told 202 waits for an answer that never comes.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: answer 400 to a missing or malformed session id, 404 to an unknown one",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::STRANGE_ID_REFUSED],
    drive: |stage| strange_ids(stage).boxed(),
};

/// A malformed message harms nothing.
pub const MALFORMED: Scenario = Scenario {
    outline: Outline { id: "sse/malformed", affinities: &[], transports: SSE, needs: &[] },
    title: "what is no message is refused, and its session lives on",
    why: "One broken message must not cost a user the session.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: answer 400 to a body that is no JSON-RPC message, and keep the session",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::GARBAGE_REFUSED, &checks::GARBAGE_SURVIVED],
    drive: |stage| malformed(stage).boxed(),
};

/// What comes before `initialize` does no harm.
pub const BEFORE_INITIALIZE: Scenario = Scenario {
    outline: Outline { id: "sse/before-initialize", affinities: &[], transports: SSE, needs: &[] },
    title: "a ping before `initialize` is answered, and another request does no harm",
    why: "Clients ping to learn whether a connection lives, and retry what they sent too early.",
    spec: &["https://modelcontextprotocol.io/specification/2024-11-05/basic/utilities/ping", HUB_CONTRACT],
    remedy: "hub: answer `ping` in every state, and other early requests with an error",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::EARLY_PING_ANSWERED, &checks::EARLY_REQUEST_HARMLESS],
    drive: |stage| too_early(stage).boxed(),
};

async fn post(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.begin("a", &service, |get| get).await else {
        return Ok(());
    };
    let params = harness::wire::initialize_asking("2024-11-05");
    stage.ask(&holder, &service, POSTED, "initialize", params).await;
    let initialized = holder.session.raw_notification("notifications/initialized", Value::Null);
    holder.session.send(&service, initialized.named(POSTED)).await;
    holder.session.end(&service).await;
    Ok(())
}

async fn strange_ids(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let request = || holder.session.raw(stage.small(), json!({}));
    let target = request().target;
    let Some(id) = holder.session.id().map(str::to_owned) else {
        return Ok(());
    };
    let [missing, malformed, unknown, closed] = STRANGE_IDS;
    let mut probes = vec![
        (missing, target.split('?').next().unwrap_or(&target).to_owned()),
        (malformed, target.replace(&id, "no-id-of-any-hub")),
    ];
    if let Some(made_up) = holder.session.made_up_id() {
        stage.made_up(&holder, &made_up);
        probes.push((unknown, target.replace(&id, &made_up)));
    }
    for (probe, target) in probes {
        holder.client.exchange(&service, request().named(probe).to(target)).await;
    }
    let late = request().named(closed);
    holder.session.end(&service).await;
    stage.pause(CLOSING + SLACK).await;
    holder.client.exchange(&service, late).await;
    Ok(())
}

async fn malformed(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let bodies: [&[u8]; 3] =
        [b"{\"jsonrpc\": \"2.0\", \"id\": 99, \"method\":", b"{\"hello\": \"world\"}", b"\"\xff\xfe\""];
    for (probe, body) in GARBAGE.into_iter().zip(bodies) {
        let raw = holder.session.raw_notification("notifications/initialized", Value::Null);
        holder.client.exchange(&service, raw.named(probe).carrying(body)).await;
    }
    stage.ask(&holder, &service, AFTER_GARBAGE, stage.small(), json!({})).await;
    holder.session.end(&service).await;
    Ok(())
}

async fn too_early(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.begin("a", &service, |get| get).await else {
        return Ok(());
    };
    stage.ask(&holder, &service, EARLY_PING, "ping", Value::Null).await;
    // It may be answered, refused or left alone: only what comes after it is judged.
    let list = holder.session.raw(stage.small(), json!({})).named(EARLY_REQUEST);
    holder.client.exchange(&service, list).await;
    let params = harness::wire::initialize_asking("2024-11-05");
    stage.ask(&holder, &service, LATE_INITIALIZE, "initialize", params).await;
    holder.session.end(&service).await;
    Ok(())
}
