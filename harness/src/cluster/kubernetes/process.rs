//! A replica's main process on its node: signals to it, its pod's deletion, and its end.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use super::{Kubernetes, LOOK_AGAIN, refused};
use crate::cluster::kind::{Kind, KindError};
use crate::cluster::process::Signal;
use crate::cluster::{FaultError, ProcessCount};
use crate::transcript::{Fault, What};

/// How long a node's runtime may take to tell that a process has ended.
const EXIT_TOLD: Duration = Duration::from_secs(5);

/// The main process of a container that runs on a node of ours.
struct Process<'a> {
    kind: &'a Arc<Kind>,
    node: String,
    container: String,
    /// As its node counts.
    pid: u32,
}

impl Kubernetes {
    /// Sends SIGKILL to the replica's main process, from its node: the same pod is restarted.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica or its container does not run; so for the other signals.
    pub async fn kill(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Kill, Fault::Kill { replica: replica.to_owned() }).await
    }

    /// Sends SIGSTOP to the replica's main process, from its node: PID 1 ignores it from inside.
    ///
    /// # Errors
    ///
    /// As [`Kubernetes::kill`].
    pub async fn stop(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Stop, Fault::Stop { replica: replica.to_owned() }).await
    }

    /// Sends SIGCONT to the replica's main process.
    ///
    /// # Errors
    ///
    /// As [`Kubernetes::kill`].
    pub async fn cont(&self, replica: &str) -> Result<(), FaultError> {
        self.signal(replica, Signal::Continue, Fault::Continue { replica: replica.to_owned() }).await
    }

    /// Deletes the pod; its Deployment makes another. Without a grace period the pod's own holds.
    ///
    /// A grace period of zero ends the process at once, as it says, where the node is ours: elsewhere its kubelet still gives it
    /// 2 s, after its record is gone.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no such replica.
    pub async fn delete(&self, replica: &str, grace: Option<Duration>) -> Result<(), FaultError> {
        let own = {
            let view = self.view.borrow();
            view.pod(replica).ok_or_else(|| FaultError::NoReplica(replica.to_owned()))?.grace_s
        };
        let process = match grace {
            // One whose container does not run has none, and needs none to be ended.
            Some(Duration::ZERO) => self.process(replica).await.ok(),
            _ => None,
        };
        let grace_s = grace.map_or(own, |grace| grace.as_secs());
        self.recorder.record(What::Fault(Fault::Delete { replica: replica.to_owned(), grace_s }));
        let params = match grace {
            Some(grace) => DeleteParams::default().grace_period(u32::try_from(grace.as_secs()).unwrap_or(0)),
            None => DeleteParams::default(),
        };
        let pods = self.objects.api::<Pod>();
        pods.delete(replica, &params).await.map_err(|error| refused("deleting a pod", error))?;
        if let Some(process) = &process
            && let Err(error) = process.signal(Signal::Kill).await
        {
            tracing::debug!("killing {replica}: {error}");
        }
        self.seen(|view| view.pod(replica).is_none_or(|pod| pod.is_terminating())).await;
        if let Some(process) = process {
            self.tell_exit(replica, &process).await;
        }
        Ok(())
    }

    /// Notes when the process of a pod ended of which the API has no record any more: that may be after its record's end.
    async fn tell_exit(&self, replica: &str, process: &Process<'_>) {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let exited = async {
            loop {
                look.tick().await;
                if let Some(at) =
                    process.kind.exit(&process.node, &process.container).and_then(|exit| exit.at)
                {
                    return at;
                }
            }
        };
        if let Ok(at) = tokio::time::timeout(EXIT_TOLD, exited).await {
            let at_us = self.recorder.at_us(at);
            self.recorder.record(What::Exited { pod: replica.to_owned(), at_us });
        }
    }

    /// How many processes the replica's container has, by its node.
    ///
    /// # Errors
    ///
    /// As [`Kubernetes::kill`].
    pub async fn processes(&self, replica: &str) -> Result<ProcessCount, FaultError> {
        let (kind, node, container) = self.container(replica)?;
        let count = kind.processes(&node, &container).await;
        count.map_err(|error| FaultError::refused(format!("cannot count processes of `{replica}`: {error}")))
    }

    async fn signal(&self, replica: &str, signal: Signal, fault: Fault) -> Result<(), FaultError> {
        let process = self.process(replica).await?;
        self.recorder.record(What::Fault(fault));
        process.signal(signal).await.map_err(|error| cannot_signal(replica, &error))
    }

    /// The replica's main process.
    async fn process(&self, replica: &str) -> Result<Process<'_>, FaultError> {
        let (kind, node, container) = self.container(replica)?;
        let pid = kind.pid(&node, &container).await.map_err(|error| cannot_signal(replica, &error))?;
        Ok(Process { kind, node, container, pid })
    }

    /// The node that the replica's container runs on, and the container's id.
    fn container(&self, replica: &str) -> Result<(&Arc<Kind>, String, String), FaultError> {
        let (node, container) = {
            let view = self.view.borrow();
            let pod = view.pod(replica).ok_or_else(|| FaultError::NoReplica(replica.to_owned()))?;
            let place = pod.node.clone().zip(pod.seen.running.clone());
            place.ok_or_else(|| FaultError::NotRunning(replica.to_owned()))?
        };
        Ok((self.site.kind().ok_or_else(no_node)?, node, container))
    }
}

// === impl Process ===

impl Process<'_> {
    async fn signal(&self, signal: Signal) -> Result<(), KindError> {
        self.kind.signal(&self.node, self.pid, signal).await
    }
}

fn cannot_signal(replica: &str, error: &KindError) -> FaultError {
    FaultError::Signal { replica: replica.to_owned(), error: std::io::Error::other(error.to_string()) }
}

/// A plan admits no signal here; should one come, this is why it cannot be.
fn no_node() -> FaultError {
    FaultError::Refused(
        "the nodes of this cluster are not ours: their processes cannot be signalled".to_owned(),
    )
}
