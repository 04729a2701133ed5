//! Scenarios in which a replica runs and does not serve: it is not ready, it hangs, or it comes and goes.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::{FutureExt, join};
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::stage::{Holder, clients_to_spread};
use harness::run::{Guide, Scenario, Setup, Stage};
use harness::transcript::Symptom;
use harness::transcript::normal::SPARE;

use super::{checks, meanwhile, one_each, recover};
use crate::routing::{self, SESSIONS};

/// The operators' issue of a pod that runs and gets no traffic.
const GUIDE_NOT_READY: Guide = Guide {
    issue: "Issue #3: Pods Running But Not Ready",
    symptom: "`kubectl get pods` shows `0/1 Running`, and an event says `Readiness probe failed`",
    cause: "the readiness probe asks something that the hub does not answer, so the Service sends it nothing",
};

/// How often a client comes while a replica hangs.
const KNOCKS: Duration = Duration::from_millis(250);

/// A path that no hub answers.
const NO_SUCH_PATH: &str = "/no-such-path";

/// A new replica never becomes ready: the probe asks a path that the hub does not have.
pub const NOT_READY: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/not-ready",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::ReadinessAsks],
    },
    title: "a replica that runs and is not ready gets no traffic, and the others serve",
    why: "A readiness probe for a path that is not there stops a release half way: pods run, and nobody is sent to \
          them. The old replicas have to carry all of it.",
    spec: &[HUB_CONTRACT],
    remedy: "Deployment: let `readinessProbe.httpGet.path` and `port` name what the hub answers (`/readyz` of the \
             reference hub), or give the hub such a path",
    guide: Some(GUIDE_NOT_READY),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| not_ready(stage).boxed(),
};

/// A replica hangs for a while and goes on.
pub const READINESS_FLAPS: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/readiness-flaps",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::SignalProcess, Need::ReadinessAsks],
    },
    title: "the streams of a replica that is not ready for a while live on, and new sessions go elsewhere",
    why: "A replica that swaps, is throttled or is being debugged fails its probe and comes back. Leaving the endpoints \
          ends no connection: its sessions are all still there.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: end no session because time passed without a sign of life from itself; Deployment: let readiness \
             give up sooner than liveness (`failureThreshold`), so that a pause costs no restart",
    guide: Some(GUIDE_NOT_READY),
    setup: Setup { edit: |manifests| manifests.remove_liveness_probe(), ..Setup::ORDINARY },
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::SESSIONS_OUTLIVE_A_PAUSE,
        &checks::RECOVERS,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| flaps(stage).boxed(),
};

/// A replica hangs for good, until somebody deletes its pod.
pub const WEDGED_REPLICA: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/wedged-replica",
        affinities: &[],
        transports: SESSIONS,
        needs: &[
            Need::Replicas(2),
            Need::Aim,
            Need::Edit,
            Need::SignalProcess,
            Need::ReadinessAsks,
            Need::DeletePod,
        ],
    },
    title: "a replica that hangs leaves the Service, and those that reach another one notice nothing",
    why: "A process that hangs still accepts connections. Until its probe has given up, every client that the Service \
          sends there waits; a hub that asks its peers spreads the fault to all of them.",
    remedy: "Deployment: `readinessProbe` with `periodSeconds: 1`, `timeoutSeconds: 1`, `failureThreshold: 2` bounds \
             how long clients are sent there; `kubectl delete pod` or a `livenessProbe` replaces it",
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::HANG_CONTAINED,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| wedged(stage).boxed(),
    ..READINESS_FLAPS
};

/// A replica hangs, and the liveness probe has it restarted.
pub const LIVENESS_RESTART: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/liveness-restart",
        affinities: &[],
        transports: SESSIONS,
        needs: &[
            Need::Replicas(2),
            Need::Aim,
            Need::Edit,
            Need::SignalProcess,
            Need::ReadinessAsks,
            Need::LivenessProbe,
        ],
    },
    title: "a replica that hangs is restarted by its liveness probe, and its clients can start anew",
    why: "A hub that hangs does not mend itself. The restart ends its sessions: their clients must be told, or they wait \
          for a process that is gone.",
    remedy: "Deployment: a `livenessProbe` on a path that needs nothing but the process (`/healthz`), slower than the \
             readiness probe; hub: answer 404 for sessions of before the restart",
    setup: Setup {
        edit: |manifests| {
            manifests.set_liveness_failures(15);
            // A process that hangs makes no use of its grace period, and everything would wait for the end of that.
            manifests.set_grace_period(Duration::from_secs(3));
        },
        ..Setup::ORDINARY
    },
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| restarted(stage).boxed(),
    ..READINESS_FLAPS
};

async fn not_ready(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out whose readiness probe asks a path that is not there");
    let change =
        format!("the readiness probe asks {NO_SUCH_PATH}, and an old replica goes before a new one comes");
    stage
        .apply(&change, |manifests| {
            manifests.set_ready_path(Some(NO_SUCH_PATH));
            manifests.set_rollout(0, 1);
        })
        .await?;
    stage.symptom(Symptom::NotReady, &[]).await;
    // Which replica goes is not ours to choose: from here on the clients are known by what became of theirs.
    let departed = stage.departed();
    let is_gone = |holder: &Holder| holder.owner.as_ref().is_some_and(|owner| departed.contains(owner));
    let (gone, stay): (Vec<Holder>, Vec<Holder>) = holders.into_iter().partition(is_gone);
    for (part, holders) in [("gone", &gone), ("stays", &stay)] {
        for (idx, holder) in holders.iter().enumerate() {
            stage.role(holder, &format!("{part}-{}", idx + 1));
        }
    }
    meanwhile(stage, &stay).await?;
    many_open(stage).await;
    stage.step("remedy");
    stage.apply("the Deployment is as it was", |manifests| *manifests = before).await?;
    recover(stage, Condition::RolledOut, &[]).await
}

async fn flaps(stage: &Stage) -> anyhow::Result<()> {
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let owner = owner(&holders)?;
    hang(stage, &owner).await?;
    meanwhile(stage, &holders[1..]).await?;
    many_open(stage).await;
    stage.step("remedy");
    stage.cluster().cont(&owner).await?;
    recover(stage, Condition::Ready(stage.replica_count()), &holders).await
}

async fn wedged(stage: &Stage) -> anyhow::Result<()> {
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let owner = owner(&holders)?;
    let (a, other) = (&holders[0], stage.replicas_from(Some(&owner)).pop().unwrap_or_default());
    let other = stage.at(&other)?;
    let since = stops(stage, &owner).await?;
    let leaves = async {
        // The other replica waits for the one that hangs: that may cost nobody else anything.
        join(leaves(stage, &owner, since), stage.probe(a, &other)).await.0
    };
    stage.knocking_meanwhile(KNOCKS, leaves).await?;
    meanwhile(stage, &holders[1..]).await?;
    many_open(stage).await;
    stage.step("remedy");
    stage.cluster().delete(&owner, Some(Duration::ZERO)).await?;
    stage.expect(Condition::Gone(owner)).await;
    recover(stage, Condition::Ready(stage.replica_count()), &holders[1..]).await
}

async fn restarted(stage: &Stage) -> anyhow::Result<()> {
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let owner = owner(&holders)?;
    let restarts = stage.cluster().replica(&owner)?.restarts;
    hang(stage, &owner).await?;
    meanwhile(stage, &holders[1..]).await?;
    // Nobody has to do anything: the remedy is in the manifests.
    stage.step("remedy");
    stage.expect(Condition::Restarted { replica: owner, more_than: restarts }).await;
    // Of the probe only an event tells, which may come long after the restart.
    stage.symptom(Symptom::NotLive, &[]).await;
    recover(stage, Condition::Ready(stage.replica_count()), &holders[1..]).await
}

/// The replica hangs, and leaves the endpoints.
async fn hang(stage: &Stage, owner: &str) -> anyhow::Result<()> {
    let since = stops(stage, owner).await?;
    leaves(stage, owner, since).await
}

async fn stops(stage: &Stage, owner: &str) -> anyhow::Result<Instant> {
    stage.step("a replica hangs");
    stage.cluster().stop(owner).await?;
    Ok(Instant::now())
}

/// The replica that hangs leaves the endpoints: how long that took is measured, and held against what its probe allows.
async fn leaves(stage: &Stage, owner: &str, since: Instant) -> anyhow::Result<()> {
    let limit = stage.manifests().await?.readiness_budget();
    stage.wait(Condition::NotReady(owner.to_owned())).await?;
    stage.measured("a replica that hangs leaves the endpoints", since, limit);
    stage.symptom(Symptom::NotReady, &[]).await;
    Ok(())
}

/// So many new sessions through the Service that chance cannot be why none meets a replica that does not serve.
async fn many_open(stage: &Stage) {
    let clients = clients_to_spread(stage.replica_count());
    for _ in 0..clients {
        if let Some(holder) = stage.open(SPARE, &stage.service()).await {
            stage.probe(&holder, &stage.service()).await;
            holder.session.end(&stage.service()).await;
        }
    }
    stage.luck_of_missing(clients);
}

fn owner(holders: &[Holder]) -> anyhow::Result<String> {
    holders[0].owner.clone().context("which replica owns a session cannot be told")
}
