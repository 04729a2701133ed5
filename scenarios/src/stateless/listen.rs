//! `subscriptions/listen`: how it begins, and how it ends when the server stops.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::cluster::Condition;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;
use serde_json::json;

use super::{STATELESS, checks};
use crate::probed::edited;

/// The name of the subscription.
pub(super) const LISTEN: &str = "listen";

/// The name of a call while it is there.
const BESIDE: &str = "beside it";

/// The key of `_meta` by which a request asks for log lines.
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// The longest time that a subscription is watched: until its replica is gone.
const WATCHED: Duration = Duration::from_secs(20);

/// A subscription is acknowledged first, and answered when the server ends it.
pub const LISTENING: Scenario = Scenario {
    outline: Outline {
        id: "stateless/listen",
        affinities: &[],
        transports: STATELESS,
        needs: &[Need::DeletePod],
    },
    title: "a subscription is acknowledged before anything else, and ends with its result when its replica stops",
    why: "A client that gets no result takes the end for a broken connection, and does not know what it missed.",
    spec: &["https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions"],
    remedy: "hub: on SIGTERM answer each open `subscriptions/listen` with its result, then close the stream",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::LISTEN_ACKNOWLEDGED,
        &checks::LISTEN_KEEPS_TO_FILTER,
        &checks::LISTEN_ENDS_WELL,
        &checks::BUFFERING_OFF,
    ],
    drive: |stage| listen(stage).boxed(),
};

async fn listen(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let request = session.raw("subscriptions/listen", filter).named(LISTEN);
    let Some(subscription) = session.send_held(&service, request, WATCHED).await else {
        return Ok(());
    };
    stage.until_spoken(LISTEN).await;
    if stage.offers(Need::Tool(Tool::Count)) {
        // What a call says belongs to its own stream.
        let call = stage.tool_call(Tool::Count, &json!({ "n": 2, "interval_ms": 10 }));
        let mut call = session.raw_asking("tools/call", call, Progress::Asked).named(BESIDE);
        call = edited(call, |message| message["params"]["_meta"][LOG_LEVEL] = json!("debug"));
        session.send(&service, call).await;
    }
    stage.step("the replica stops");
    for replica in stage.replicas() {
        stage.cluster().delete(&replica, None).await?;
    }
    subscription.outcome().await;
    stage.wait(Condition::Ready(stage.replica_count())).await
}
