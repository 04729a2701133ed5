//! The probes as the manifests have them: every other scenario asks them more often.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::{Guide, Probes, Scenario, Setup, Stage};
use harness::transcript::history::{At, History};
use harness::transcript::probed::is_wrong_answer;
use harness::transcript::{PodChange, What};

/// The step in which nothing is asked of the replica but by its probes.
const IDLE: &str = "an idle replica is asked by its own probes";

/// What a kubelet may be late by when it asks a probe for the first time.
const LATE: Duration = Duration::from_secs(2);

/// The operators' issue of pods that are restarted for no visible reason.
const GUIDE_RESTARTED: Guide = Guide {
    issue: "Issue #2: Pods Crash Immediately (CrashLoopBackOff)",
    symptom: "RESTARTS grows although nobody uses the hub; `kubectl describe pod` says `Liveness probe failed`",
    cause: "the probe asks a path or a port that the hub does not have, or gives it less time than an idle hub needs",
};

/// A fresh replica that nobody uses.
pub const PROBES_AS_DEPLOYED: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/probes-as-deployed",
        affinities: &[],
        transports: &[],
        needs: &[Need::Edit, Need::LivenessProbe],
    },
    title: "an idle replica passes each of its own probes, and is not restarted",
    why: "A liveness probe that asks a path that is not there restarts every replica every half a minute, for ever. Between \
          two restarts everything works, so nobody looks at the probe.",
    spec: &[HUB_CONTRACT],
    remedy: PROBES_PASS.remedy,
    guide: Some(GUIDE_RESTARTED),
    setup: Setup { begins: harness::run::Begins::Unready, probes: Probes::AsDeployed, ..Setup::ONE_REPLICA },
    checks: &[&PROBES_PASS],
    drive: |stage| as_deployed(stage).boxed(),
};

/// Hub contract: what ends a replica must be a fault of the replica.
pub const PROBES_PASS: Check = Check {
    id: "probes-pass",
    level: Level::Contract,
    sentence: "A fresh replica that nobody uses becomes ready, passes each of its probes as deployed, and is not restarted.",
    source: HUB_CONTRACT,
    remedy: "Deployment: `livenessProbe`, `startupProbe` and `readinessProbe` must ask a path and a port that the hub answers with \
             2xx, with a `timeoutSeconds` that an idle hub meets; a hub that starts slowly needs a `startupProbe` with \
             `failureThreshold` x `periodSeconds` longer than its slowest start",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let Some(step) = history.step(IDLE) else { return judgement };
        judgement.judged();
        let mut told: Vec<&str> = Vec::new();
        for failure in failures(history).filter(|failure| is_final(history, failure)) {
            if !told.contains(&failure.probe) {
                told.push(failure.probe);
                let expected = format!("an idle replica passes its {} probe", failure.probe.to_lowercase());
                judgement.breach(expected, failure.message, failure.at);
            }
        }
        // Why it is not ready, where no probe says it.
        for entry in history.entries().iter().filter(|entry| entry.seq > step.seq) {
            if let What::Awaited { unmet: Some(last_seen), condition, .. } = &entry.what
                && told.is_empty()
            {
                judgement.breach(condition.clone(), last_seen.clone(), entry.place());
            }
        }
        judgement
    },
};

async fn as_deployed(stage: &Stage) -> anyhow::Result<()> {
    let manifests = stage.manifests().await?;
    stage.step(IDLE);
    if stage.expect(Condition::Ready(1)).await {
        stage
            .until_probed(manifests.probes_asked_within() + LATE, manifests.probes_give_up_within() + LATE)
            .await;
    }
    Ok(())
}

/// A probe that failed, as the cluster told it.
struct Failure<'t> {
    at: At,
    /// `Liveness`, `Readiness` or `Startup`.
    probe: &'t str,
    message: &'t str,
    /// Whether the replica was ready before.
    was_ready: bool,
    /// Whether it was answered, and not as it must be.
    is_wrong: bool,
}

fn failures<'t>(history: &'t History<'_>) -> impl Iterator<Item = Failure<'t>> {
    let mut was_ready = false;
    history.entries().iter().filter_map(move |entry| match &entry.what {
        What::Pod { change: PodChange::Ready, .. } => {
            was_ready = true;
            None
        }
        What::Event { reason, message, .. } if reason == "Unhealthy" => {
            let (probe, _) = message.split_once(" probe ")?;
            Some(Failure {
                at: entry.place(),
                probe,
                message,
                was_ready,
                is_wrong: is_wrong_answer(&entry.what),
            })
        }
        _ => None,
    })
}

/// Whether a failure tells of more than a moment: of a replica that is ready an answer that is wrong, or any failure that had
/// the probe's own consequence. While it starts, a replica may fail.
fn is_final(history: &History<'_>, failure: &Failure<'_>) -> bool {
    failure.was_ready && failure.is_wrong
        || history.entries().iter().filter(|entry| entry.seq > failure.at.seq).any(|entry| {
            match &entry.what {
                What::Pod { change: PodChange::NotReady, .. } => failure.probe == "Readiness",
                What::Pod { change: PodChange::Terminated { .. }, .. } => failure.probe != "Readiness",
                _ => false,
            }
        })
}
