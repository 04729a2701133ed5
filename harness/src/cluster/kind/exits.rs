//! What a node's container runtime says of how containers ended: a kubelet that comes too late makes up 137.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::StreamExt;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::node::{Node, Running};

/// The exit codes of the containers of one node, from the moment on that this is started.
pub(super) struct Exits {
    codes: Codes,
    _task: AbortOnDropHandle<()>,
}

type Codes = Arc<Mutex<HashMap<String, Exit>>>;

/// How a process ended, and when by the clock of its node, which is this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// When, where the runtime says that.
    pub at: Option<SystemTime>,
}

impl Exits {
    pub(super) async fn start(node: &Node) -> Self {
        // A command outlives its connection to Docker, unless it watches its input.
        let command = "ctr --namespace=k8s.io events 2>/dev/null & told=$!; cat >/dev/null; kill $told";
        let running = node.start(&["sh", "-c", command], true).await;
        let codes = Codes::default();
        let task = tokio::spawn({
            let (codes, name) = (Arc::clone(&codes), node.name.clone());
            async move {
                match running {
                    Ok(running) => listen(running, &codes).await,
                    Err(error) => tracing::debug!("how containers of {name} end cannot be told: {error}"),
                }
            }
        });
        Self { codes, _task: AbortOnDropHandle::new(task) }
    }

    /// The end of a container's main process, when it was seen.
    pub(super) fn of(&self, container: &str) -> Option<Exit> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).get(container).copied()
    }
}

async fn listen(mut running: Running, codes: &Codes) {
    let mut rest = String::new();
    while let Some(Ok(chunk)) = running.output.next().await {
        rest.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            if let Some((container, exit)) = exited(&line) {
                codes.lock().unwrap_or_else(PoisonError::into_inner).insert(container, exit);
            }
        }
    }
}

/// The container and its end, of a line of `ctr events` about a main process: the one named like its container.
fn exited(line: &str) -> Option<(String, Exit)> {
    let (_, event) = line.split_once("/tasks/exit ")?;
    let event: Value = serde_json::from_str(event.trim()).ok()?;
    let container = event["container_id"].as_str()?;
    if event["id"].as_str() != Some(container) {
        return None;
    }
    // What is zero is left out.
    let code = event["exit_status"].as_i64().unwrap_or(0);
    let at = event["exited_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let exit = Exit { code: i32::try_from(code).ok()?, at: at.map(SystemTime::from) };
    Some((container.to_owned(), exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_main_process_counts() {
        let line = |id: &str, status: &str| {
            format!(
                "2026-01-01 00:00:00.0 +0000 UTC k8s.io /tasks/exit \
                 {{\"container_id\":\"ab12\",\"id\":\"{id}\",\"pid\":7{status},\"exited_at\":\"2026-01-01T00:00:00.25Z\"}}\n"
            )
        };
        let at = Some("2026-01-01T00:00:00.25Z".parse::<Timestamp>().unwrap().into());
        let exit = |code| Some(("ab12".to_owned(), Exit { code, at }));
        assert_eq!(exited(&line("ab12", ",\"exit_status\":137")), exit(137));
        assert_eq!(exited(&line("ab12", "")), exit(0));
        assert_eq!(exited(&line("exec-1", "")), None);
        assert_eq!(exited("2026-01-01 k8s.io /tasks/start {}"), None);
    }
}
