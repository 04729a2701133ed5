//! Scenarios about the ways that lead to the Service: by every node, and from within the cluster.

use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::HUB_CONTRACT;
use harness::cluster::Condition;
use harness::plan::{Affinity, Need, Outline, Transport};
use harness::run::stage::{Door, chance_of_staying, client_name, requests_without_luck};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Target;

use super::{NOT_ACCESSIBLE, NOT_FOUND, checks};
use crate::routing;

/// Every way to the Service leads to the hub.
pub const SERVICE_REACHABLE: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/service-reachable",
        affinities: &[],
        transports: &[],
        needs: &[Need::Replicas(2), Need::Edit, Need::Nodes],
    },
    title: "the Service is reached by its ClusterIP from a pod, and by its NodePort at every node",
    why: "When a hub cannot be reached from outside, the first question is where the way ends. If it answers by its ClusterIP \
          and at every node's NodePort, the fault is before the cluster: in the proxy, in DNS, in a firewall. If it refuses \
          everywhere although every pod is ready, the Service selects none of them.",
    spec: &[HUB_CONTRACT],
    remedy: "`kubectl get endpointslices -l kubernetes.io/service-name=SERVICE` lists the pods: where there are none, the Service's \
             `selector` must be the pods' labels, and its `targetPort` their port; hub: listen on 0.0.0.0, and accept the `Host` that \
             clients send",
    guide: Some(NOT_ACCESSIBLE),
    // Whether a session works on every path is what `routing` is about.
    setup: Setup {
        edit: |manifests| manifests.set_affinity(Some(Duration::from_secs(10_800))),
        ..Setup::ORDINARY
    },
    checks: &[
        &checks::NO_HANG,
        &checks::READY_MEANS_SERVING,
        &checks::RECOVERS,
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| reachable(stage).boxed(),
};

/// Requests of one client enter by different nodes.
pub const AFFINITY_ACROSS_NODES: Scenario = Scenario {
    outline: Outline {
        id: "lifecycle/affinity-across-nodes",
        affinities: &[Affinity::ClientIp],
        transports: &[Transport::Sse, Transport::Streamable],
        needs: &[
            Need::Replicas(2),
            Need::Edit,
            Need::Affinity,
            Need::ClientAddresses,
            Need::Routed,
            Need::Nodes,
        ],
    },
    title: "a session is answered by whichever node its client's requests enter the cluster",
    why: "`sessionAffinity: ClientIP` is remembered by each node for itself. Behind a load balancer that sprays connections over \
          the nodes one client has one replica per node, and a session that lives in one process is lost as if there were no \
          affinity at all.",
    spec: &[HUB_CONTRACT],
    remedy: "a hub that finds a session from every replica; or a load balancer that sends each client to one node (by its \
             address, or a cookie)",
    guide: Some(NOT_FOUND),
    setup: Setup::ORDINARY,
    checks: &[
        &routing::checks::CALLS_ANSWERED,
        &routing::checks::STREAMS_UNTOUCHED,
        &routing::checks::NEW_SESSION_WORKS,
        &checks::NO_HANG,
        &checks::RECOVERS,
    ],
    drive: |stage| across_nodes(stage).boxed(),
};

/// The same where each node serves its own replicas only.
pub const AFFINITY_ACROSS_NODES_LOCAL: Scenario = Scenario {
    outline: Outline { id: "lifecycle/affinity-across-nodes-local", ..AFFINITY_ACROSS_NODES.outline },
    title: "a session is answered by whichever node, also where each node serves its own replicas only",
    why: "`externalTrafficPolicy: Local` keeps the client's address, and is often set for that. A node then gives connections to \
          its own replicas only: a request that enters by another node than the one before cannot reach the same replica.",
    setup: Setup {
        edit: |manifests| {
            manifests.set_external_traffic_policy("Local");
            manifests.spread_over_nodes();
        },
        ..Setup::ORDINARY
    },
    drive: |stage| across_nodes_local(stage).boxed(),
    ..AFFINITY_ACROSS_NODES
};

async fn reachable(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.manifests().await?;
    let ways = ways(stage).await?;
    stage.step("the ClusterIP from a pod, and the NodePort of every node");
    for (role, target) in &ways {
        come_and_go(stage, role, target).await;
    }
    stage.step("the Service selects no pod");
    stage.apply("the Service selects pods that are not there", |manifests| manifests.select_none()).await?;
    for replica in stage.replicas() {
        stage.wait(Condition::NotReady(replica)).await?;
    }
    for (role, target) in &ways {
        stage.knock(&format!("refused-{role}"), target).await;
    }
    stage.step("remedy");
    stage.apply("the Service is as it was", |manifests| *manifests = before).await?;
    stage.expect(Condition::Ready(stage.replica_count())).await;
    stage.step("recovery");
    for (role, target) in &ways {
        come_and_go(stage, &format!("again-{role}"), target).await;
    }
    Ok(())
}

/// Every way to the Service: by its ClusterIP from a pod, and by every node.
async fn ways(stage: &Stage) -> anyhow::Result<Vec<(String, Target)>> {
    let mut ways = vec![("pod".to_owned(), stage.within().await?)];
    for (idx, door) in stage.at_nodes().await?.into_iter().enumerate() {
        ways.push((format!("node-{}", idx + 1), door.target));
    }
    Ok(ways)
}

/// Opens a session, uses it and ends it.
async fn come_and_go(stage: &Stage, role: &str, target: &Target) {
    if let Some(holder) = stage.open(role, target).await {
        stage.probe(&holder, target).await;
        holder.session.end(target).await;
    }
}

async fn across_nodes(stage: &Stage) -> anyhow::Result<()> {
    let doors = stage.at_nodes().await?;
    let (nodes, replicas) = (doors.len(), stage.replica_count());
    // Each node picks for itself: all of them may pick the session's own replica.
    let ways = replicas.saturating_pow(u32::try_from(nodes.saturating_sub(1)).unwrap_or(u32::MAX));
    let clients = requests_without_luck(ways);
    spray(stage, &doors, clients).await;
    let chance = chance_of_staying(ways, clients);
    stage.luck(format!("{clients} clients that each get the same replica at {nodes} nodes"), chance);
    one_node_each(stage, &doors).await;
    Ok(())
}

async fn across_nodes_local(stage: &Stage) -> anyhow::Result<()> {
    let mut doors = stage.at_nodes().await?;
    // A node without a replica serves nobody; load balancers ask for that (`healthCheckNodePort`).
    let serving: Vec<String> = stage.replicas().iter().filter_map(|replica| stage.node_of(replica)).collect();
    doors.retain(|door| serving.contains(&door.node));
    anyhow::ensure!(doors.len() > 1, "all replicas are on one node, although they are to be spread");
    // No luck: no two of these nodes have a replica in common.
    spray(stage, &doors, doors.len()).await;
    one_node_each(stage, &doors).await;
    Ok(())
}

/// Each client opens a session by one node, and sends its requests by every other one and that one again.
async fn spray(stage: &Stage, doors: &[Door], clients: usize) {
    stage.step("requests of one client enter by different nodes");
    for idx in 0..clients {
        let order = || doors.iter().cycle().skip(idx % doors.len().max(1)).take(doors.len());
        let Some(first) = order().next() else { return };
        let Some(holder) = stage.open(&client_name(idx), &first.target).await else { continue };
        if stage.transport() == Transport::Streamable {
            holder.session.listen(&first.target).await;
        }
        for door in order().skip(1).chain([first]) {
            stage.probe(&holder, &door.target).await;
        }
    }
}

/// The remedy where the hub knows no better: whoever comes by a node stays with it.
async fn one_node_each(stage: &Stage, doors: &[Door]) {
    stage.step("remedy");
    stage.step("recovery");
    for (idx, door) in doors.iter().enumerate() {
        if let Some(holder) = stage.open(&format!("stays-{}", idx + 1), &door.target).await {
            stage.probe(&holder, &door.target).await;
            stage.probe(&holder, &door.target).await;
        }
    }
}
