//! Family `lifecycle`: what operators meet when pods start, stop and are changed, each as an issue of their guide.
//!
//! Each scenario brings the issue about, waits for the cluster to tell of it, looks at what clients see meanwhile, applies
//! the guide's remedy and looks again. It varies with the transport only where clients notice a difference, and with the
//! affinity nowhere but across nodes.

pub mod checks;
pub mod drain;
pub mod endpoint;
pub mod image;
pub mod key;
pub mod memory;
pub mod nodes;
pub mod probes;
pub mod rollout;
pub mod secret;
pub mod serving;
pub mod start;
pub mod stopping;

use harness::cluster::Condition;
use harness::plan::{Affinity, Transport};
use harness::run::stage::Holder;
use harness::run::{Guide, Stage};

/// A Secret, or a key of it, that is not there.
const SECRETS_NOT_FOUND: Guide = Guide {
    issue: "Issue #9: Secrets Not Found",
    symptom: "`kubectl get pods` says CreateContainerConfigError; or the log says that a variable is missing",
    cause: "the Deployment refers to a Secret, or to a key of it, that the namespace does not have",
};

/// A container that ends as soon as it is started.
const CRASHES: Guide = Guide {
    issue: "Issue #2: Pods Crash Immediately (CrashLoopBackOff)",
    symptom: "`kubectl get pods` says CrashLoopBackOff, and RESTARTS grows",
    cause: "the process ends while it starts; its last line (`kubectl logs --previous`) says why",
};

/// A pod that takes long before it serves.
const SLOW_START: Guide = Guide {
    issue: "Issue #10: Slow Pod Startup",
    symptom: "pods take long to become ready, and are restarted before they are",
    cause: "the process needs longer to start than its liveness probe allows",
};

/// A rollout that does not end.
const STUCK: Guide = Guide {
    issue: "Issue #8: Deployment Stuck in \"Progressing\"",
    symptom: "`kubectl rollout status` does not return; `kubectl get pods` says Pending",
    cause: "no node has what the new pods ask for",
};

/// A client that does not reach the hub, or not its endpoint.
const NOT_CONNECTED: Guide = Guide {
    issue: "Issue #5: \"Connection Refused\" from Claude Desktop",
    symptom: "the client says `Could not connect to server`; `curl -I URL` says something else than 200 and `text/event-stream`",
    cause: "the URL in the client's configuration lacks the endpoint: it must end with `/sse` (or `/mcp`), not with `/`",
};

/// A Service that does not answer outside of the cluster.
const NOT_ACCESSIBLE: Guide = Guide {
    issue: "Issue #4: Service Not Accessible Externally",
    symptom: "`curl` says `Connection refused`, or waits in vain, although every pod is ready",
    cause: "the way ends before the pods: at the proxy, at the NodePort, or at a Service that selects none of them",
};

/// A session that another replica does not know.
const NOT_FOUND: Guide = Guide {
    issue: "Issue #1: \"Could not find session\" Errors with Claude Desktop",
    symptom: "`Error POSTing to endpoint (HTTP 404): Could not find session`, although the Service has ClientIP affinity",
    cause: "kube-proxy remembers clients per node: through another node the same client may get another replica, and its session \
            lives in one process",
};

/// A session on each replica, each with an open stream where the transport has one; `None` when some replica gave none,
/// which is in the transcript.
async fn one_each(stage: &Stage) -> anyhow::Result<Option<Vec<Holder>>> {
    let holders = stage.one_per_replica().await?;
    for holder in holders.iter().filter(|_| stage.transport() == Transport::Streamable) {
        if let Some(owner) = &holder.owner {
            holder.session.listen(&stage.at(owner)?).await;
        }
    }
    Ok((holders.len() == stage.replica_count()).then_some(holders))
}

/// What clients see while the fault lasts: sessions that are there are used on every path, and a new one is opened.
async fn meanwhile(stage: &Stage, holders: &[Holder]) -> anyhow::Result<()> {
    for holder in holders {
        stage.exercise(holder).await?;
    }
    if let Some(new) = stage.open("meanwhile", &stage.service()).await {
        stage.exercise(&new).await?;
    }
    Ok(())
}

/// What clients see once the remedy was applied: the cluster settles, sessions that are still there are used, and a new one
/// is opened at each replica and used on every path.
async fn recover(stage: &Stage, settled: Condition, holders: &[Holder]) -> anyhow::Result<()> {
    stage.expect(settled).await;
    stage.step("recovery");
    for holder in holders {
        stage.exercise(holder).await?;
    }
    if stage.replicas().is_empty() {
        // Nobody serves: that is seen where every client would look.
        stage.open("new", &stage.service()).await;
    }
    for (idx, replica) in stage.replicas().iter().enumerate() {
        // A Service with affinity knows only the clients that came through it.
        let target = match stage.affinity() {
            Affinity::Off => stage.at(replica)?,
            Affinity::ClientIp => stage.service(),
        };
        if let Some(new) = stage.open(&format!("new-{}", idx + 1), &target).await {
            stage.exercise(&new).await?;
        }
    }
    Ok(())
}
