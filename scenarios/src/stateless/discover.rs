//! What a server says of itself, and what every result says.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{SPEC_EARLIER, SPEC_RESULT, STATELESS, checks};

/// The name of `server/discover`.
pub(super) const DISCOVER: &str = "discover";

/// The name of `tools/list`.
pub(super) const LIST: &str = "list";

/// The name of a tool call.
pub(super) const CALL: &str = "call";

/// The name of a request with the session id of an older client.
pub(super) const STALE: &str = "stale session id";

/// The name of a request that would go on with a stream.
pub(super) const STALE_EVENT: &str = "stale event id";

/// A server tells its versions, and each result what it is, who made it and how long it holds.
pub const DISCOVERED: Scenario = Scenario {
    outline: Outline { id: "stateless/discover", affinities: &[], transports: STATELESS, needs: &[] },
    title: "`server/discover` names the revision; results say their type, their maker and how long they hold",
    why: "There is no handshake: what a client once learned from `initialize` it now reads from every answer.",
    spec: &[
        "https://modelcontextprotocol.io/specification/2026-07-28/server/discover",
        "https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching",
        SPEC_RESULT,
        SPEC_EARLIER,
    ],
    remedy: "hub: an SDK that speaks 2026-07-28; no session ids in this revision",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::DISCOVER_ANSWERED,
        &checks::DISCOVER_NAMES_REVISION,
        &checks::CACHING_HINTED,
        &checks::RESULT_TYPED,
        &checks::SERVER_NAMED,
        &checks::NO_SESSION_MINTED,
        &checks::STALE_ID_IGNORED,
        &checks::STALE_EVENT_ID_IGNORED,
    ],
    drive: |stage| discover(stage).boxed(),
};

async fn discover(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    stage.ask(&holder, &service, DISCOVER, "server/discover", json!({})).await;
    stage.ask(&holder, &service, LIST, "tools/list", json!({})).await;
    if stage.offers(Need::Tool(Tool::Echo)) {
        let call = stage.tool_call(Tool::Echo, &json!({ "text": "who are you" }));
        stage.ask(&holder, &service, CALL, "tools/call", call).await;
    }
    let session = &holder.session;
    let stale = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e";
    let request = session.raw(stage.small(), json!({})).with("mcp-session-id", stale).named(STALE);
    session.send(&service, request).await;
    let request = session.raw(stage.small(), json!({})).with("last-event-id", "1-1").named(STALE_EVENT);
    session.send(&service, request).await;
    Ok(())
}
