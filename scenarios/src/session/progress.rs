//! Progress notifications of calls that run at the same time.

pub mod checks;

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::EVERY_TRANSPORT;
use crate::probed::edited;

/// The name of calls that ask for progress.
const COUNTED: &str = "counted";

/// How many notifications those calls ask for together.
const ASKED_FOR: u64 = 9;

/// A token that is no number.
const TOKEN: &str = "hubcheck-token";

/// The name of a call that takes its time.
const SLOW: &str = "slow";

/// How often it tells of itself, and the time between two.
const TOLD: u64 = 3;
const BETWEEN_TOLD: Duration = Duration::from_millis(800);

/// So long before its answer it is heard of. It tells twice [`BETWEEN_TOLD`] before: what the way keeps back by chance is less than
/// the rest, and what something on the way collects comes with the answer.
const AHEAD: Duration = Duration::from_millis(300);

/// Progress grows, and tells of calls that run.
pub const PROGRESS: Scenario = Scenario {
    outline: Outline {
        id: "session/progress",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Tool(Tool::Count)],
    },
    title: "progress of calls that run at the same time grows, carries their own tokens, and comes while they run",
    why: "A bar that jumps back, or that belongs to another call, is worse than none.",
    spec: &[
        "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements",
    ],
    remedy: "hub: report progress with the token of the request, never less than before, and not after the answer",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::PROGRESS_GROWS,
        &checks::PROGRESS_TOKENS_KNOWN,
        &checks::PROGRESS_ON_ITS_STREAM,
        &checks::PROGRESS_UNBUFFERED,
    ],
    drive: |stage| count(stage).boxed(),
};

async fn count(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    // What belongs to a call has its own stream, whatever else is open.
    session.listen(&service).await;
    let calls = [4, 3].map(|n| {
        let call = stage.tool_call(Tool::Count, &json!({ "n": n, "interval_ms": 20 }));
        session.send(&service, session.raw_asking("tools/call", call, Progress::Asked).named(COUNTED))
    });
    join_all(calls).await;
    let named = stage.tool_call(Tool::Count, &json!({ "n": 2, "interval_ms": 20 }));
    let named = session.raw_asking("tools/call", named, Progress::Asked).named(COUNTED);
    session
        .send(&service, edited(named, |message| message["params"]["_meta"]["progressToken"] = json!(TOKEN)))
        .await;
    let params = json!({ "n": TOLD, "interval_ms": BETWEEN_TOLD.as_millis() });
    let call = session.raw_asking("tools/call", stage.tool_call(Tool::Count, &params), Progress::Asked);
    session.send(&service, call.named(SLOW)).await;
    session.end(&service).await;
    Ok(())
}
