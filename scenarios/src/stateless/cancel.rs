//! Closing the response stream is how a call is cancelled.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::{STATELESS, checks};

/// The name of the call whose stream is closed.
pub(super) const CLOSED: &str = "closed";

/// The name of the reading of what the call did.
pub(super) const READ: &str = "read";

/// How many steps the call has, and the time between two.
pub(super) const STEPS: u32 = 2;
const STEP: Duration = Duration::from_secs(1);

/// What a busy machine may add to the time of the call.
const SLACK: Duration = Duration::from_millis(250);

/// A client that closes the stream of a call stops it.
pub const CLOSE_CANCELS: Scenario = Scenario {
    outline: Outline {
        id: "stateless/close-cancels",
        affinities: &[],
        transports: STATELESS,
        needs: &[Need::Tool(Tool::Work), Need::Tool(Tool::Tally)],
    },
    title: "closing the response stream of a call stops its work",
    why: "It is the only way to cancel in this revision. A hub that works on for clients that are gone is busy with \
          nothing: each retry adds another call.",
    spec: &[
        "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#cancellation",
    ],
    remedy: "hub: pass the cancellation to the tool when the connection of its request closes; tools must be able to stop",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::CLOSE_STOPS_WORK],
    drive: |stage| close(stage).boxed(),
};

async fn close(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let arguments = json!({ "key": "closed", "n": STEPS, "interval_ms": STEP.as_millis() });
    let call = session.raw_asking("tools/call", stage.tool_call(Tool::Work, &arguments), Progress::Asked);
    let whole = STEP * (STEPS - 1);
    if let Some(mut pending) = session.send_held(&service, call.named(CLOSED), whole).await {
        pending.progressed(stage.timeouts().answer).await;
    }
    // As long as the whole call would have taken: who works on is done by then.
    stage.pause(whole + SLACK).await;
    let read = stage.tool_call(Tool::Tally, &json!({ "key": "closed", "add": 0 }));
    stage.ask(&holder, &service, READ, "tools/call", read).await;
    Ok(())
}
