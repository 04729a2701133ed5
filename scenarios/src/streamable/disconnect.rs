//! A client that goes away in the middle of a call.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::{SPEC_SENDING, STREAMABLE, checks};

/// The name of the call that is left.
pub(super) const LEFT: &str = "left";

/// The name of a request on the same session afterwards.
pub(super) const LATER: &str = "later";

/// The name of the reading of what the call did.
pub(super) const READ: &str = "read";

/// How many steps the call has, and the time between two.
pub(super) const STEPS: u32 = 6;
const STEP: Duration = Duration::from_millis(40);

/// What a busy machine may add to the time of the call.
const SLACK: Duration = Duration::from_secs(1);

/// A connection that breaks is no cancellation.
pub const DISCONNECT: Scenario = Scenario {
    outline: Outline {
        id: "streamable/disconnect",
        affinities: &[],
        transports: STREAMABLE,
        needs: &[Need::Tool(Tool::Work), Need::Tool(Tool::Tally)],
    },
    title: "a call whose client lost the connection goes on, and so does the session",
    why: "Networks break. Until 2025-11-25 a client cancels with a notification; one whose connection broke asks for the \
          result again, and the work must not be half done.",
    spec: &[SPEC_SENDING],
    remedy: "hub: do not tie a call, or its session, to the connection that carried the request",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::DISCONNECT_IS_NO_CANCEL, &checks::SESSION_SURVIVES_DISCONNECT],
    drive: |stage| leave(stage).boxed(),
};

async fn leave(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let (session, key) = (&holder.session, "left");
    let arguments = json!({ "key": key, "n": STEPS, "interval_ms": STEP.as_millis() });
    let call = session.raw_asking("tools/call", stage.tool_call(Tool::Work, &arguments), Progress::Asked);
    let whole = STEP * STEPS;
    if let Some(mut pending) = session.send_held(&service, call.named(LEFT), whole).await {
        pending.progressed(stage.timeouts().answer).await;
    }
    // As long as the call would have taken: nobody is told how it goes on.
    stage.pause(whole + SLACK).await;
    stage.ask(&holder, &service, LATER, "tools/list", json!({})).await;
    if let Some(reader) = stage.open("reader", &service).await {
        let read = stage.tool_call(Tool::Tally, &json!({ "key": key, "add": 0 }));
        stage.ask(&reader, &service, READ, "tools/call", read).await;
        reader.session.end(&service).await;
    }
    session.end(&service).await;
    Ok(())
}
