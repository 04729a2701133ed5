//! What replicas print, followed from the start of each container.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, LogParams};
use tokio::task::JoinSet;

use crate::transcript::{Recorder, What};

/// How many lines of a pod are kept for [`Logs::kept`].
const KEPT: usize = 200;

/// How many lines of a pod are recorded: one that prints without end must not fill the transcript.
const RECORDED: usize = 1000;

/// What a kubelet answers in place of a container's lines, with 200, when its runtime does not tell it of the container at that
/// moment: seen right after a container's end on a busy node.
const UNRETRIEVABLE: &str = "unable to retrieve container logs for ";

/// What a kubelet adds to a container's lines when the container is removed while they are followed.
const REMOVED: &str = "an error occurred when try to find container";

/// How often a kubelet that cannot retrieve lines is asked, and how long it is left in peace in between.
const ASKED: usize = 8;
const AGAIN: Duration = Duration::from_millis(500);

/// The lines of every pod that there ever was.
pub(super) struct Logs {
    pods: Api<Pod>,
    recorder: Recorder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<String, Lines>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    recorded: usize,
    /// How often the container had been restarted whose lines were read last.
    followed: Option<u32>,
}

// === impl Logs ===

impl Logs {
    pub(super) fn new(client: Client, namespace: String, recorder: Recorder) -> Self {
        let pods = Api::namespaced(client, &namespace);
        Self { pods, recorder, state: Mutex::default() }
    }

    /// Follows the container that runs now; its end ends it. It is named: where there are others beside it, whoever names
    /// none is told nothing.
    pub(super) fn follow(self: &Arc<Self>, pod: &str, container: Option<&str>, restarts: u32) {
        self.lock().lines.entry(pod.to_owned()).or_default().followed = Some(restarts);
        let container = container.map(str::to_owned);
        self.read(pod, LogParams { container, follow: true, ..LogParams::default() });
    }

    /// Reads what a container printed that ended before it could be followed.
    pub(super) fn ended(self: &Arc<Self>, pod: &str, container: Option<&str>, restarts: u32) {
        let followed = self.lock().lines.get(pod).and_then(|lines| lines.followed);
        // The count may have been raised for the container that follows.
        if followed.is_none_or(|followed| followed + 1 < restarts) {
            self.lock().lines.entry(pod.to_owned()).or_default().followed = Some(restarts);
            let container = container.map(str::to_owned);
            self.read(pod, LogParams { container, previous: restarts > 0, ..LogParams::default() });
        }
    }

    /// The last lines, at most so many.
    pub(super) fn last(&self, pod: &str, count: usize) -> Vec<String> {
        let state = self.lock();
        let Some(lines) = state.lines.get(pod) else { return Vec::new() };
        lines.kept.iter().skip(lines.kept.len().saturating_sub(count)).cloned().collect()
    }

    /// Every line that is kept.
    pub(super) fn kept(&self, pod: &str) -> Vec<String> {
        self.last(pod, KEPT)
    }

    fn read(self: &Arc<Self>, pod: &str, params: LogParams) {
        let logs = Arc::downgrade(self);
        let pods = self.pods.clone();
        let pod = pod.to_owned();
        let mut state = self.lock();
        // What has ended is forgotten here, where there is always a next time.
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(async move {
            let mut again = tokio::time::interval(AGAIN);
            for _ in 0..ASKED {
                again.tick().await;
                let stream = match pods.log_stream(&pod, &params).await {
                    Ok(stream) => stream,
                    // There is no such pod or container, or we may not.
                    Err(kube::Error::Api(status)) if status.code < 500 => {
                        return tracing::debug!("logs of {pod}: {status}");
                    }
                    Err(error) => {
                        tracing::debug!("logs of {pod}: {error}");
                        continue;
                    }
                };
                let mut lines = stream.lines();
                let mut is_told = true;
                while let Ok(Some(line)) = lines.try_next().await {
                    let Some(logs) = logs.upgrade() else { return };
                    if line.starts_with("rpc error: ") && line.contains(REMOVED) {
                        continue;
                    }
                    is_told = !line.starts_with(UNRETRIEVABLE);
                    if is_told {
                        logs.push(&pod, &line);
                    }
                }
                if is_told {
                    return;
                }
            }
            tracing::debug!("logs of {pod}: the node cannot retrieve them");
        });
    }

    fn push(&self, pod: &str, line: &str) {
        let line = self.recorder.mask(line);
        let mut state = self.lock();
        let lines = state.lines.entry(pod.to_owned()).or_default();
        if lines.recorded < RECORDED {
            lines.recorded += 1;
            self.recorder.record(What::Log { pod: pod.to_owned(), line: line.clone() });
        }
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
