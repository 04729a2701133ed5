//! Scenarios in which a process does not start as it should.

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::Symptom;

use super::{CRASHES, checks, meanwhile, one_each, recover};
use crate::routing;

/// What the reference hub is told to require, and nobody sets.
const UNSET: &str = "LICENSE_KEY";

/// A release whose configuration is wrong is rolled out.
pub const CRASH_LOOP: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/crash-loop",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::ReferenceHub],
    },
    title: "a release that cannot start says why in its last line, and the old one serves on",
    why: "A pod that is Ready but broken is the worst class: the rollout goes on and replaces every replica that works. A \
          process that lacks what it needs must end, with one clear line, so that the rollout stops by itself.",
    spec: &[HUB_CONTRACT],
    remedy: "`kubectl rollout undo`, or mend the setting that the last line names; hub: check at start what is required, \
             and end when it is missing",
    guide: Some(CRASHES),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::LAST_WORDS,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| crash_loop(stage).boxed(),
};

async fn crash_loop(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out that lacks a setting");
    let change = format!("the container must have {UNSET}, which nothing sets");
    stage.apply(&change, |manifests| manifests.set_env("REQUIRED_SECRETS", UNSET)).await?;
    if !stage.symptom(Symptom::CrashLoop, &[UNSET]).await {
        // Whatever came up instead: a client that reaches it sees what it is worth.
        for (idx, replica) in stage.replicas().iter().enumerate() {
            stage.knock(&format!("instead-{}", idx + 1), &stage.at(replica)?).await;
        }
    }
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    stage.apply("the Deployment is as it was", |manifests| *manifests = before).await?;
    recover(stage, Condition::RolledOut, &holders).await
}
