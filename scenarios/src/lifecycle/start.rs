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

/// How long the slow release takes to start, in seconds. Its liveness probe must end it before, on a node whose kubelet is
/// late by 10 s too, and the ordinary one would end it as well.
const START_S: u32 = 15;

/// How long its liveness probe waits, asking every second.
const LIVENESS_S: u32 = 2;

/// A release whose configuration is wrong is rolled out.
pub const CRASH_LOOP: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/crash-loop",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Outside],
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

/// A release takes long to start.
pub const SLOW_START: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/slow-start",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Outside],
    },
    title: "a release that starts slowly comes up once it has a startup probe, and nobody meets it before",
    why: "A process that imports much listens late. A liveness probe that does not wait for that kills it again and again; a \
          startup probe gives it time without making the liveness probe slow.",
    remedy: "Deployment: a `startupProbe` with `periodSeconds: 1` and as many failures as the slowest start takes seconds; \
             image: install at build time what is installed at start",
    guide: Some(super::SLOW_START),
    // What ends it is to be the liveness probe: a kubelet of 1.20 acts on a startup probe a minute later.
    setup: Setup { edit: |manifests| manifests.remove_startup_probe(), ..Setup::ORDINARY },
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| slow_start(stage).boxed(),
    ..CRASH_LOOP
};

/// A release listens at a port that something else has.
pub const PORT_IN_USE: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/port-in-use",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::TakenPort],
    },
    title: "a release whose port is taken says so in its last line, and the old one serves on",
    why: "A port is taken by another container of the pod, or by the node with `hostNetwork: true`. A process that tries again for \
          ever, or listens elsewhere, is never found.",
    remedy: "give the process a port of its own (PORT, and `containerPort`), or leave out `hostNetwork: true`; hub: end when the \
             port cannot be had, and say which",
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
    drive: |stage| port_in_use(stage).boxed(),
    ..CRASH_LOOP
};

async fn port_in_use(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let is_ours = stage.offers(Need::ReferenceHub);
    let taken = is_ours.then(|| stage.taken_port()).transpose()?;
    // A hub of another make has words of its own.
    let words: &[&str] = if is_ours { &["in use"] } else { &[] };
    stage.step("a release is rolled out that listens at a port that is taken");
    stage
        .apply("the process listens at a port that something else has", |manifests| match &taken {
            Some(taken) => taken.give_to(manifests),
            None => stage.take_port(manifests),
        })
        .await?;
    stage.symptom(Symptom::CrashLoop, words).await;
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    stage.apply("the Deployment is as it was", |manifests| *manifests = before).await?;
    recover(stage, Condition::RolledOut, &holders).await
}

async fn slow_start(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out that starts slowly");
    let change =
        format!("the process takes {START_S} s to start, and its liveness probe gives it {LIVENESS_S} s");
    stage
        .apply(&change, |manifests| {
            stage.start_late(manifests, START_S);
            manifests.set_liveness_probe();
            manifests.set_liveness_failures(LIVENESS_S);
        })
        .await?;
    stage.symptom(Symptom::CrashLoop, &[]).await;
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    let change = "a startup probe gives it 60 s, the liveness probe waits as before, and both replicas are replaced at once";
    stage
        .apply(change, |manifests| {
            *manifests = before;
            stage.start_late(manifests, START_S);
            manifests.set_startup_probe(60);
            manifests.set_rollout(2, 0);
        })
        .await?;
    recover(stage, Condition::RolledOut, &[]).await?;
    if let Some(newest) = stage.replicas().last() {
        stage.time_to_ready(newest);
    }
    Ok(())
}

async fn crash_loop(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    let is_told = if stage.offers(Need::ReferenceHub) {
        stage.step("a release is rolled out that lacks a setting");
        let change = format!("the container must have {UNSET}, which nothing sets");
        stage.apply(&change, |manifests| manifests.set_env("REQUIRED_SECRETS", UNSET)).await?;
        stage.symptom(Symptom::CrashLoop, &[UNSET]).await
    } else {
        stage.step("a release is rolled out whose process ends at once");
        stage.apply("the process ends at once", |manifests| stage.end_at_start(manifests)).await?;
        stage.symptom(Symptom::CrashLoop, &[]).await
    };
    if !is_told {
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
