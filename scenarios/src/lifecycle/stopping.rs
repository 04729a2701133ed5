//! Scenarios in which replicas stop and start while everybody goes on.

use std::time::Instant;

use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::{Guide, Scenario, Setup, Stage};

use super::{checks, one_each, recover};
use crate::routing::{self, EVERY_TRANSPORT};

/// A replica is told to stop, with streams open and calls in flight.
pub const GRACEFUL_STOP: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/graceful-stop",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Aim, Need::DeletePod],
    },
    title: "a replica that is told to stop answers its calls and exits within its grace period",
    why: "Node upgrades, releases and scale-downs all end pods by SIGTERM. A process that ignores it as PID 1 (Node.js \
          without a handler) is killed after `terminationGracePeriodSeconds`: every release takes 30 s per pod, and \
          then cuts everything.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: handle SIGTERM (in a container the process is PID 1, which has no default action; or run it under \
             `tini`), finish calls, end streams, exit 0; Deployment: `terminationGracePeriodSeconds` longer than the \
             longest call",
    guide: Some(Guide {
        issue: "Issue #5: \"Connection Refused\" from Claude Desktop",
        symptom: "with every release clients say `Connection refused` or lose their stream, and each pod is Terminating for 30 s",
        cause: "the process does not act on SIGTERM: it is killed at the end of its grace period, with all that it holds",
    }),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::EXITS_IN_GRACE,
        &routing::checks::ACCEPTED_CALLS_KEPT,
        &routing::checks::ORPHANS_TOLD,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
        &checks::RECOVERS,
    ],
    drive: |stage| graceful_stop(stage).boxed(),
};

/// Every replica is replaced while new sessions are opened all the time.
pub const ROLLOUT_WITH_PROBES: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/rollout-with-probes",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Aim, Need::Rollout, Need::ReadinessAsks],
    },
    title: "with probes a rollout never leaves a client without a replica that serves",
    why: "With a readiness probe that tells the truth an update costs no client more than its session. A hub that calls \
          itself ready before it can serve makes every release an outage of its start-up time.",
    remedy: "hub: answer the readiness probe with 2xx only when sessions can be opened; Deployment: `readinessProbe`, \
             `strategy.rollingUpdate.maxUnavailable: 0`",
    guide: Some(Guide {
        issue: "Issue #8: Deployment Stuck in \"Progressing\"",
        symptom: "requests fail while `kubectl rollout status deployment/mcp-hub` still counts replicas",
        cause: "a release sends traffic to replicas that cannot serve yet, or takes away those that still do",
    }),
    checks: &[
        &checks::READY_MEANS_SERVING,
        &checks::NO_HANG,
        &routing::checks::ACCEPTED_CALLS_KEPT,
        &routing::checks::EXECUTED_ONCE,
        &routing::checks::NEW_SESSION_WORKS,
        &checks::RECOVERS,
    ],
    drive: |stage| rollout(stage).boxed(),
    ..GRACEFUL_STOP
};

/// A replica comes and one goes while new sessions are opened all the time.
pub const SCALE_WITH_PROBES: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/scale-with-probes",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Aim, Need::Scale, Need::ReadinessAsks],
    },
    title: "with probes scaling up and down never leaves a client without a replica that serves",
    why: "An autoscaler adds and removes replicas many times a day, and nobody watches.",
    drive: |stage| scale(stage).boxed(),
    ..ROLLOUT_WITH_PROBES
};

async fn graceful_stop(stage: &Stage) -> anyhow::Result<()> {
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let Some(owner) = holders[0].owner.clone() else {
        stage.not_brought_about("which replica has a session cannot be told");
        return Ok(());
    };
    let mut load = stage.keep_calling().await?;
    stage.step("a replica is told to stop");
    let since = Instant::now();
    stage.cluster().delete(&owner, None).await?;
    stage.wait(Condition::Gone(owner.clone())).await?;
    stage.measured("a replica that is told to stop is gone", since, None);
    load.stop().await;
    let orphans = holders.iter().chain(&load.holders).filter(|holder| holder.owner.as_ref() == Some(&owner));
    join_all(orphans.map(|holder| stage.until_stream_ends(holder))).await;
    recover(stage, Condition::Ready(stage.replica_count()), &holders[1..]).await
}

async fn rollout(stage: &Stage) -> anyhow::Result<()> {
    let mut load = stage.keep_calling().await?;
    stage.step("every replica is replaced");
    let change = async {
        stage.cluster().roll().await?;
        anyhow::Ok(stage.wait(Condition::RolledOut).await?)
    };
    stage.opening_meanwhile(change).await?;
    load.stop().await;
    recover(stage, Condition::Ready(stage.replica_count()), &[]).await
}

async fn scale(stage: &Stage) -> anyhow::Result<()> {
    let count = stage.replica_count();
    let change = async {
        stage.step("a replica is added");
        stage.cluster().scale(count + 1).await?;
        stage.wait(Condition::Ready(count + 1)).await?;
        // Which replica goes is not ours to choose: each has calls in flight.
        let mut load = stage.keep_calling().await?;
        stage.step("a replica is taken away");
        stage.cluster().scale(count).await?;
        stage.wait(Condition::Ready(count)).await?;
        load.stop().await;
        anyhow::Ok(())
    };
    stage.opening_meanwhile(change).await?;
    recover(stage, Condition::Ready(count), &[]).await
}
