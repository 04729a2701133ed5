//! Closing the response stream is how a call is cancelled.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};

use super::{STATELESS, checks};
use crate::work::Work;

/// The call whose stream is closed.
pub(super) const CLOSED: Work = Work { name: "closed", steps: 4, step: Duration::from_millis(500) };

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
    drop(CLOSED.begin(stage, &holder.session, &service).await);
    CLOSED.read(stage, &holder, &service).await;
    Ok(())
}
