//! What comes on the stream of a request.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Progress;

use super::{SPEC_RECEIVING, STATELESS, checks};

/// The name of a call that asks for progress.
pub(super) const ASKED: &str = "progress asked";

/// The name of the same call without a token.
pub(super) const UNASKED: &str = "progress not asked";

/// A stream carries what its request asked for, at once.
pub const STREAMS: Scenario = Scenario {
    outline: Outline {
        id: "stateless/streams",
        affinities: &[],
        transports: STATELESS,
        needs: &[Need::Progress],
    },
    title: "a stream carries what belongs to its request and nothing else, and proxies are told not to hold it back",
    why: "Clients of this revision have no way to answer a request of the server, and did not ask for log lines. nginx \
          collects a stream until its buffer is full unless it is told otherwise.",
    spec: &[SPEC_RECEIVING],
    remedy: "hub: `X-Accel-Buffering: no` on event streams; ask with `InputRequiredResult`, log only when asked",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::BUFFERING_OFF, &checks::NO_SERVER_REQUESTS, &checks::NOTHING_UNASKED],
    drive: |stage| stream(stage).boxed(),
};

async fn stream(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    for (progress, name) in [(Progress::Asked, ASKED), (Progress::No, UNASKED)] {
        let call = stage.telling_call(3, Duration::from_millis(10)).unwrap_or_default();
        stage
            .send_long(session, &service, session.raw_asking("tools/call", call, progress).named(name))
            .await;
    }
    Ok(())
}
