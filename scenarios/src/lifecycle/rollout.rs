//! Scenarios in which the cluster cannot do what a release asks of it.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::Symptom;

use super::{STUCK, checks, meanwhile, one_each, recover};
use crate::routing;

/// More memory than any node has.
const TOO_MUCH: &str = "1Ti";

/// After so long a rollout counts as stuck here; Kubernetes gives it ten minutes.
const DEADLINE: Duration = Duration::from_secs(5);

/// A release asks for more memory than any node has.
pub const STUCK_PROGRESSING: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/stuck-progressing",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Scheduler],
    },
    title: "a release that no node can take is told as stuck, and the old one serves on",
    why: "A request that is too large leaves a pod Pending for ever. With `maxUnavailable: 0` nobody notices but the one who \
          waits for the rollout; without it replicas are missing until somebody looks.",
    spec: &[HUB_CONTRACT],
    remedy: "lower `resources.requests.memory`, or `kubectl rollout undo`; Deployment: `strategy.rollingUpdate.maxUnavailable: \
             0`, so that a release that cannot start takes nothing away",
    guide: Some(STUCK),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| stuck(stage).boxed(),
};

async fn stuck(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out that asks for too much");
    let change = format!(
        "the container asks for {TOO_MUCH} of memory; a rollout counts as stuck after {} s",
        DEADLINE.as_secs()
    );
    stage
        .apply(&change, |manifests| {
            manifests.set_memory_request(TOO_MUCH);
            manifests.set_progress_deadline(DEADLINE);
        })
        .await?;
    stage.symptom(Symptom::Unschedulable, &["memory"]).await;
    stage.symptom(Symptom::Stuck, &[]).await;
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    stage.apply("the Deployment is as it was", |manifests| *manifests = before).await?;
    recover(stage, Condition::RolledOut, &holders).await
}
