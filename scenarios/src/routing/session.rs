//! Scenarios in which a session's requests reach other replicas than its own.

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use harness::check::HUB_CONTRACT;
use harness::plan::{Affinity, Need, Outline, Transport};
use harness::run::stage::{chance_of_staying, clients_to_spread, requests_without_luck};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Outcome;

use super::checks;
use super::{EVERY_AFFINITY, EVERY_TRANSPORT, REMEDY_CLIENT_IP, SESSIONS, SPEC_HTTP_SSE, SPEC_SESSION};

/// The pause that outlasts the idle connections of common HTTP client pools (httpx drops them after 5 s).
const PAUSE: Duration = Duration::from_secs(6);

/// The affinity timeout of [`AFFINITY_EXPIRES`], in seconds: short, so that a cell can wait for it.
const SHORT_AFFINITY_S: u32 = 2;

/// Requests of one session are answered whichever replica they reach.
pub const SESSION_SURVIVES_ANY_REPLICA: Scenario = Scenario {
    outline: Outline {
        id: "routing/session-survives-any-replica",
        affinities: EVERY_AFFINITY,
        transports: SESSIONS,
        needs: &[Need::ReplicasSeen],
    },
    title: "requests of one session are answered whichever replica they reach",
    why: "A session that lives in one process's memory is lost to every request that reaches another replica: the \
          client sees `404 Could not find session`.",
    spec: &[HUB_CONTRACT, SPEC_SESSION, SPEC_HTTP_SSE],
    remedy: REMEDY_CLIENT_IP,
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::CALLS_ANSWERED],
    drive: |stage| survives(stage).boxed(),
};

/// A client that makes a new connection for every request is answered.
pub const RECONNECTING_CLIENT: Scenario = Scenario {
    outline: Outline {
        id: "routing/reconnecting-client",
        affinities: EVERY_AFFINITY,
        transports: EVERY_TRANSPORT,
        needs: &[Need::ReplicasSeen],
    },
    title: "a client that makes a new connection for every request is answered",
    why: "A balancer chooses a replica per connection. Clients that keep one connection hide the fault until it is \
          idle for 5 s; after a pause every session breaks.",
    spec: &[HUB_CONTRACT, SPEC_SESSION, SPEC_HTTP_SSE],
    remedy: REMEDY_CLIENT_IP,
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&checks::CALLS_ANSWERED],
    drive: |stage| reconnects(stage).boxed(),
};

/// Sessions outlive the Service's memory of the client.
pub const AFFINITY_EXPIRES: Scenario = Scenario {
    outline: Outline {
        id: "routing/affinity-expires",
        affinities: &[Affinity::ClientIp],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Affinity, Need::ClientAddresses],
    },
    title: "a session is answered after the Service has forgotten its client",
    why: "`ClientIP` affinity ends `timeoutSeconds` after a client's last new connection, open streams or not. A \
          client that comes back later reaches any replica.",
    spec: &[HUB_CONTRACT, SPEC_SESSION],
    remedy: "Service: raise `spec.sessionAffinityConfig.clientIP.timeoutSeconds` (at most 86400) above the longest \
             pause of a client, or a hub that finds a session from every replica",
    guide: None,
    setup: Setup { affinity_timeout_s: Some(SHORT_AFFINITY_S), ..Setup::ORDINARY },
    checks: &[&checks::CALLS_ANSWERED],
    drive: |stage| outlives_affinity(stage).boxed(),
};

async fn survives(stage: &Stage) -> anyhow::Result<()> {
    let replicas = stage.replica_count();
    if stage.affinity() == Affinity::Off && stage.offers(Need::Aim) {
        // Luck has no part: a session on each replica, and each of its requests sent to each replica in turn.
        for holder in stage.one_per_replica().await? {
            stage.exercise(&holder).await?;
        }
        return Ok(());
    }
    let Some(holder) = stage.open("a", &stage.service()).await else {
        return Ok(());
    };
    let requests = requests_without_luck(replicas.max(2));
    for _ in 0..requests {
        if matches!(stage.probe(&holder, &stage.service()).await, Outcome::Silent) {
            return Ok(());
        }
    }
    if stage.affinity() == Affinity::Off && replicas > 1 {
        stage.luck_of_staying(requests);
    }
    Ok(())
}

async fn reconnects(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    if stage.affinity() == Affinity::Off && stage.transport() == Transport::Sse {
        pauses(stage, &holder).await;
    }
    let replicas = stage.replica_count();
    let requests = requests_without_luck(replicas.max(2));
    for _ in 0..requests {
        // Each silent request costs its whole limit; one is enough to know.
        if matches!(stage.probe(&holder, &service).await, Outcome::Silent) {
            return Ok(());
        }
    }
    if stage.affinity() == Affinity::Off && replicas > 1 {
        stage.luck_of_staying(requests);
    }
    Ok(())
}

/// A few requests over one kept connection, then a pause after which the client's pool has dropped it.
async fn pauses(stage: &Stage, holder: &harness::run::stage::Holder) {
    stage.step("one kept connection");
    holder.session.keep_connection(true);
    for _ in 0..3 {
        stage.probe(holder, &stage.service()).await;
    }
    stage.step("a pause of 6 s");
    holder.session.keep_connection(false);
    stage.pause(PAUSE).await;
    stage.step("a connection per request");
}

async fn outlives_affinity(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let replicas = stage.replica_count();
    // As many requests as make it certain that some client's one reaches another replica than its session's.
    let clients = requests_without_luck(replicas).max(clients_to_spread(replicas));
    let mut holders = Vec::new();
    for idx in 0..clients {
        holders.extend(stage.open(&harness::run::stage::client_name(idx), &service).await);
    }
    stage.step("the affinity expires");
    stage.pause(Duration::from_secs(u64::from(SHORT_AFFINITY_S) + 1)).await;
    stage.step("every client comes back");
    join_all(holders.iter().map(|holder| stage.probe(holder, &service))).await;
    let chance = chance_of_staying(replicas, clients);
    stage
        .luck(format!("{clients} clients that all reach their own one of {replicas} replicas again"), chance);
    Ok(())
}
