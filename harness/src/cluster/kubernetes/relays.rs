//! Relays as pods: on a cluster whose network this machine is not on, each wire client is a pod of its own.
//!
//! Relays are of the run, in a namespace of their own, and are started as clients appear. A connection reaches its
//! relay through the API server, and from there it goes to the Service's own address, as any pod's would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::context::said;
use super::{LABEL_MANAGED_BY, MANAGER, UpError};

/// Where a relay listens.
const PORT: u16 = 7000;

/// So many relays are started before anyone asks.
const AT_ONCE: usize = 4;

/// So many pods are started at a time: the cluster may be others' too.
const STARTING: usize = 4;

/// How long a relay may take from its creation until it listens, the pull of its image included.
const LISTENS: Duration = Duration::from_secs(120);

const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Why a container waits that will not start, or not soon.
const HOPELESS: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// The relays of one run.
pub(in crate::cluster) struct RelayPods {
    client: Client,
    namespace: String,
    image: String,
    /// The names of the pods that listen, by the client's number.
    started: Mutex<Vec<Arc<OnceCell<String>>>>,
    starting: Mutex<JoinSet<()>>,
    permits: Semaphore,
}

/// Why a pod is not reached.
struct NoWay {
    why: String,
    /// Whether we may not, so that it does not help to ask again.
    is_refused: bool,
}

// === impl RelayPods ===

impl RelayPods {
    /// Starts the first relays, and returns when one of them listens.
    pub(super) async fn open(client: Client, namespace: String, image: String) -> Result<Arc<Self>, UpError> {
        let relays = Arc::new(Self {
            client,
            namespace,
            image,
            started: Mutex::default(),
            starting: Mutex::default(),
            permits: Semaphore::new(STARTING),
        });
        (1..AT_ONCE).for_each(|number| relays.prepare(number));
        let first = relays.name(0).await;
        first.map_err(|why| UpError::Relay { image: relays.image.clone(), why })?;
        Ok(relays)
    }

    /// Starts the relay of the client of this number in the background.
    fn prepare(self: &Arc<Self>, number: usize) {
        let relays = Arc::clone(self);
        lock(&self.starting).spawn(async move { relays.ready(number).await });
    }

    /// Returns when the relay of the client of this number is there, which is started when it is not, or cannot be had.
    pub(in crate::cluster) async fn ready(&self, number: usize) {
        if let Err(why) = self.name(number).await {
            tracing::warn!("relay {number}: {why}");
        }
    }

    /// A way to the relay of the client of this number, which is started when it is not yet there.
    pub(in crate::cluster) async fn pipe(&self, number: usize) -> Result<DuplexStream, String> {
        let name = self.name(number).await?;
        self.forwarded(&name).await.map_err(|no_way| no_way.why)
    }

    async fn name(&self, number: usize) -> Result<String, String> {
        self.cell(number).get_or_try_init(|| self.start(number)).await.cloned()
    }

    fn cell(&self, number: usize) -> Arc<OnceCell<String>> {
        let mut started = lock(&self.started);
        if started.len() <= number {
            started.resize_with(number + 1, Arc::default);
        }
        Arc::clone(&started[number])
    }

    async fn start(&self, number: usize) -> Result<String, String> {
        let _permit = self.permits.acquire().await;
        let name = format!("relay-{number}");
        let pod = pod(&name, &self.image).map_err(|error| error.to_string())?;
        match self.pods().create(&made_by_us(), &pod).await {
            Ok(_) => {}
            // Made before, and then it was not waited for to the end.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(said(&error)),
        }
        let listens = async {
            let started = await_condition(self.pods(), &name, |pod: Option<&Pod>| state(pod).is_some());
            let pod = started.await.map_err(|error| error.to_string())?;
            match state(pod.as_ref()) {
                Some(Err(why)) => Err(why),
                _ => self.listens(&name).await,
            }
        };
        match tokio::time::timeout(LISTENS, listens).await {
            Ok(listens) => listens.map(|()| name),
            Err(_) => Err(format!("pod {name} does not listen after {} s", LISTENS.as_secs())),
        }
    }

    /// Returns when the relay answers: to a line that names no address, it says that it does not. Or when we may not
    /// forward to it: from 1.35 on that takes the verb `create`, as it always did for `kubectl`.
    async fn listens(&self, name: &str) -> Result<(), String> {
        let mut again = tokio::time::interval(TRY_AGAIN);
        loop {
            again.tick().await;
            let stream = match self.forwarded(name).await {
                Ok(stream) => stream,
                Err(NoWay { why, is_refused: true }) => return Err(why),
                Err(_) => continue,
            };
            let mut stream = BufReader::new(stream);
            let mut said = String::new();
            let asked = stream.write_all(b"\n").await.is_ok() && stream.read_line(&mut said).await.is_ok();
            if asked && said.starts_with('-') {
                return Ok(());
            }
        }
    }

    async fn forwarded(&self, name: &str) -> Result<DuplexStream, NoWay> {
        let mut forwarded = self.pods().portforward(name, &[PORT]).await.map_err(|error| NoWay {
            why: format!("forwarding to {name}: {}", said(&error)),
            is_refused: matches!(error, kube::Error::Api(status) if [401, 403].contains(&status.code)),
        })?;
        let stream = forwarded.take_stream(PORT);
        stream.ok_or_else(|| NoWay { why: format!("forwarding to {name}: no stream"), is_refused: false })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

// === helpers ===

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is made is noted as ours, as what is applied is.
pub(super) fn made_by_us() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// A pod that runs the relay.
pub(super) fn pod(name: &str, image: &str) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { LABEL_MANAGED_BY: MANAGER } },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "relay",
                "image": image,
                "command": ["/relay"],
                "args": [format!("0.0.0.0:{PORT}")],
                "ports": [{ "containerPort": PORT, "protocol": "TCP" }],
                "resources": {
                    "requests": { "cpu": "10m", "memory": "16Mi" },
                    "limits": { "memory": "64Mi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    }))
}

/// Whether its container runs, or why it will not; nothing as long as neither is known.
fn state(pod: Option<&Pod>) -> Option<Result<(), String>> {
    let statuses = pod?.status.as_ref()?.container_statuses.as_ref()?;
    let status: &ContainerStatus = statuses.first()?;
    let state = status.state.as_ref()?;
    let told = |reason: &Option<String>, message: &Option<String>| {
        let message = message.as_deref().filter(|message| !message.is_empty());
        let reason = reason.clone().unwrap_or_default();
        message.map_or(reason.clone(), |message| format!("{reason} ({message})"))
    };
    if state.running.is_some() {
        return Some(Ok(()));
    }
    if let Some(ended) = &state.terminated {
        return Some(Err(format!("it ended: {}", told(&ended.reason, &ended.message))));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    HOPELESS.contains(&reason).then(|| Err(told(&waiting.reason, &waiting.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_state(state: serde_json::Value) -> Pod {
        let mut pod = pod("relay-0", "example.com/hub:1").unwrap();
        let status = json!({ "containerStatuses": [{ "name": "relay", "image": "", "imageID": "", "ready": false,
                                             "restartCount": 0, "state": state }] });
        pod.status = Some(serde_json::from_value(status).unwrap());
        pod
    }

    #[test]
    fn a_relay_runs_or_it_is_told_why_not() {
        let told = |value| state(Some(&with_state(value)));
        assert_eq!(told(json!({ "running": {} })), Some(Ok(())));
        assert_eq!(told(json!({ "waiting": { "reason": "ContainerCreating" } })), None);
        assert_eq!(
            told(json!({ "waiting": { "reason": "ErrImagePull", "message": "not found" } })),
            Some(Err("ErrImagePull (not found)".to_owned()))
        );
        assert_eq!(
            told(
                json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": "no /relay" } })
            ),
            Some(Err("it ended: StartError (no /relay)".to_owned()))
        );
        assert_eq!(state(None), None);
    }
}
