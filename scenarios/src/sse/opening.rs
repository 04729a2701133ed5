//! What comes when a client opens the stream.

use futures_util::future::FutureExt;
use harness::plan::Outline;
use harness::run::{Scenario, Setup, Stage};

use super::{SPEC, SSE, checks};

/// The name of the GET that opens the stream.
pub(super) const OPEN: &str = "open";

/// The stream begins with the endpoint.
pub const OPENING: Scenario = Scenario {
    outline: Outline { id: "sse/opening", affinities: &[], transports: SSE, needs: &[] },
    title: "a stream begins with the `endpoint` event, which leads back to the same server",
    why: "A client can send nothing until it has read the endpoint, and refuses one that leads elsewhere.",
    spec: &[SPEC],
    remedy: "hub: answer the GET with `text/event-stream`, and send `event: endpoint` with a root-relative URI first",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::STREAM_IS_SSE, &checks::ENDPOINT_FIRST, &checks::ENDPOINT_SAME_ORIGIN],
    drive: |stage| open(stage).boxed(),
};

async fn open(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    if let Some(holder) = stage.begin("a", &service, |get| get.named(OPEN)).await {
        holder.session.end(&service).await;
    }
    Ok(())
}
