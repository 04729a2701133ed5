//! Scenarios in which the key that seals session ids changes.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline};
use harness::run::stage::Holder;
use harness::run::{Guide, Scenario, Setup, Stage};

use super::{SECRETS_NOT_FOUND, checks, one_each, recover};
use crate::routing;

/// The variable that the hub takes its key from.
const KEY: &str = "SESSION_KEY";

/// The variable that the hub takes a further key from, which only opens ids.
const PREVIOUS: &str = "SESSION_KEY_PREVIOUS";

/// Another key: 32 bytes in base64, of the text `placeholder-not-the-first-32byte`.
const ANOTHER: &str = "cGxhY2Vob2xkZXItbm90LXRoZS1maXJzdC0zMmJ5dGU=";

/// The key is replaced in two steps.
pub const SECRET_ROTATED: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/secret-rotated",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::SessionKey, Need::DeletePod, Need::Rollout],
    },
    title: "the session key can be rotated without losing a session whose replica stays",
    why: "Keys are rotated under load. While half of the replicas seal with the new key and half with the old one, every \
          session must work wherever it lands.",
    spec: &[HUB_CONTRACT],
    remedy: "rotate in two steps: first give every replica the new key as `SESSION_KEY_PREVIOUS`, then swap the two; drop \
             the old key when its sessions have ended",
    guide: Some(Guide {
        issue: "Issue #9: Secrets Not Found",
        symptom: "after the Secret was edited some sessions are answered 404, until every pod was restarted",
        cause: "a container keeps the values that it was started with: until then replicas have different keys",
    }),
    setup: Setup::ORDINARY,
    checks: &[
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| rotated(stage).boxed(),
};

/// The key is replaced in one step, and not everywhere.
pub const SECRET_DIFFERS: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/secret-differs-per-replica",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Aim, Need::Edit, Need::SessionKey, Need::DeletePod, Need::Rollout],
    },
    title: "a session id that was sealed with another replica's key is refused in clear words",
    why: "A Secret that was changed reaches a pod only when the pod is replaced. From the first replaced pod on replicas \
          have different keys, half of the requests fail, and `Could not find session` would send everyone looking in the \
          wrong place.",
    remedy: "`kubectl rollout restart deployment/mcp-hub`, so that every replica has the same key; rotate with \
             `SESSION_KEY_PREVIOUS` (see lifecycle/secret-rotated)",
    guide: Some(SECRETS_NOT_FOUND),
    checks: &[
        &checks::FOREIGN_KEY_TOLD,
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| differs(stage).boxed(),
    ..SECRET_ROTATED
};

async fn rotated(stage: &Stage) -> anyhow::Result<()> {
    let (secret, old) = key_in_use(stage).await?;
    stage.step("every replica learns the new key");
    stage
        .apply(&format!("{PREVIOUS} is the new key, from Secret {secret}"), |manifests| {
            manifests.set_secret_key(&secret, PREVIOUS, ANOTHER);
            manifests.set_env_from_secret(PREVIOUS, &secret, PREVIOUS);
            manifests.restart();
        })
        .await?;
    stage.wait(Condition::RolledOut).await?;
    let Some(mut holders) = one_each(stage).await? else { return Ok(()) };
    let goes = holders.remove(0);
    stage.step("one replica seals with the new key");
    stage
        .apply(&format!("in Secret {secret} the two keys change places"), |manifests| {
            manifests.set_secret_key(&secret, KEY, ANOTHER);
            manifests.set_secret_key(&secret, PREVIOUS, &old);
        })
        .await?;
    replace(stage, &goes).await?;
    stage.step("both keys are in use");
    for holder in &holders {
        stage.exercise(holder).await?;
    }
    for holder in at_newest(stage, &holders).await? {
        stage.exercise(&holder).await?;
    }
    stage.step("remedy");
    stage.cluster().roll().await?;
    recover(stage, Condition::RolledOut, &[]).await
}

async fn differs(stage: &Stage) -> anyhow::Result<()> {
    let (secret, _) = key_in_use(stage).await?;
    let Some(mut holders) = one_each(stage).await? else { return Ok(()) };
    let goes = holders.remove(0);
    stage.step("the key changes, and one pod is replaced");
    stage
        .apply(&format!("{KEY} in Secret {secret} is another one"), |manifests| {
            manifests.set_secret_key(&secret, KEY, ANOTHER);
        })
        .await?;
    replace(stage, &goes).await?;
    stage.step(checks::KEYS_DIFFER);
    let new = at_newest(stage, &holders).await?;
    for holder in holders.iter().chain(&new) {
        for replica in stage.replicas_from(holder.owner.as_deref()) {
            stage.probe(holder, &stage.at(&replica)?).await;
        }
    }
    stage.step("remedy");
    stage.cluster().roll().await?;
    recover(stage, Condition::RolledOut, &[]).await
}

/// The Secret that the key comes from, and the key.
async fn key_in_use(stage: &Stage) -> anyhow::Result<(String, String)> {
    let manifests = stage.manifests().await?;
    let secret = manifests.secret_of_env(KEY).context("SESSION_KEY comes from no Secret")?;
    let key = manifests.secret_key(&secret, KEY).with_context(|| format!("Secret {secret} has no {KEY}"))?;
    Ok((secret, key))
}

/// Replaces the pod that owns this session.
async fn replace(stage: &Stage, goes: &Holder) -> anyhow::Result<()> {
    let owner = goes.owner.clone().context("which replica owns a session cannot be told")?;
    stage.cluster().delete(&owner, Some(Duration::ZERO)).await?;
    stage.wait(Condition::Gone(owner)).await?;
    stage.wait(Condition::Ready(stage.replica_count())).await
}

/// A session at each replica that owns none of these.
async fn at_newest(stage: &Stage, others: &[Holder]) -> anyhow::Result<Vec<Holder>> {
    let mut opened = Vec::new();
    for replica in stage.replicas() {
        if others.iter().all(|other| other.owner.as_ref() != Some(&replica)) {
            opened.extend(stage.open("newest", &stage.at(&replica)?).await);
        }
    }
    Ok(opened)
}
