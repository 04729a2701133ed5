//! A client that goes away in the middle of a call.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{SPEC_SENDING, STREAMABLE, checks};
use crate::work::Work;

/// The call that is left.
pub(super) const LEFT: Work = Work { name: "left", steps: 6, step: Duration::from_millis(40) };

/// How long a call is held that is left, where no work can be counted.
const SLOW: Duration = Duration::from_secs(3);

/// The name of a request on the same session afterwards.
pub(super) const LATER: &str = "later";

/// A connection that breaks is no cancellation.
pub const DISCONNECT: Scenario = Scenario {
    outline: Outline {
        id: "streamable/disconnect",
        affinities: &[],
        transports: STREAMABLE,
        needs: &[Need::SlowCall],
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
    if stage.offers(Need::Tool(Tool::Work)) && stage.offers(Need::Tool(Tool::Tally)) {
        drop(LEFT.begin(stage, &holder.session, &service).await);
        if let Some(reader) = stage.open("reader", &service).await {
            LEFT.read(stage, &reader, &service).await;
            reader.session.end(&service).await;
        }
    } else if let Some(call) = stage.slow_call(LEFT.name, SLOW) {
        let left = holder.session.raw("tools/call", call).named(LEFT.name);
        drop(holder.session.send_held(&service, left, stage.longest_call().max(SLOW)).await);
    }
    stage.ask(&holder, &service, LATER, stage.small(), json!({})).await;
    holder.session.end(&service).await;
    Ok(())
}
