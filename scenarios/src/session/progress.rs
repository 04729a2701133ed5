//! Progress notifications of calls that run at the same time.

pub mod checks;

use futures_util::future::{FutureExt, join_all};
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::EVERY_TRANSPORT;

/// The name of calls that ask for progress.
const COUNTED: &str = "counted";

/// Progress grows, and tells of calls that run.
pub const PROGRESS: Scenario = Scenario {
    outline: Outline {
        id: "session/progress",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Tool(Tool::Count)],
    },
    title: "progress of calls that run at the same time grows, and carries their own tokens",
    why: "A bar that jumps back, or that belongs to another call, is worse than none.",
    spec: &[
        "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements",
    ],
    remedy: "hub: report progress with the token of the request, never less than before, and not after the answer",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::PROGRESS_GROWS, &checks::PROGRESS_TOKENS_KNOWN],
    drive: |stage| count(stage).boxed(),
};

async fn count(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let calls = [4, 3].map(|n| {
        let call = stage.tool_call(Tool::Count, &json!({ "n": n, "interval_ms": 20 }));
        session.send(&service, session.raw_asking("tools/call", call, Progress::Asked).named(COUNTED))
    });
    join_all(calls).await;
    session.end(&service).await;
    Ok(())
}
