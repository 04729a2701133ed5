//! Scenarios in which a replica meets its memory limit.

use anyhow::Context;
use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Guide, Scenario, Setup, Stage};
use harness::transcript::Symptom;
use harness::transcript::normal::SPARE;

use super::{checks, one_each, recover};
use crate::routing::{self, SESSIONS};

/// One call takes more memory than the container may have.
pub const OOM_LIMIT: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/oom-limit",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::MemoryLimit, Need::Tool(Tool::Allocate)],
    },
    title: "a replica that is killed for its memory takes its own sessions with it and nobody else's",
    why: "One tool call with a large answer is enough: the kernel kills the process without a word. Its clients must \
          get an error instead of waiting for ever, and everybody else must not notice.",
    spec: &[HUB_CONTRACT],
    remedy: "Deployment: raise `resources.limits.memory`; hub: bound what one call may take",
    guide: Some(GUIDE_MEMORY),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::RECOVERS,
        &routing::checks::ORPHANS_TOLD,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| limit(stage).boxed(),
};

/// Session after session takes its share, until there is no more.
pub const OOM_RAMP: Scenario = Scenario {
    outline: Outline { id: "lifecycle/oom-ramp", ..OOM_LIMIT.outline },
    title: "sessions that fill a replica's memory are told when it is killed, and the process that follows serves",
    why: "A leak or a crowd fills the memory slowly, and the kill comes when most sessions are open: the worst moment. \
          What happens at the edge decides whether clients recover or hang.",
    drive: |stage| ramp(stage).boxed(),
    ..OOM_LIMIT
};

/// The operators' issue of pods that restart with `OOMKilled`.
const GUIDE_MEMORY: Guide = Guide {
    issue: "Issue #6: High Memory Usage / OOM Kills",
    symptom: "`kubectl get pods` counts restarts, `kubectl describe pod` says `OOMKilled`, exit code 137; or `Error`, exit code \
              137, where the node's runtime missed why",
    cause: "the process needs more than `resources.limits.memory`, and the kernel kills it",
};

/// In how many steps [`OOM_RAMP`] fills the memory.
const STEPS: u64 = 16;

async fn limit(stage: &Stage) -> anyhow::Result<()> {
    fill(stage, 1).await
}

async fn ramp(stage: &Stage) -> anyhow::Result<()> {
    fill(stage, STEPS).await
}

/// Fills the memory of one replica in so many calls, each on a session of its own, until its process is killed.
async fn fill(stage: &Stage, steps: u64) -> anyhow::Result<()> {
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let first = &holders[0];
    let owner = first.owner.clone().context("which replica owns a session cannot be told")?;
    let target = stage.at(&owner)?;
    let before = stage.cluster().replica(&owner)?;
    let limit = stage.manifests().await?.memory_limit_mib().unwrap_or_default();
    let mut fillers = vec![first.clone()];
    for _ in 1..steps {
        fillers.extend(stage.open(SPARE, &target).await);
    }
    stage.step("the memory is filled");
    stage.starves(&owner);
    for filler in &fillers {
        if stage.take_memory(filler, &target, limit / steps + 1).await.result().is_none() {
            break;
        }
    }
    let is_killed = stage.symptom(Symptom::OutOfMemory, &[]).await;
    anyhow::ensure!(
        is_killed || !before.memory_is_watched,
        "no kill was told, and a watcher that enforces the limit may have missed a short peak: run as root, for a cgroup"
    );
    stage.until_stream_ends(first).await;
    // The kubelet does what has to be done; the limit stays as it is.
    stage.step("remedy");
    recover(stage, Condition::Restarted { replica: owner, more_than: before.restarts }, &holders[1..]).await
}
