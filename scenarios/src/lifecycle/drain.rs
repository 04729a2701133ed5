//! Scenarios in which a node goes, and its pods with it.

use std::time::Instant;

use anyhow::Context;
use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::{Guide, Scenario, Setup, Stage};
use harness::transcript::Symptom;

use super::{checks, meanwhile, one_each, recover};
use crate::routing::{self, EVERY_TRANSPORT};

/// One node after the other is drained, the second too early.
pub const NODE_DRAIN: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/node-drain",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Scheduler, Need::Nodes, Need::Evictions],
    },
    title: "a replica whose node is drained answers its calls, and a budget keeps the next one until it is back",
    why: "Nodes are drained one after the other whenever Kubernetes is upgraded. Without a PodDisruptionBudget the second drain \
          takes the last replica before the first one is back; with one the drain waits, for ever where every replica must \
          have a node of its own and there is none left.",
    spec: &[HUB_CONTRACT],
    remedy: "a PodDisruptionBudget with `minAvailable: 1`; `kubectl uncordon NODE` before the next drain, or a node more than \
             replicas; hub: on SIGTERM finish calls, end streams, exit 0",
    guide: Some(GUIDE_PENDING),
    setup: Setup {
        replicas: Some(2),
        edit: |manifests| {
            manifests.spread_over_nodes();
            manifests.can_be_kept_off();
        },
        ..Setup::ORDINARY
    },
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::EXITS_IN_GRACE,
        &checks::NO_HANG,
        &checks::RECOVERS,
        &routing::checks::ACCEPTED_CALLS_KEPT,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::ORPHANS_TOLD,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| drained(stage).boxed(),
};

/// The operators' issue of a Deployment that does not get all of its pods, here after a drain.
const GUIDE_PENDING: Guide = Guide {
    issue: "Issue #8: Deployment Stuck in \"Progressing\"",
    symptom: "after `kubectl drain` `kubectl get deployment` says 1/2, and `kubectl get pods` Pending; the next drain says \
              `Cannot evict pod as it would violate the pod's disruption budget`",
    cause: "every replica must have a node of its own, and the node that is drained takes none",
};

async fn drained(stage: &Stage) -> anyhow::Result<()> {
    stage.cluster().keep_available(1).await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let owners: Vec<String> = holders.iter().filter_map(|holder| holder.owner.clone()).collect();
    let [goes, stays] = owners.as_slice() else {
        anyhow::bail!("which replica owns a session cannot be told");
    };
    let node = stage.node_of(goes).context("which node a replica is on cannot be told")?;
    let mut load = stage.keep_calling().await?;
    stage.step("a node is drained");
    let since = Instant::now();
    stage.cluster().cordon(&node).await?;
    if let Some(refused) = stage.cluster().evict(goes).await? {
        anyhow::bail!("the first eviction is refused: {}", refused.message);
    }
    stage.wait(Condition::Gone(goes.clone())).await?;
    stage.measured("a replica whose node is drained is gone", since, None);
    load.stop().await;
    let orphans = holders.iter().chain(&load.holders).filter(|holder| holder.owner.as_ref() == Some(goes));
    join_all(orphans.map(|holder| stage.until_stream_ends(holder))).await;
    stage.symptom(Symptom::Unschedulable, &[]).await;
    stage.step("the next node is drained too early");
    stage.evict_in_vain(stays, &["disruption budget"]).await?;
    meanwhile(stage, &holders[1..]).await?;
    stage.step("remedy");
    stage.cluster().uncordon(&node).await?;
    recover(stage, Condition::Ready(stage.replica_count()), &holders[1..]).await
}
