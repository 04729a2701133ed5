//! What a client notices when another replica than its own answers.

pub mod checks;

use std::time::Duration;

use futures_util::future::{Either, FutureExt, join_all, select};
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::stage::{Holder, client_name};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::normal::{SPARE, own_mark};
use harness::wire::{Client, Target};
use serde_json::{Value, json};

use super::EVERY_TRANSPORT;
use crate::probed::LONG_LIST;
use crate::work::Work;

/// The transports that have sessions.
const SESSIONS: &[Transport] = &[Transport::Sse, Transport::Streamable];

/// The name of requests at a replica that does not own their session.
const STRAY: &str = "stray";

/// The call that is cancelled.
const CANCELLED: Work = Work { name: "cancelled", steps: 4, step: Duration::from_millis(500) };

/// The name of its cancellation.
const CANCEL: &str = "cancellation";

/// How many sessions use the same request id at the same time.
const MANY: usize = 50;

/// Another replica treats a session alike, whatever is asked.
pub const STRAYS_ALIKE: Scenario = Scenario {
    outline: Outline {
        id: "session/strays-alike",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim],
    },
    title: "a replica that does not own a session honours its id or refuses it, in every kind of request alike",
    why: "A replica that takes notifications and refuses requests, or answers requests and knows nothing to DELETE, leaves \
          a client with half a session and no word about it.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: find the session before looking at what is asked: forward every method, or answer 404 to every one",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::STRAYS_TREATED_ALIKE],
    drive: |stage| strays(stage).boxed(),
};

/// A cancellation that another replica takes stops the call.
pub const CANCEL_ELSEWHERE: Scenario = Scenario {
    outline: Outline {
        id: "session/cancel-elsewhere",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Tool(Tool::Work), Need::Tool(Tool::Tally)],
    },
    title: "a cancellation that another replica accepts reaches the call where it runs",
    why: "The user pressed stop, the hub said 202, and the work goes on: on the other replica.",
    spec: &[
        "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#behavior-requirements",
    ],
    remedy: "hub: forward notifications to the owner as requests are, or refuse them with 404",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::CANCEL_REACHES_OWNER],
    drive: |stage| cancel(stage).boxed(),
};

/// Many sessions, one request id.
pub const SAME_ID_IN_MANY: Scenario = Scenario {
    outline: Outline {
        id: "session/same-id-in-50-sessions",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Repeats],
    },
    title: "50 sessions that use the same request id at the same time each get their own answer",
    why: "Every client counts its requests from 1. A hub that keys anything by request id alone, or mixes up what it \
          forwards, sends one user's data to another; with two sessions that may not show.",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections"],
    remedy: "hub: key everything that belongs to a request by session and request id",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&crate::routing::checks::ISOLATED, &checks::OWN_CALLS_ANSWERED],
    drive: |stage| many(stage).boxed(),
};

/// Replicas list the same tools, from their first moment on.
pub const TOOLS_ALIKE: Scenario = Scenario {
    outline: Outline {
        id: "session/tools-alike",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Aim, Need::Rollout],
    },
    title: "`tools/list` is the same on every replica, as soon as it is ready and during a rollout",
    why: "A replica that is ready before its tools are loaded tells a client that there are none: it will not ask again. And where \
          each replica has an order of its own, a client that asks again pays for its whole prompt again.",
    spec: &[
        HUB_CONTRACT,
        "https://modelcontextprotocol.io/specification/2026-07-28/server/tools#listing-tools",
        "https://modelcontextprotocol.io/specification/2026-07-28/server/tools#capabilities",
    ],
    remedy: "hub: be ready only when every tool is there, and list them in an order that does not depend on the replica",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::TOOLS_LISTED_ALIKE, &checks::TOOLS_ORDERED_ALIKE],
    drive: |stage| tools(stage).boxed(),
};

async fn strays(stage: &Stage) -> anyhow::Result<()> {
    let replicas = stage.replicas();
    let (Some(own), Some(other)) = (replicas.first(), replicas.get(1)) else {
        return Ok(());
    };
    let (own, other) = (stage.at(own)?, stage.at(other)?);
    let Some(holder) = stage.open("a", &own).await else {
        return Ok(());
    };
    let session = &holder.session;
    let cancelled = json!({ "requestId": 4711 });
    session.send(&other, session.raw(stage.small(), json!({})).named(STRAY)).await;
    session.send(&other, session.raw_notification("notifications/cancelled", cancelled).named(STRAY)).await;
    if stage.transport() == Transport::Streamable && session.id().is_some() {
        let get = stage.offers(Need::GetAnswered).then(|| session.raw_get());
        let delete = stage.offers(Need::DeleteAnswered).then(|| session.raw_delete());
        for request in get.into_iter().chain(delete) {
            holder.client.exchange(&other, request.named(STRAY)).await;
        }
    }
    session.end(&own).await;
    Ok(())
}

async fn cancel(stage: &Stage) -> anyhow::Result<()> {
    let replicas = stage.replicas();
    let (Some(own), Some(other)) = (replicas.first(), replicas.get(1)) else {
        return Ok(());
    };
    let (own, other) = (stage.at(own)?, stage.at(other)?);
    let Some(holder) = stage.open("a", &own).await else {
        return Ok(());
    };
    let session = &holder.session;
    let Some(pending) = CANCELLED.begin(stage, session, &own).await else {
        return Ok(());
    };
    let which = json!({ "requestId": pending.id() });
    session.send(&other, session.raw_notification("notifications/cancelled", which).named(CANCEL)).await;
    if let Some(reader) = stage.open("reader", &own).await {
        CANCELLED.read(stage, &reader, &own).await;
        reader.session.end(&own).await;
    }
    // Nobody has to answer a cancelled call, nor to end its stream.
    drop(pending);
    session.end(&own).await;
    Ok(())
}

async fn many(stage: &Stage) -> anyhow::Result<()> {
    let targets =
        stage.replicas().iter().map(|replica| stage.at(replica)).collect::<anyhow::Result<Vec<Target>>>()?;
    let mut holders: Vec<Holder> = Vec::new();
    for idx in 0..MANY {
        holders.extend(stage.open(&client_name(idx), &targets[idx % targets.len()]).await);
    }
    // Where it lives, and at each other replica: who refuses strays does so without mixing them up.
    for shift in 0..targets.len() {
        let calls = holders.iter().enumerate().map(|(idx, holder)| {
            let target = &targets[(idx + shift) % targets.len()];
            let text = format!("round {shift} {}", own_mark(holder.client.name()));
            async move { stage.call(holder, target, Tool::Echo, json!({ "text": text })).await }
        });
        join_all(calls).await;
    }
    join_all(
        holders.iter().enumerate().map(|(idx, holder)| holder.session.end(&targets[idx % targets.len()])),
    )
    .await;
    Ok(())
}

/// What [`TOOLS_ALIKE`] leaves between one look at every replica and the next.
const BETWEEN: Duration = Duration::from_millis(50);

async fn tools(stage: &Stage) -> anyhow::Result<()> {
    if stage.has_long_list() {
        stage.not_brought_about(LONG_LIST);
        return Ok(());
    }
    stage.step("as soon as they are ready");
    list_everywhere(stage, Readers::New("reader")).await;
    stage.step("every replica is replaced");
    stage.cluster().roll().await?;
    let mut rolled = Box::pin(stage.wait(Condition::RolledOut));
    // One client, since how often they are asked meanwhile is chance, and clients have addresses of their own.
    let reader = stage.client(SPARE).await;
    loop {
        let round = async {
            list_everywhere(stage, Readers::One(&reader)).await;
            stage.pause(BETWEEN).await;
        };
        match select(&mut rolled, round.boxed()).await {
            Either::Left((done, round)) => {
                done?;
                round.await;
                break;
            }
            Either::Right(((), _)) => {}
        }
    }
    stage.step("afterwards");
    list_everywhere(stage, Readers::New("later")).await;
    Ok(())
}

/// Who lists the tools.
#[derive(Clone, Copy)]
enum Readers<'a> {
    /// One client, at every replica.
    One(&'a Client),
    /// A new one at each, called by this and its number.
    New(&'a str),
}

/// Lists the tools at each ready replica, twice.
async fn list_everywhere(stage: &Stage, readers: Readers<'_>) {
    for (idx, replica) in stage.replicas().into_iter().enumerate() {
        // One that went meanwhile has no list to compare.
        let Ok(target) = stage.at(&replica) else { continue };
        let reader = match readers {
            Readers::One(reader) => reader.clone(),
            Readers::New(role) => stage.client(&format!("{role}-{}", idx + 1)).await,
        };
        let Some(holder) = stage.open_as(reader, SPARE, &target).await else { continue };
        for _ in 0..2 {
            holder.session.request(&target, "tools/list", Value::Object(serde_json::Map::default())).await;
        }
        holder.session.end(&target).await;
    }
}
