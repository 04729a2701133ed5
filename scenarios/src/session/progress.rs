//! Progress notifications of calls that run at the same time.

pub mod checks;

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use harness::plan::{Need, Outline};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::EVERY_TRANSPORT;
use crate::probed::edited;

/// The name of calls that ask for progress.
const COUNTED: &str = "counted";

/// The time between two notifications of them.
const BETWEEN_COUNTED: Duration = Duration::from_millis(20);

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
        needs: &[Need::Progress],
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
    let asking = |n: u64, between: Duration| {
        let call = stage.telling_call(n, between).unwrap_or_default();
        session.raw_asking("tools/call", call, Progress::Asked)
    };
    let calls = [4, 3].map(|n| stage.send_long(session, &service, asking(n, BETWEEN_COUNTED).named(COUNTED)));
    join_all(calls).await;
    let named = asking(2, BETWEEN_COUNTED).named(COUNTED);
    let named = edited(named, |message| message["params"]["_meta"]["progressToken"] = json!(TOKEN));
    stage.send_long(session, &service, named).await;
    stage.send_long(session, &service, asking(TOLD, BETWEEN_TOLD).named(SLOW)).await;
    session.end(&service).await;
    Ok(())
}
