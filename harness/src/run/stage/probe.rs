//! What scenarios about single rules of the wire do: sessions that are only begun, and requests with a name.
//!
//! A probe is a request that is given a name: checks find it by that (`History::probes`, `History::probed_calls`).
//! `Session::raw` and its like make the request as a client would send it, `Raw` changes it, `Session::send` sends it and
//! waits for its answer where that belongs. Every wait has a limit: some servers never answer.

use serde_json::Value;

use super::{Holder, Stage, outcome_text};
use crate::transcript::{Path, What};
use crate::wire::{Outcome, Raw, Target};

impl Stage {
    /// Begins a session without `initialize` ([`Client::begin`]) and records it when it has an id, or records what came
    /// instead.
    pub async fn begin(
        &self,
        role: &str,
        target: &Target,
        change: impl FnOnce(Raw) -> Raw + Send,
    ) -> Option<Holder> {
        let client = self.client(role);
        let name = client.name().to_owned();
        match client.begin(self.transport(), target, change).await {
            Ok(session) => {
                if let Some(id) = session.id().map(str::to_owned) {
                    let owner = None;
                    self.recorder.record(What::Session { client: name, id: Some(id), owner });
                }
                let by_chance = target.path == Path::Service;
                Some(Holder { role: role.to_owned(), client, session, by_chance, owner: None })
            }
            Err(outcome) => {
                let why = format!("beginning a session: {}", outcome_text(&outcome));
                self.recorder.record(What::NoSession { client: name, why });
                None
            }
        }
    }

    /// Sends a JSON-RPC request under this name and waits for what becomes of it.
    pub async fn ask(
        &self,
        holder: &Holder,
        target: &Target,
        probe: &str,
        method: &str,
        params: Value,
    ) -> Outcome {
        holder.session.send(target, holder.session.raw(method, params).named(probe)).await
    }

    /// Opens a session, asks it for its tools under this name, and ends it: whether a hub still works after what was done
    /// to it.
    pub async fn still_serves(&self, role: &str, target: &Target, probe: &str) {
        if let Some(holder) = self.open(role, target).await {
            self.ask(&holder, target, probe, "tools/list", serde_json::json!({})).await;
            holder.session.end(target).await;
        }
    }
}
