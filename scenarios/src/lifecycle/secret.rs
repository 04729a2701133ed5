//! Scenarios in which a Secret is not there, or is not what it was.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::cluster::manifest::Manifests;
use harness::plan::{Need, Outline};
use harness::run::{Begins, Scenario, Setup, Stage};
use harness::transcript::Symptom;

use super::{SECRETS_NOT_FOUND, checks, meanwhile, one_each, recover};
use crate::routing;

/// The key that the release adds.
const ADDED: &str = "ADDED_KEY";

/// The Secret is gone when a pod is replaced.
pub const MISSING_SECRET: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/missing-secret",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Secret, Need::DeletePod],
    },
    title: "a pod whose Secret is gone says so, and the replicas that run serve on",
    why: "A deleted Secret hurts nobody until a pod is replaced, which may be months later. Then one pod waits, and what \
          matters is that the others serve everyone, and that the waiting one starts as soon as the Secret is back.",
    spec: &[HUB_CONTRACT],
    remedy: "`kubectl apply -f secret.yaml` in the Deployment's namespace; pods that wait start by themselves",
    guide: Some(SECRETS_NOT_FOUND),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::ORPHANS_TOLD,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| missing(stage).boxed(),
};

/// The Secret is applied after the Deployment.
pub const SECRET_APPEARS_LATE: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/secret-appears-late",
        affinities: &[],
        transports: &[],
        needs: &[Need::Aim, Need::Edit, Need::Secret],
    },
    title: "pods that were applied before their Secret start by themselves once it is there",
    why: "Manifests are applied in any order. Until the Secret is there nobody serves, and a client must be refused at \
          once instead of left waiting; then every pod must come up without anyone touching it.",
    setup: Setup { edit: without_secret, begins: Begins::Unready, ..Setup::ORDINARY },
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| appears_late(stage).boxed(),
    ..MISSING_SECRET
};

/// A release refers to a key that its Secret lacks.
pub const MISSING_SECRET_KEY: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/missing-secret-key",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::Secret],
    },
    title: "a release that refers to a key its Secret lacks waits and names it, and the old one serves on",
    why: "A new setting is added to the Deployment and forgotten in the Secret. The rollout must stop before it takes a \
          replica that works, and go on as soon as the key is there.",
    remedy: "add the key to the Secret and `kubectl apply` it; the pods that wait start by themselves",
    checks: &[
        &checks::SYMPTOM_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| missing_key(stage).boxed(),
    ..MISSING_SECRET
};

async fn missing(stage: &Stage) -> anyhow::Result<()> {
    let secret = the_secret(&stage.manifests().await?)?;
    let Some(mut holders) = one_each(stage).await? else { return Ok(()) };
    let goes = holders.remove(0);
    let owner = goes.owner.clone().unwrap_or_default();
    stage.step("the Secret is gone when a pod is replaced");
    stage.apply(&format!("Secret {secret} is deleted"), without_secret).await?;
    stage.cluster().delete(&owner, Some(Duration::ZERO)).await?;
    stage.wait(Condition::Gone(owner)).await?;
    stage.symptom(Symptom::ConfigMissing, &[&secret]).await;
    stage.probe(&goes, &stage.service()).await;
    meanwhile(stage, &holders).await?;
    apply_secret(stage, &secret).await?;
    recover(stage, Condition::Ready(stage.replica_count()), &holders).await
}

async fn missing_key(stage: &Stage) -> anyhow::Result<()> {
    let secret = the_secret(&stage.manifests().await?)?;
    let Some(holders) = one_each(stage).await? else { return Ok(()) };
    stage.step("a release is rolled out that refers to a key that is not there");
    let change = format!("the container takes {ADDED} from Secret {secret}");
    stage.apply(&change, |manifests| manifests.set_env_from_secret(ADDED, &secret, ADDED)).await?;
    stage.symptom(Symptom::ConfigMissing, &[&secret, ADDED]).await;
    meanwhile(stage, &holders).await?;
    stage.step("remedy");
    let change = format!("Secret {secret} has {ADDED}");
    stage
        .apply(&change, |manifests| manifests.set_secret_key(&secret, ADDED, "added-and-not-a-secret"))
        .await?;
    recover(stage, Condition::RolledOut, &[]).await
}

async fn appears_late(stage: &Stage) -> anyhow::Result<()> {
    let secret = the_secret(stage.given_manifests()?)?;
    stage.symptom(Symptom::ConfigMissing, &[&secret]).await;
    stage.knock("early", &stage.service()).await;
    apply_secret(stage, &secret).await?;
    recover(stage, Condition::Ready(stage.replica_count()), &[]).await
}

/// Applies the Secret as the run was given it.
async fn apply_secret(stage: &Stage, secret: &str) -> anyhow::Result<()> {
    let secrets = stage.given_manifests()?.secrets.clone();
    stage.step("remedy");
    stage.apply(&format!("Secret {secret} is there"), |manifests| manifests.secrets = secrets).await
}

fn without_secret(manifests: &mut Manifests) {
    if let Some(secret) = manifests.required_secret() {
        manifests.remove_secret(&secret);
    }
}

fn the_secret(manifests: &Manifests) -> anyhow::Result<String> {
    manifests.required_secret().context("the container refers to no Secret of the manifests")
}
