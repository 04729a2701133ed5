//! The stream that a GET opens.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline};
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{SPEC_LISTENING, STREAMABLE, checks};

/// The name of a GET while the session's stream is open: recorded, and not judged.
const SECOND: &str = "second stream";

/// A GET opens a stream or is 405, and answers come where they were asked for.
pub const GET_STREAM: Scenario = Scenario {
    outline: Outline {
        id: "streamable/get-stream",
        affinities: &[],
        transports: STREAMABLE,
        needs: &[Need::GetAnswered],
    },
    title: "a GET opens an event stream or is 405; answers stay on the stream of their request",
    why: "Clients open this stream after `initialize` and take anything but 405 for a broken server.",
    spec: &[SPEC_LISTENING],
    remedy: "hub: answer the GET of a live session with `text/event-stream`, or with 405 where it has nothing to send",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::GET_IS_STREAM_OR_405, &checks::NO_ANSWERS_ON_GET],
    drive: |stage| listen(stage).boxed(),
};

async fn listen(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    session.listen(&service).await;
    holder.client.exchange(&service, session.raw_get().named(SECOND)).await;
    session.request(&service, stage.small(), json!({})).await;
    session.end(&service).await;
    Ok(())
}
