//! One node of the cluster: a container, and what can be asked and done in it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ContainerInspectResponse;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::KindError;
use crate::cluster::ProcessCount;

/// The label that KIND gives nodes.
pub(super) const LABEL_CLUSTER: &str = "io.x-k8s.kind.cluster";

/// The label that says what a node is.
const LABEL_ROLE: &str = "io.x-k8s.kind.role";

/// The mount by which we know a node that we made.
pub(super) const MARK: &str = "/etc/made-by-hubcheck";

/// How long the kernel's news of a connection may take to reach us: over half a second on a busy machine.
const TOLD: Duration = Duration::from_secs(5);

/// How many connections are remembered.
const REMEMBERED: usize = 10_000;

/// A node, as it was when it was looked at.
pub(super) struct Node {
    docker: Docker,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) ip: Option<IpAddr>,
    pub(super) network: String,
    pub(super) is_worker: bool,
    pub(super) is_running: bool,
    pub(super) is_ours: bool,
    tracker: OnceCell<Arc<Tracker>>,
}

/// Hears from the kernel of a node which pod each connection to a node port was given to.
pub(in crate::cluster) struct Tracker {
    routed: Arc<Mutex<HashMap<SocketAddr, IpAddr>>>,
    told: Arc<Notify>,
    task: AbortOnDropHandle<()>,
}

/// A command that runs on a node.
pub(super) struct Running {
    pub(super) id: String,
    pub(super) output:
        std::pin::Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    pub(super) input: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
}

// === impl Node ===

impl Node {
    pub(super) fn of(docker: Docker, inspected: ContainerInspectResponse) -> Self {
        let config = inspected.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let (network, endpoint) = networks.into_iter().next().unwrap_or_default();
        let ip = endpoint.ip_address.and_then(|ip| ip.to_string().parse().ok());
        let mounts = inspected.mounts.unwrap_or_default();
        Self {
            docker,
            name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: config.image.unwrap_or_default(),
            ip,
            network,
            is_worker: labels.get(LABEL_ROLE).is_some_and(|role| role == "worker"),
            is_running: inspected.state.and_then(|state| state.running).unwrap_or(false),
            is_ours: mounts.iter().any(|mount| mount.destination.as_deref() == Some(MARK)),
            tracker: OnceCell::new(),
        }
    }

    /// Runs a shell command, and returns what it printed.
    pub(super) async fn sh(&self, command: &str) -> Result<String, KindError> {
        let mut running = self.start(&["sh", "-c", command], false).await?;
        let mut said = Vec::new();
        while let Some(chunk) = running.output.next().await {
            let chunk = chunk.map_err(KindError::docker(format!("hearing a command on {}", self.name)))?;
            said.extend_from_slice(&chunk.into_bytes());
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        match self.code(&running.id).await? {
            0 => Ok(said),
            code => Err(self.failed(command, code, said)),
        }
    }

    /// Starts a command.
    pub(super) async fn start(&self, command: &[&str], with_input: bool) -> Result<Running, KindError> {
        let options = CreateExecOptions {
            attach_stdin: Some(with_input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()),
            ..CreateExecOptions::default()
        };
        let doing = || format!("running a command on {}", self.name);
        let made = self.docker.create_exec(&self.name, options).await.map_err(KindError::docker(doing()))?;
        let options = StartExecOptions { detach: false, tty: false, output_capacity: Some(64 * 1024) };
        let started = self.docker.start_exec(&made.id, Some(options)).await;
        match started.map_err(KindError::docker(doing()))? {
            StartExecResults::Attached { output, input } => Ok(Running { id: made.id, output, input }),
            StartExecResults::Detached => Err(self.failed(&command.join(" "), -1, "detached".to_owned())),
        }
    }

    /// The exit code of a command whose output has ended.
    pub(super) async fn code(&self, id: &str) -> Result<i64, KindError> {
        let ended = self.docker.inspect_exec(id).await;
        let ended =
            ended.map_err(KindError::docker(format!("asking how a command on {} ended", self.name)))?;
        ended.exit_code.ok_or_else(|| self.failed("a command", -1, "it has not ended".to_owned()))
    }

    pub(super) fn failed(&self, command: &str, code: i64, said: String) -> KindError {
        let said = said.trim().to_owned();
        KindError::OnNode { node: self.name.clone(), command: command.to_owned(), code, said }
    }

    /// How many processes a container has: found by its cgroup.
    pub(super) async fn processes(&self, container: &str) -> Result<ProcessCount, KindError> {
        let container = hexadecimal(container)?;
        let command = format!(
            "for found in $(grep -ls {container} /proc/[0-9]*/cgroup); do cat ${{found%cgroup}}stat 2>/dev/null; done; true"
        );
        Ok(ProcessCount::of_stats(self.sh(&command).await?.lines()))
    }

    /// The process of a container that is its PID 1: found by its cgroup, whatever the runtime is.
    pub(super) async fn pid(&self, container: &str) -> Result<u32, KindError> {
        let gone = || KindError::NoProcess(container.to_owned());
        let container = hexadecimal(container)?;
        let command = format!(
            "for found in $(grep -ls {container} /proc/[0-9]*/cgroup); do \
             grep -sq '^NSpid:.*[[:space:]]1$' ${{found%cgroup}}status && echo $found; done; true"
        );
        let found = self.sh(&command).await?;
        let pid = found.lines().next().and_then(|line| line.split('/').nth(2)?.parse().ok());
        pid.ok_or_else(gone)
    }

    /// A Service without endpoints refuses by ICMP, of which a kernel sends one peer about one a second, and none for long
    /// while it also sends that peer redirects, as a node does on the network that it shares with the relays: a client would
    /// wait for nothing. So the limit goes, in this node of ours.
    pub(super) async fn tell_of_every_refusal(&self) {
        if let Err(error) = self.sh("echo 0 > /proc/sys/net/ipv4/icmp_ratelimit").await {
            tracing::debug!("refusals may come late: {error}");
        }
    }

    /// The pods that kube-proxy's rules give a Service's connections to; nothing while they do not name the Service at all,
    /// when a node port may be listened at by kube-proxy itself, which answers nobody.
    pub(super) async fn routes(&self, service: &str) -> Result<Option<Vec<IpAddr>>, KindError> {
        let rules = self.sh(&format!("iptables-save | grep -F '{service}'; true")).await?;
        Ok(destinations(&rules, service))
    }

    /// What tells the pod that a connection reached.
    pub(super) async fn tracker(&self) -> Arc<Tracker> {
        Arc::clone(self.tracker.get_or_init(|| Tracker::start(self)).await)
    }
}

/// Whether Kubernetes says that every one of these nodes is ready.
pub(super) async fn all_ready(nodes: &[Arc<Node>]) -> bool {
    let Some(control_plane) = nodes.iter().find(|node| !node.is_worker) else { return false };
    let command = "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=5s get nodes \
                   -o jsonpath='{.items[*].status.conditions[?(@.type==\"Ready\")].status}'";
    match control_plane.sh(command).await {
        Ok(said) => {
            let states: Vec<&str> = said.split_whitespace().collect();
            states.len() == nodes.len() && states.iter().all(|state| *state == "True")
        }
        Err(error) => {
            tracing::debug!("asking for the nodes: {error}");
            false
        }
    }
}

// === impl Tracker ===

impl Tracker {
    async fn start(node: &Node) -> Arc<Self> {
        // A command outlives its connection to Docker, unless it watches its input.
        let command =
            "conntrack -E -e NEW -p tcp -o extended 2>/dev/null & told=$!; cat >/dev/null; kill $told";
        let routed: Arc<Mutex<HashMap<SocketAddr, IpAddr>>> = Arc::default();
        let told = Arc::new(Notify::new());
        let running = node.start(&["sh", "-c", command], true).await;
        let task = tokio::spawn({
            let (routed, told) = (Arc::clone(&routed), Arc::clone(&told));
            let name = node.name.clone();
            async move {
                match running {
                    Ok(running) => listen(running, &routed, &told).await,
                    Err(error) => tracing::warn!("connections of {name} cannot be told: {error}"),
                }
            }
        });
        Arc::new(Self { routed, told, task: AbortOnDropHandle::new(task) })
    }

    /// The pod that the connection from this address reached.
    pub(in crate::cluster) async fn routed(&self, from: SocketAddr) -> Option<IpAddr> {
        let found = async {
            loop {
                let told = self.told.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                if let Some(pod) = lock(&self.routed).remove(&from) {
                    return pod;
                }
                told.await;
            }
        };
        if self.task.is_finished() {
            return None;
        }
        tokio::time::timeout(TOLD, found).await.ok()
    }
}

async fn listen(mut running: Running, routed: &Mutex<HashMap<SocketAddr, IpAddr>>, told: &Notify) {
    let mut rest = String::new();
    while let Some(Ok(chunk)) = running.output.next().await {
        rest.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            let Some((from, pod)) = tracked(&line) else { continue };
            let mut routed = lock(routed);
            if routed.len() > REMEMBERED {
                routed.clear();
            }
            routed.insert(from, pod);
            told.notify_waiters();
        }
    }
}

// === helpers ===

/// A container's id, which becomes part of a command.
fn hexadecimal(container: &str) -> Result<&str, KindError> {
    let is_id = !container.is_empty() && container.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then_some(container).ok_or_else(|| KindError::NoProcess(container.to_owned()))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The addresses of the rules `-A KUBE-SEP-.. --comment "namespace/service:port" .. --to-destination 10.244.1.5:8000`. A
/// Service without endpoints has a rule that refuses; one that kube-proxy has not come to has none.
fn destinations(rules: &str, service: &str) -> Option<Vec<IpAddr>> {
    let is_of = |rule: &str| {
        rule.split_once(service)
            .is_some_and(|(before, after)| before.ends_with(['"', ' ']) && after.starts_with([':', '"', ' ']))
    };
    let destination = |rule: &str| {
        let (_, to) = rule.split_once("--to-destination ")?;
        let to = to.split_whitespace().next()?;
        to.parse().map(|to: SocketAddr| to.ip()).ok()
    };
    let mut rules = rules.lines().filter(|rule| is_of(rule)).peekable();
    rules.peek()?;
    Some(rules.filter_map(destination).collect())
}

/// Where a new connection came from, and whose answers it gets: of a line of `conntrack -E`.
fn tracked(line: &str) -> Option<(SocketAddr, IpAddr)> {
    let all = |key: &'static str| line.split_whitespace().filter_map(move |word| word.strip_prefix(key));
    let mut sources = all("src=");
    let from: IpAddr = sources.next()?.parse().ok()?;
    let pod: IpAddr = sources.next()?.parse().ok()?;
    let port: u16 = all("sport=").next()?.parse().ok()?;
    // Without translation the answers come from where the connection went.
    let to: IpAddr = all("dst=").next()?.parse().ok()?;
    (pod != to).then_some((SocketAddr::new(from, port), pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_told_by_whose_answers_it_gets() {
        let line = " [NEW] ipv4     2 tcp      6 120 SYN_SENT src=172.18.0.9 dst=172.18.0.2 sport=43822 dport=31234 \
                    [UNREPLIED] src=10.244.1.5 dst=172.18.0.2 sport=8000 dport=3344";
        let from = "172.18.0.9:43822".parse().unwrap();
        assert_eq!(tracked(line), Some((from, "10.244.1.5".parse().unwrap())));
        let direct = line.replace("10.244.1.5", "172.18.0.2");
        assert_eq!(tracked(&direct), None);
        assert_eq!(tracked("conntrack v1.4.7"), None);
    }

    #[test]
    fn rules_are_read_as_kube_proxy_writes_them() {
        let rules = "\
-A KUBE-SEP-A -s 10.244.1.5/32 -m comment --comment \"run-1/mcp:http\" -j KUBE-MARK-MASQ
-A KUBE-SEP-A -p tcp -m comment --comment \"run-1/mcp:http\" -m tcp -j DNAT --to-destination 10.244.1.5:8000
-A KUBE-SEP-B -p tcp -m comment --comment run-1/mcp -m recent --set -m tcp -j DNAT --to-destination 10.244.2.6:80
-A KUBE-SEP-C -p tcp -m comment --comment \"run-1/mcp-2:http\" -m tcp -j DNAT --to-destination 10.244.2.7:8000
-A KUBE-SEP-D -p tcp -m comment --comment \"a-run-1/mcp:http\" -m tcp -j DNAT --to-destination 10.244.2.8:8000
";
        let expected: Vec<IpAddr> = ["10.244.1.5", "10.244.2.6"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(destinations(rules, "run-1/mcp"), Some(expected));
        assert_eq!(destinations(rules, "run-1/hub"), None);
        let refusing = "-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"run-1/hub:http has no endpoints\" -m addrtype \
                        --dst-type LOCAL -m tcp --dport 30941 -j REJECT --reject-with icmp-port-unreachable";
        assert_eq!(destinations(refusing, "run-1/hub"), Some(Vec::new()));
    }
}
