//! Scenarios about replicas as equals: who gets the sessions, and who gives which answers.

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::plan::{Need, Outline, Tool, Transport};
use harness::run::stage::{client_name, clients_to_spread};
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::checks;
use super::{EVERY_AFFINITY, EVERY_TRANSPORT, SPEC_STATELESS};

/// Sessions of many clients are spread over the replicas.
pub const BALANCE: Scenario = Scenario {
    outline: Outline {
        id: "routing/balance",
        affinities: EVERY_AFFINITY,
        transports: EVERY_TRANSPORT,
        needs: &[Need::Replicas(2), Need::Routed, Need::ClientAddresses],
    },
    title: "every replica gets sessions when many clients come",
    why: "`ClientIP` behind a proxy or NAT sees one client: one replica gets every session, the others none, for days.",
    spec: &[HUB_CONTRACT],
    remedy: "let the balancer see client addresses (`externalTrafficPolicy: Local`, or affinity by cookie or header at \
             the proxy); see that every replica is ready",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::EVERY_REPLICA_SERVES],
    drive: |stage| balance(stage).boxed(),
};

/// Consecutive requests forced to different replicas give the same answers.
pub const STATELESS_ANY_REPLICA: Scenario = Scenario {
    outline: Outline {
        id: "routing/stateless-any-replica",
        affinities: &[],
        transports: &[Transport::Stateless],
        needs: &[Need::Replicas(2), Need::Aim],
    },
    title: "consecutive requests forced to different replicas give the same answers",
    why: "Since 2026-07-28 any replica may get any request. A hub that builds its answers from what one process has \
          seen gives a client a different server with every request.",
    spec: &[SPEC_STATELESS],
    remedy: "hub: build every answer from the request and from shared state alone; deploy one version at a time",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::ANSWERS_ALIKE, &checks::CALLS_ANSWERED],
    drive: |stage| stateless(stage).boxed(),
};

async fn balance(stage: &Stage) -> anyhow::Result<()> {
    let clients = clients_to_spread(stage.replica_count());
    for idx in 0..clients {
        let service = stage.service();
        let Some(holder) = stage.open(&client_name(idx), &service).await else {
            continue;
        };
        // In the stateless era there is nothing to open: the request itself is what is spread.
        if stage.transport() == Transport::Stateless {
            if stage.offers(Need::Tool(Tool::Whoami)) {
                stage.call(&holder, &service, Tool::Whoami, json!({})).await;
            } else {
                stage.probe(&holder, &service).await;
            }
        }
    }
    stage.luck_of_missing(clients);
    Ok(())
}

async fn stateless(stage: &Stage) -> anyhow::Result<()> {
    let first = stage.service();
    let Some(holder) = stage.open("a", &first).await else {
        return Ok(());
    };
    for replica in stage.replicas() {
        let target = stage.at(&replica)?;
        holder.session.request(&target, "server/discover", json!({})).await;
        if !stage.has_long_list() {
            holder.session.request(&target, "tools/list", json!({})).await;
        }
        if stage.offers(Need::Tool(Tool::Echo)) {
            stage.call(&holder, &target, Tool::Echo, json!({ "text": "the same" })).await;
        }
    }
    Ok(())
}
