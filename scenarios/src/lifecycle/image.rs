//! Scenarios in which the nodes do not have what a release runs.

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::cluster::kind::LATE;
use harness::plan::{Need, Outline};
use harness::run::{Guide, Scenario, Setup, Stage};
use harness::transcript::Symptom;

use super::{checks, meanwhile, one_each, recover};
use crate::routing;

/// The operators' issue of an image that is not there.
const GUIDE_NOT_STARTING: Guide = Guide {
    issue: "Issue #2: Pods Not Starting (ImagePullBackOff)",
    symptom: "`kubectl get pods` says ImagePullBackOff, or ErrImageNeverPull with `imagePullPolicy: Never`",
    cause: "the image was built on this machine and not loaded into the nodes of the KIND cluster",
};

/// A release is rolled out before its image is loaded.
pub const IMAGE_MISSING: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/image-missing",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Images],
    },
    title: "a release whose image is on no node waits and names it, and the old one serves on",
    why: "An image that was built and not loaded, or a tag that was mistyped, stops a release before it began. It must take \
          no replica that works, and go on by itself as soon as the image is there.",
    spec: &[HUB_CONTRACT],
    remedy: "`kind load docker-image IMAGE --name CLUSTER` (or push it, and name it as the registry does); pods that wait start by \
             themselves; Deployment: `strategy.rollingUpdate.maxUnavailable: 0`, so that a release that cannot start takes \
             nothing away",
    guide: Some(GUIDE_NOT_STARTING),
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
    drive: |stage| image_missing(stage).boxed(),
};

async fn image_missing(stage: &Stage) -> anyhow::Result<()> {
    let late = stage.cluster().late_image().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out whose image is on no node");
    stage
        .apply("the container's image is one that no node has, and that is never pulled", |manifests| {
            manifests.set_image(&late);
            manifests.never_pull();
        })
        .await?;
    // Whatever its tag: that is of this cell.
    stage.symptom(Symptom::ImageMissing, &[LATE]).await;
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    stage.cluster().load(&late).await?;
    recover(stage, Condition::RolledOut, &[]).await
}
