//! Scenarios in which the Deployment changes under open streams and calls in flight.

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Affinity, Need, Outline, Transport};
use harness::run::stage::{Holder, InFlight};
use harness::run::{Scenario, Setup, Stage};

use super::checks;
use super::{EVERY_AFFINITY, EVERY_TRANSPORT, SPEC_SESSION};

/// The step of a rollout.
pub(super) const REPLACED: &str = "every replica is replaced";

/// How long calls in flight are held: shorter than a replica has to end gracefully.
const HELD: Duration = Duration::from_millis(1500);

/// A replica is added.
pub const SCALE_UP: Scenario = Scenario {
    outline: Outline {
        id: "routing/scale-up",
        affinities: EVERY_AFFINITY,
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Aim, Need::Scale],
    },
    title: "a replica that is added disturbs nobody and serves everybody",
    why: "An autoscaler adds replicas under load. From the moment one is ready the Service sends it requests of \
          sessions that it has never seen.",
    spec: &[HUB_CONTRACT, SPEC_SESSION],
    remedy: super::REMEDY_CLIENT_IP,
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::CALLS_ANSWERED, &checks::STREAMS_UNTOUCHED, &checks::NEW_SESSION_WORKS],
    drive: |stage| scale_up(stage).boxed(),
};

/// A replica is taken away, gracefully.
pub const SCALE_DOWN: Scenario = Scenario {
    outline: Outline {
        id: "routing/scale-down",
        affinities: EVERY_AFFINITY,
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Aim, Need::Scale],
    },
    title: "a replica that is taken away finishes what it accepted",
    why: "Every scale-down and every node upgrade ends replicas by SIGTERM. A hub that exits at once loses the calls \
          that it had accepted, and nobody knows whether they were executed.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: on SIGTERM fail the readiness probe, finish calls in flight, then end streams and exit; Deployment: \
             `terminationGracePeriodSeconds` longer than the longest call",
    checks: &[
        &checks::CALLS_ANSWERED,
        &checks::STREAMS_UNTOUCHED,
        &checks::ACCEPTED_CALLS_KEPT,
        &checks::ORPHANS_TOLD,
        &checks::NEW_SESSION_WORKS,
        &checks::EXECUTED_ONCE,
    ],
    drive: |stage| scale_down(stage).boxed(),
    ..SCALE_UP
};

/// Every replica is replaced, gracefully.
pub const ROLLING_UPDATE: Scenario = Scenario {
    outline: Outline {
        id: "routing/rolling-update",
        affinities: EVERY_AFFINITY,
        transports: EVERY_TRANSPORT,
        needs: &[Need::Aim, Need::Rollout],
    },
    title: "a rollout loses no accepted call, and every client can start anew",
    why: "Every release replaces every replica, so it ends every session. What must not be lost is a call that was \
          accepted; what must work is a new session.",
    checks: &[
        &checks::CALLS_ANSWERED,
        &checks::ACCEPTED_CALLS_KEPT,
        &checks::ORPHANS_TOLD,
        &checks::ROLLOUT_WITHOUT_GAP,
        &checks::NEW_SESSION_WORKS,
        &checks::EXECUTED_ONCE,
    ],
    drive: |stage| roll(stage).boxed(),
    ..SCALE_DOWN
};

async fn scale_up(stage: &Stage) -> anyhow::Result<()> {
    let (holders, calls) = begin(stage).await?;
    let more = stage.replica_count() + 1;
    stage.step("a replica is added");
    stage.cluster().scale(more).await?;
    stage.wait(Condition::Ready(more)).await?;
    finish(calls).await;
    stage.step("recovery");
    for holder in &holders {
        stage.exercise(holder).await?;
    }
    if let Some(newest) = stage.replicas().last()
        && let Some(new) = stage.open("new", &stage.at(newest)?).await
    {
        // The Service may send this client elsewhere: only its own replica is promised to know the session.
        stage.probe(&new, &stage.at(newest)?).await;
    }
    Ok(())
}

async fn scale_down(stage: &Stage) -> anyhow::Result<()> {
    let (mut holders, calls) = begin(stage).await?;
    let fewer = stage.replica_count() - 1;
    // From scaling to the signal takes a cluster its time: calls must be in flight when it comes.
    let mut load = stage.keep_calling().await?;
    stage.step("a replica is taken away");
    stage.cluster().scale(fewer).await?;
    let mut keys = keys(&calls);
    finish(calls).await;
    stage.wait(Condition::Ready(fewer)).await?;
    load.stop().await;
    // Which replica goes is not ours to choose; from here on the clients are known by what became of their owner.
    let departed = stage.departed();
    let orphans = load.holders.iter().filter(|holder| !stays(holder, &departed));
    join_all(orphans.map(|holder| stage.until_stream_ends(holder))).await;
    if holders.first().is_some_and(|holder| stays(holder, &departed)) {
        keys.reverse();
    }
    holders.sort_by_key(|holder| stays(holder, &departed));
    for (idx, holder) in holders.iter().enumerate() {
        let role = if stays(holder, &departed) { format!("stays-{idx}") } else { "gone".to_owned() };
        stage.role(holder, &role);
    }
    recover(stage, &holders, &keys).await
}

async fn roll(stage: &Stage) -> anyhow::Result<()> {
    let (holders, calls) = begin(stage).await?;
    let keys = keys(&calls);
    // New replicas may take long to start: calls must be in flight whenever an old one is told to go.
    let mut load = stage.keep_calling().await?;
    stage.step(REPLACED);
    stage.cluster().roll().await?;
    finish(calls).await;
    stage.wait(Condition::RolledOut).await?;
    load.stop().await;
    join_all(load.holders.iter().map(|holder| stage.until_stream_ends(holder))).await;
    recover(stage, &holders, &keys).await
}

/// A session on each replica, its stream open, a call in flight on each.
async fn begin(stage: &Stage) -> anyhow::Result<(Vec<Holder>, Vec<InFlight>)> {
    let holders = stage.one_per_replica().await?;
    stage.meet_counters().await?;
    let mut calls = Vec::new();
    stage.step("calls in flight");
    for holder in &holders {
        let target = match (stage.affinity(), holder.owner.as_deref()) {
            (Affinity::Off, Some(owner)) => stage.at(owner)?,
            _ if stage.transport() == Transport::Stateless => {
                stage.at(holder.owner.as_deref().unwrap_or_default())?
            }
            _ => stage.service(),
        };
        if stage.transport() == Transport::Streamable {
            holder.session.listen(&target).await;
        }
        calls.extend(stage.hold(holder, &target, HELD).await);
    }
    Ok((holders, calls))
}

/// Whether a holder's owner is not among the replicas that went.
fn stays(holder: &Holder, departed: &[String]) -> bool {
    !holder.owner.as_ref().is_some_and(|owner| departed.contains(owner))
}

fn keys(calls: &[InFlight]) -> Vec<String> {
    calls.iter().map(|call| call.key.clone()).collect()
}

async fn finish(calls: Vec<InFlight>) {
    for call in calls {
        call.pending.outcome().await;
    }
}

/// Every old session is tried, then a new one, then the tallies are read.
async fn recover(stage: &Stage, holders: &[Holder], keys: &[String]) -> anyhow::Result<()> {
    let departed = stage.departed();
    for holder in holders.iter().filter(|holder| !stays(holder, &departed)) {
        stage.until_stream_ends(holder).await;
    }
    stage.step("recovery");
    for holder in holders {
        stage.exercise(holder).await?;
    }
    if let Some(new) = stage.open("new", &stage.service()).await {
        stage.exercise(&new).await?;
    }
    stage.read_tallies(keys, None).await
}
