//! Scenarios in which a request reaches a replica that cannot know its session, or must not mix it up.

use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::{CLOSING, SLACK};

use super::checks;
use super::{SESSIONS, SPEC_SESSION};
use crate::probed::NO_GOODBYE;

/// A request at a replica that does not own its session is answered or refused at once.
pub const WRONG_REPLICA_ANSWERS_FAST: Scenario = Scenario {
    outline: Outline {
        id: "routing/wrong-replica-answers-fast",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim],
    },
    title: "a request at a replica that does not own its session is answered or refused within 5 s",
    why: "A replica that accepts a request it cannot serve (202, then nothing) makes the client hang: common Python \
          clients wait without a limit.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: answer 404 for a session that this process does not have, or forward the request to its owner with \
             a limit on connecting and on the response's head",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::STRAYS_ANSWERED_FAST],
    drive: |stage| strays(stage).boxed(),
};

/// A session id that no replica knows is refused, on every replica.
pub const UNKNOWN_SESSION: Scenario = Scenario {
    outline: Outline {
        id: "routing/unknown-session",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::SessionIds(Transport::Sse), Need::SessionIds(Transport::Streamable)],
    },
    title: "a session that never was, or has ended, is refused at once on every replica",
    why: "Clients start a new session when they are told that theirs is unknown (404). A 2xx, a 500 or silence leaves \
          them stuck for ever.",
    spec: &[SPEC_SESSION, HUB_CONTRACT],
    remedy: "hub: answer 404 for an unknown or terminated session id, whichever replica is asked",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::UNKNOWN_REFUSED, &checks::TERMINATED_IS_404, &checks::NEVER_ISSUED_IS_404],
    drive: |stage| unknown(stage).boxed(),
};

/// Two sessions on each replica use the same request ids: nothing crosses.
pub const ISOLATION: Scenario = Scenario {
    outline: Outline {
        id: "routing/isolation",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Repeats],
    },
    title: "sessions that use the same request ids at the same time get their own answers",
    why: "Request ids are only unique within a session. A hub that keys anything by request id alone sends one user's \
          data to another.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections"],
    remedy: "hub: key everything that belongs to a request by session and request id",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::ISOLATED, &checks::CALLS_ANSWERED],
    drive: |stage| isolated(stage).boxed(),
};

/// How many requests each session of [`ISOLATION`] has in flight at once.
const CONCURRENT: usize = 5;

async fn strays(stage: &Stage) -> anyhow::Result<()> {
    for holder in stage.one_per_replica().await? {
        for replica in stage.replicas_from(holder.owner.as_deref()).into_iter().skip(1) {
            stage.probe(&holder, &stage.at(&replica)?).await;
        }
    }
    Ok(())
}

async fn unknown(stage: &Stage) -> anyhow::Result<()> {
    let aim = stage.offers(Need::Aim);
    let home = |stage: &Stage| match stage.replicas().first() {
        Some(first) if aim => stage.at(first),
        _ => Ok(stage.service()),
    };
    let Some(holder) = stage.open("a", &home(stage)?).await else {
        return Ok(());
    };
    // Without an id there is none to get wrong: then the survey has found that this cell does not apply.
    let Some(id) = holder.session.id().map(str::to_owned) else {
        return Ok(());
    };
    let targets = if aim {
        let replicas = stage.replicas_from(holder.owner.as_deref());
        replicas.iter().map(|replica| stage.at(replica)).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![stage.service()]
    };
    stage.step("an id that was never issued");
    if let Some(made_up) = holder.session.made_up_id() {
        stage.made_up(&holder, &made_up);
        let twin = holder.with_session(holder.session.with_id(made_up));
        for target in &targets {
            stage.probe(&twin, target).await;
        }
    }
    if stage.transport() == Transport::Streamable && !stage.offers(Need::DeleteAnswered) {
        stage.not_brought_about(NO_GOODBYE);
        return Ok(());
    }
    stage.step("a session that has ended");
    holder.session.end(&home(stage)?).await;
    if stage.transport() == Transport::Sse {
        let ended = holder.session.with_id(id.clone());
        let noticed = CLOSING + SLACK + stage.timeouts().way;
        match home(stage)? {
            owner if aim => stage.until_refused(&ended, &owner, noticed).await,
            // Who refuses may be another replica, which never knew it.
            _ => stage.pause(noticed).await,
        }
    }
    let twin = holder.with_session(holder.session.with_id(id));
    for target in &targets {
        stage.probe(&twin, target).await;
    }
    Ok(())
}

async fn isolated(stage: &Stage) -> anyhow::Result<()> {
    let mut holders = Vec::new();
    for replica in stage.replicas() {
        for _ in 0..2 {
            let role = harness::run::stage::client_name(holders.len());
            holders.extend(stage.open(&role, &stage.at(&replica)?).await);
        }
    }
    let rounds = holders.iter().flat_map(|holder| {
        (0..CONCURRENT).map(move |round| async move {
            let target = stage.at(holder.owner.as_deref().unwrap_or_default())?;
            let text = format!("only for {} in round {round}", holder.role);
            stage.call(holder, &target, Tool::Echo, serde_json::json!({ "text": text })).await;
            anyhow::Ok(())
        })
    });
    join_all(rounds).await.into_iter().collect()
}
