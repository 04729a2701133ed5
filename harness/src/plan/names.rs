//! What users call the axes, the tools and the needs.

use std::fmt;

use super::{Affinity, Need, Transport};

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Sse => "sse",
            Transport::Streamable => "streamable",
            Transport::Stateless => "stateless",
        })
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Affinity::Off => "off",
            Affinity::ClientIp => "client-ip",
        })
    }
}

impl Transport {
    /// Every transport, the oldest first.
    pub const ALL: [Transport; 3] = [Transport::Sse, Transport::Streamable, Transport::Stateless];
}

/// Reads after "needs": `needs 2 replicas`, `needs tool whoami`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Replicas(n) => write!(f, "{n} replicas"),
            Need::ReplicasSeen => f.write_str("two replicas that are seen to answer"),
            Need::Speaks(transport) => write!(f, "transport {transport}"),
            Need::SessionIds(transport) => write!(f, "session ids over {transport}"),
            Need::EventIds => f.write_str("event ids on its streams"),
            Need::GetAnswered => {
                f.write_str("an answer to the GET of its endpoint: see survey/get-answered@streamable")
            }
            Need::DeleteAnswered => {
                f.write_str("an answer to the DELETE of a session: see survey/delete-answered@streamable")
            }
            Need::Way(scenario, Some(transport)) => {
                write!(f, "a usable way to the hub: see {scenario}@{transport}")
            }
            Need::Way(scenario, None) => write!(f, "a usable way to the hub: see {scenario}"),
            Need::Unlimited => {
                f.write_str("a hub that does not limit requests (429): raise its limit, or give `--jobs 1`")
            }
            Need::Tool(tool) => write!(f, "tool {tool}"),
            Need::Permission(tool) => write!(f, "permission to call tool `{tool}` (`--tool {tool}`)"),
            Need::HeldCall => f.write_str("tool tally or sleep"),
            Need::SlowCall => f.write_str("a call that takes 3 to 20 s (`--call 'NAME {..}'`, or tool tally or sleep)"),
            Need::Progress => f.write_str("a call that reports progress (`--call 'NAME {..}'`, or tool count)"),
            Need::Repeats => {
                f.write_str("an answer that repeats what was sent (tool echo, or the name of an unknown tool in an error)")
            }
            Need::ReadinessAsks => f.write_str("a readiness probe that asks the hub (`--ready-path`)"),
            Need::Aim => f.write_str("a way to reach one replica"),
            Need::Affinity => f.write_str("control of the Service's affinity"),
            Need::ClientAddresses => f.write_str("clients with addresses of their own"),
            Need::Routed => f.write_str("a way to tell which replica answered"),
            Need::KillProcess => f.write_str("a way to kill a replica's process"),
            Need::SignalProcess => f.write_str("a way to signal a replica's process"),
            Need::Processes => f.write_str("sight of a replica's processes (`--backend local` or `kind`)"),
            Need::DeletePod => f.write_str("a way to delete a pod"),
            Need::Scale => f.write_str("a Deployment to scale"),
            Need::Rollout => f.write_str("a Deployment to roll"),
            Need::Edit => f.write_str("manifests that can be edited"),
            Need::Secret => f.write_str("a Secret among the manifests that the hub's container refers to"),
            Need::SessionKey => f.write_str("SESSION_KEY from a Secret (the reference hub)"),
            Need::MemoryLimit => f.write_str("a memory limit (`resources.limits.memory`)"),
            Need::LivenessProbe => f.write_str("a liveness probe (`livenessProbe`)"),
            Need::Token => f.write_str("a token (`--header Authorization=..`)"),
            Need::Origin => f.write_str("an origin that may call the hub from a browser (`--origin`)"),
            Need::Outside => f.write_str("a hub that is started by a command line (`--backend local`), or the reference hub"),
            Need::TakenPort => f.write_str("a hub on `--backend local` that listens at HOST and PORT, or the reference hub"),
            Need::ReferenceHub => f.write_str("the reference hub, whose settings are known"),
            Need::Images => f.write_str("nodes that images are loaded into (`--backend kind`)"),
            Need::Scheduler => f.write_str("a scheduler (`--backend kind` or `kube`)"),
            Need::Nodes => f.write_str("several nodes (`--backend kind`)"),
            Need::Evictions => f.write_str("evictions and PodDisruptionBudgets (`policy/v1`, or `v1beta1`)"),
            Need::Kubeconfig => f.write_str("a kubeconfig (`--backend kind` or `kube`)"),
        }
    }
}
