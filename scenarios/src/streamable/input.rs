//! What is no message, and what is several.

use futures_util::future::FutureExt;
use harness::plan::Outline;
use harness::run::{Scenario, Setup, Stage};
use harness::wire::initialize_asking;
use serde_json::{Value, json};

use super::{BOTH, SPEC_SENDING, STREAMABLE, checks};

/// The name of POSTs whose body is no JSON-RPC message.
pub(super) const UNREADABLE: &str = "unreadable";

/// The name of the requests after them.
pub(super) const AFTER: &str = "after it";

/// The name of an `initialize` that asks for the revision with batches.
pub(super) const ASKING: &str = "initialize 2025-03-26";

/// The name of a batch.
pub(super) const BATCH: &str = "batch";

/// The revision that has batches.
pub(super) const BATCHES: &str = "2025-03-26";

/// What is no message is refused, and the session goes on.
pub const BAD_INPUT: Scenario = Scenario {
    outline: Outline { id: "streamable/bad-input", affinities: &[], transports: BOTH, needs: &[] },
    title: "a body that is no JSON-RPC message gets an HTTP error, and the session lives",
    why: "A 2xx tells the client that its message was taken: it waits for an answer that never comes.",
    spec: &[SPEC_SENDING],
    remedy: "hub: answer 400 to what cannot be read, and keep the session",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::UNREADABLE_REFUSED, &checks::SERVES_AFTER_UNREADABLE],
    drive: |stage| unreadable(stage).boxed(),
};

/// Several messages in one POST.
pub const BATCHED: Scenario = Scenario {
    outline: Outline { id: "streamable/batch", affinities: &[], transports: STREAMABLE, needs: &[] },
    title: "a batch of a 2025-03-26 session is answered, each request in it once",
    why: "Only revision 2025-03-26 has batches, and few servers take them; a client that negotiated it may send one.",
    spec: &["https://modelcontextprotocol.io/specification/2025-03-26/basic#batching"],
    remedy: "hub: answer each message of a batch, or do not negotiate 2025-03-26",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::BATCH_ANSWERED],
    drive: |stage| batch(stage).boxed(),
};

async fn unreadable(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let bodies: [&'static [u8]; 4] = [b"{\"jsonrpc\": ", b"", b"\xff\xfe\x00", b"{\"neither\": \"one\"}"];
    for body in bodies {
        let mut request = session.raw(stage.small(), json!({})).named(UNREADABLE);
        request.body = body.into();
        holder.client.exchange(&service, request).await;
        stage.ask(&holder, &service, AFTER, stage.small(), json!({})).await;
    }
    session.end(&service).await;
    Ok(())
}

async fn batch(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.begin("a", &service, |get| get).await else {
        return Ok(());
    };
    let begun = &holder.session;
    let initialize = begun.raw("initialize", initialize_asking(BATCHES)).named(ASKING);
    let answer = holder.client.exchange(&service, initialize).await;
    let session = match answer.header("mcp-session-id") {
        Some(id) => begun.with_id(id.to_owned()),
        None => begun.clone(),
    };
    stage.opened(&holder.client, &session);
    session.notify(&service, "notifications/initialized", Value::Null).await;
    let mut request = session.raw(stage.small(), json!({})).named(BATCH);
    request.body = json!([
        { "jsonrpc": "2.0", "id": 101, "method": "ping" },
        { "jsonrpc": "2.0", "id": 102, "method": stage.small() },
    ])
    .to_string()
    .into();
    holder.client.exchange(&service, request).await;
    session.end(&service).await;
    Ok(())
}
