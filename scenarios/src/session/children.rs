//! The processes that a hub keeps for its sessions, such as a stdio server for each.

pub mod checks;

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::ProcessCount;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::stage::{Holder, client_name};
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::CHILDREN_END;
use harness::transcript::normal::SPARE;
use harness::wire::Target;
use serde_json::json;

use super::SESSIONS;

/// How many sessions are open at once.
const MANY: usize = 12;

/// Before any of them is open. One has been, so that what a hub starts once, it has started.
const BEFORE: &str = "no session is open";

/// While all of them are open.
const DURING: &str = "sessions are open";

/// When their clients have ended them.
const AFTER: &str = "the sessions have ended, and so have their processes";

/// While as many are open again: a process that was kept may serve the next session, and some hubs wait for their processes when they start
/// the next one.
const AGAIN: &str = "as many sessions are open again";

/// Processes of a session end with it.
pub const CHILDREN: Scenario = Scenario {
    outline: Outline {
        id: "session/children",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Processes, Need::SessionIds(Transport::Streamable)],
    },
    title: "processes that the hub starts for sessions end with the sessions",
    why: "A hub that wraps a stdio server starts a process for each session. If none of them ends, the pod reaches its memory limit after \
          some days, or its limit of processes, and every session of it is lost.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: end a session's process (standard input, SIGTERM, SIGKILL) when its stream closes or its DELETE comes, and wait for it",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::CHILDREN_END_WITH_SESSIONS, &checks::CHILDREN_REAPED],
    drive: |stage| children(stage).boxed(),
};

async fn children(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let Some(replica) = stage.replicas().into_iter().next() else { return Ok(()) };
    // Clients that vanish are not looked at: a hub may keep their sessions for a while.
    let first = open_many(stage, &target, 1, |_| SPARE.to_owned()).await;
    end_all(&first, &target).await;
    let before = stage.count_processes(&replica, BEFORE).await?;
    let holders = open_many(stage, &target, MANY, client_name).await;
    let during = stage.count_processes(&replica, DURING).await?;
    end_all(&holders, &target).await;
    // The process of the first session may have been there when it was counted before.
    let has_one_each = during.running + 1 >= before.running + holders.len();
    let is_over = |now: ProcessCount| {
        (now.running <= before.running || !has_one_each) && now.unreaped <= before.unreaped
    };
    let after = stage.until_processes(&replica, AFTER, CHILDREN_END, is_over).await?;
    if has_one_each && after.running > before.running || after.unreaped > before.unreaped {
        let again = open_many(stage, &target, MANY, |_| SPARE.to_owned()).await;
        stage.count_processes(&replica, AGAIN).await?;
        end_all(&again, &target).await;
    }
    Ok(())
}

/// Sessions of which each has had an answer: a process that it takes is there.
async fn open_many(
    stage: &Stage,
    target: &Target,
    many: usize,
    role: impl Fn(usize) -> String,
) -> Vec<Holder> {
    let mut holders = Vec::new();
    for number in 0..many {
        // One that is refused is in the transcript; the others would only wait for the same.
        let Some(holder) = stage.open(&role(number), target).await else { break };
        if stage.offers(Need::Tool(Tool::Echo)) {
            stage.call(&holder, target, Tool::Echo, json!({ "text": "hello" })).await;
        } else {
            stage.probe(&holder, target).await;
        }
        holders.push(holder);
    }
    holders
}

async fn end_all(holders: &[Holder], target: &Target) {
    for holder in holders {
        holder.session.end(target).await;
    }
}
