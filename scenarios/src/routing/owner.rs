//! Scenarios in which the replica that owns a session goes without warning.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Affinity, Need, Outline, Transport};
use harness::run::stage::{Holder, InFlight};
use harness::run::{Scenario, Setup, Stage};

use super::checks;
use super::{EVERY_AFFINITY, SESSIONS, SPEC_SESSION};

/// How long calls in flight are held when their replica is to go: longer than anyone waits for it to be noticed.
const HELD_BEYOND: Duration = Duration::from_secs(30);

/// How long the call of a session whose owner stays is held.
const HELD: Duration = Duration::from_millis(1500);

/// The owner's process is killed: same pod, restart counted.
pub const OWNER_KILLED: Scenario = Scenario {
    outline: Outline {
        id: "routing/owner-killed",
        affinities: EVERY_AFFINITY,
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::KillProcess],
    },
    title: "when a replica's process is killed, its sessions are told and nobody else's suffer",
    why: "A crash or an OOM kill takes its sessions with it. Clients must learn that at once: one that waits for an \
          owner that is gone hangs until its user gives up.",
    spec: &[HUB_CONTRACT, SPEC_SESSION],
    remedy: "hub: bound connecting to a session's owner (1 s), pass a broken stream on, and answer 404 when the owner \
             is gone or restarted",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[
        &checks::CALLS_ANSWERED,
        &checks::STREAMS_UNTOUCHED,
        &checks::ORPHANS_TOLD,
        &checks::NEW_SESSION_WORKS,
        &checks::EXECUTED_ONCE,
    ],
    drive: |stage| killed(stage).boxed(),
};

/// The owner's pod is deleted without grace: new pod, new address.
pub const OWNER_DELETED: Scenario = Scenario {
    outline: Outline {
        id: "routing/owner-deleted",
        affinities: EVERY_AFFINITY,
        transports: SESSIONS,
        // At once means that its process is killed: a kubelet gives it 2 s by itself.
        needs: &[Need::Replicas(2), Need::Aim, Need::DeletePod, Need::KillProcess],
    },
    title: "when a replica's pod is deleted, its sessions are told and nobody else's suffer",
    why: "A deleted pod's address answers nothing at all: whoever connects there without a limit waits for minutes.",
    spec: &[HUB_CONTRACT, SPEC_SESSION],
    remedy: "hub: bound connecting to a session's owner (1 s) and answer 404 when it cannot be reached",
    drive: |stage| deleted(stage).boxed(),
    ..OWNER_KILLED
};

/// The owner's process is stopped: it accepts connections and says nothing.
pub const OWNER_STOPPED: Scenario = Scenario {
    outline: Outline {
        id: "routing/owner-stopped",
        affinities: EVERY_AFFINITY,
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::SignalProcess, Need::ReadinessAsks],
    },
    title: "when a replica hangs, requests that reach another one are still answered or refused within 5 s",
    why: "A process that hangs (swap, a stuck disk, a debugger) still accepts connections. A replica that forwards to \
          it without a limit hangs as well, and the fault spreads to every replica.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: bound the wait for the owner's response head (2 s, then 504); Deployment: a `readinessProbe` with \
             `timeoutSeconds: 1` takes the replica out of the Service",
    checks: &[
        &checks::CALLS_ANSWERED,
        &checks::STRAYS_ANSWERED_FAST,
        &checks::STREAMS_UNTOUCHED,
        &checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| stopped(stage).boxed(),
    ..OWNER_KILLED
};

async fn killed(stage: &Stage) -> anyhow::Result<()> {
    let Some(cast) = cast(stage).await? else {
        return Ok(());
    };
    stage.meet_counters().await?;
    let calls = hold_all(stage, &cast).await?;
    stage.step("the owner is killed");
    let pod = stage.cluster().replica(&cast.owner)?;
    stage.cluster().kill(&cast.owner).await?;
    stage.wait(Condition::Restarted { replica: cast.owner.clone(), more_than: pod.restarts }).await?;
    aftermath(stage, &cast, calls).await
}

async fn deleted(stage: &Stage) -> anyhow::Result<()> {
    let Some(cast) = cast(stage).await? else {
        return Ok(());
    };
    stage.meet_counters().await?;
    let calls = hold_all(stage, &cast).await?;
    stage.step("the owner's pod is deleted");
    stage.cluster().delete(&cast.owner, Some(Duration::ZERO)).await?;
    stage.wait(Condition::Gone(cast.owner.clone())).await?;
    stage.wait(Condition::Ready(stage.replica_count())).await?;
    aftermath(stage, &cast, calls).await
}

async fn stopped(stage: &Stage) -> anyhow::Result<()> {
    let Some(cast) = cast(stage).await? else {
        return Ok(());
    };
    stage.step("the owner is stopped");
    stage.cluster().stop(&cast.owner).await?;
    // What the stopped replica holds itself only the client can bound; what reaches another one must not hang.
    for replica in stage.replicas_from(Some(&cast.owner)).into_iter().skip(1) {
        stage.probe(&cast.a, &stage.at(&replica)?).await;
    }
    stage.wait(Condition::NotReady(cast.owner.clone())).await?;
    stage.step("recovery");
    for holder in &cast.others {
        stage.exercise(holder).await?;
    }
    if let Some(new) = stage.open("new", &stage.service()).await {
        stage.exercise(&new).await?;
    }
    Ok(())
}

/// Who takes part: `a`, whose owner will go, and a holder per other replica.
struct Cast {
    a: Holder,
    owner: String,
    others: Vec<Holder>,
}

async fn cast(stage: &Stage) -> anyhow::Result<Option<Cast>> {
    let mut holders = stage.one_per_replica().await?;
    if holders.len() < stage.replica_count() {
        // What came instead is recorded, and a check judges it.
        return Ok(None);
    }
    if stage.transport() == Transport::Streamable {
        for holder in &holders {
            listen(stage, holder).await?;
        }
    }
    let a = holders.remove(0);
    let Some(owner) = a.owner.clone() else { anyhow::bail!("which replica owns a session cannot be told") };
    Ok(Some(Cast { a, owner, others: holders }))
}

/// Opens the GET stream: through another replica where any path may reach any replica.
async fn listen(stage: &Stage, holder: &Holder) -> anyhow::Result<()> {
    let target = match stage.affinity() {
        Affinity::Off => {
            let replicas = stage.replicas_from(holder.owner.as_deref());
            stage.at(replicas.last().map_or("", String::as_str))?
        }
        Affinity::ClientIp => stage.service(),
    };
    holder.session.listen(&target).await;
    Ok(())
}

/// Calls in flight on every session: on `a`'s for longer than its owner lives.
async fn hold_all(stage: &Stage, cast: &Cast) -> anyhow::Result<Vec<InFlight>> {
    stage.step("calls in flight");
    let mut calls = Vec::new();
    for holder in std::iter::once(&cast.a).chain(&cast.others) {
        let hold = if holder.role == cast.a.role { HELD_BEYOND } else { HELD };
        let target = own_path(stage, holder)?;
        calls.extend(stage.hold(holder, &target, hold).await);
    }
    Ok(calls)
}

/// The path that a holder's requests take when nothing goes wrong.
fn own_path(stage: &Stage, holder: &Holder) -> anyhow::Result<harness::wire::Target> {
    match (stage.affinity(), holder.owner.as_deref()) {
        (Affinity::Off, Some(owner)) => stage.at(owner),
        _ => Ok(stage.service()),
    }
}

async fn aftermath(stage: &Stage, cast: &Cast, calls: Vec<InFlight>) -> anyhow::Result<()> {
    let keys: Vec<String> = calls.iter().map(|call| call.key.clone()).collect();
    for call in calls {
        call.pending.outcome().await;
    }
    stage.until_stream_ends(&cast.a).await;
    stage.step("recovery");
    for replica in stage.replicas_from(Some(&cast.owner)) {
        stage.probe(&cast.a, &stage.at(&replica)?).await;
    }
    for holder in &cast.others {
        stage.exercise(holder).await?;
    }
    if let Some(new) = stage.open("new", &stage.service()).await {
        stage.exercise(&new).await?;
    }
    stage.read_tallies(&keys, Some(&cast.owner)).await
}
