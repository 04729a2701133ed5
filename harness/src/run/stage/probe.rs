//! What scenarios about single rules of the wire do: sessions that are only begun, and requests with a name.
//!
//! A probe is a request that is given a name: checks find it by that (`History::probes`, `History::probed_calls`).
//! `Session::raw` and its like make the request as a client would send it, `Raw` changes it, `Session::send` sends it and
//! waits for its answer where that belongs. Every wait has a limit: some servers never answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::words::body_text;
use super::{Holder, Stage, client_name, outcome_text};
use crate::plan::Need;
use crate::transcript::history::History;
use crate::transcript::{Path, What};
use crate::wire::{Answer, Client, Outcome, Raw, Session, Target};

impl Stage {
    /// Begins a session without `initialize` ([`Client::begin`]) and records it when it has an id, or records what came
    /// instead.
    pub async fn begin(
        &self,
        role: &str,
        target: &Target,
        change: impl FnOnce(Raw) -> Raw + Send,
    ) -> Option<Holder> {
        let client = self.client(role).await;
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

    /// Whether the answer to an `initialize` refuses the session; then that is recorded.
    pub fn was_refused(&self, client: &Client, answer: &Answer) -> bool {
        let Some(status) = answer.status.filter(|status| *status >= 400) else { return false };
        let why = format!("beginning a session: {status} {}", body_text(&answer.body));
        self.recorder.record(What::NoSession { client: client.name().to_owned(), why });
        true
    }

    /// Credentials that are of the same kind as the user's, and are nobody's.
    pub fn wrong_credentials(&self) -> Option<String> {
        let scheme = self.dialect.authorization()?.split_whitespace().next()?;
        // Readable for `Basic` too: a name and a password.
        Some(format!("{scheme} {}", BASE64_STANDARD.encode("hubcheck:nobody")))
    }

    /// The origin whose pages may call the hub from a browser.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Straight to each ready replica, the oldest first; through the Service where no replica can be aimed at.
    ///
    /// # Errors
    ///
    /// When a replica goes meanwhile.
    pub fn everywhere(&self) -> anyhow::Result<Vec<Target>> {
        if !self.offers(Need::Aim) {
            return Ok(vec![self.service()]);
        }
        self.replicas().iter().map(|replica| self.at(replica)).collect()
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

    /// Records a session that probes opened, so that its id has a name in snapshots.
    pub fn opened(&self, client: &Client, session: &Session) {
        let (client, id) = (client.name().to_owned(), session.id().map(str::to_owned));
        self.recorder.record(What::Session { client, id, owner: None });
    }

    /// Waits until something was said on a stream that a request of this name opened, or it ended, for as long as any answer
    /// may take: whether it was is in the transcript.
    pub async fn until_spoken(&self, probe: &str) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let spoken = async {
            while !self.has_spoken(probe) {
                look.tick().await;
            }
        };
        // What never speaks is for a check to tell.
        drop(tokio::time::timeout(self.rig.timeouts.answer, spoken).await);
    }

    /// Waits until each call that was sent under this name has its answer, for as long as any answer may take: whether it has
    /// is in the transcript. For requests that [`Session::send`] does not wait for.
    pub async fn until_answered(&self, probe: &str) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let answered = async {
            while !self.is_answered(probe) {
                look.tick().await;
            }
        };
        drop(tokio::time::timeout(self.rig.timeouts.answer, answered).await);
    }

    /// A client that comes from the same address as another, as all do behind one proxy.
    pub fn neighbour(&self, of: &Client, role: &str) -> Client {
        let name = client_name(self.clients.fetch_add(1, Ordering::Relaxed));
        if role != name {
            self.recorder.record(What::Role { client: name.clone(), role: role.to_owned() });
        }
        of.called(name)
    }

    /// Notes of how many something came true.
    pub fn counted(&self, what: &str, count: usize, of: usize) {
        self.recorder.record(What::Counted { what: what.to_owned(), count, of });
    }

    /// The path straight to the replica that has been there the longest, where one can be reached on its own; else the path through
    /// the Service. For what is between one process and its clients.
    ///
    /// # Errors
    ///
    /// When that replica has just gone.
    pub fn straight(&self) -> anyhow::Result<Target> {
        match self.replicas().first().filter(|_| self.offers(Need::Aim)) {
            Some(replica) => self.at(replica),
            None => Ok(self.service()),
        }
    }

    fn is_answered(&self, probe: &str) -> bool {
        let transcript = self.so_far();
        History::new(&transcript).probed_calls(probe).all(|call| call.outcome.at().is_some())
    }

    fn has_spoken(&self, probe: &str) -> bool {
        let transcript = self.so_far();
        let history = History::new(&transcript);
        history.probes(probe).any(|exchange| {
            exchange.frames.iter().any(|(_, frame)| frame.data.is_some()) || exchange.end.is_some()
        })
    }

    /// The id of the last event on a stream that a request of this name opened and its client has closed; `None` when it
    /// had none.
    pub async fn last_event_id(&self, probe: &str) -> Option<String> {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let closed = async {
            while !self.is_closed(probe) {
                look.tick().await;
            }
        };
        // It is closed as soon as it was dropped.
        drop(tokio::time::timeout(self.rig.timeouts.slack, closed).await);
        let transcript = self.so_far();
        let history = History::new(&transcript);
        let exchange = history.probes(probe).last()?;
        exchange.frames.iter().rev().find_map(|(_, frame)| frame.id.clone())
    }

    fn is_closed(&self, probe: &str) -> bool {
        let transcript = self.so_far();
        History::new(&transcript).probes(probe).all(|exchange| exchange.end.is_some())
    }

    /// The method of a request that costs the hub little, for scenarios that need any request: `tools/list`, or `ping` where that list
    /// is long (`server/discover` without sessions). Its parameters may be empty.
    pub fn small(&self) -> &'static str {
        self.rig.small(self.transport())
    }

    /// Whether the hub's list of tools is so long that the run reads it once, in the survey.
    pub fn has_long_list(&self) -> bool {
        self.rig.has_long_list
    }

    /// Opens a session, sends a small request under this name, and ends it: whether a hub still works after what was done
    /// to it.
    pub async fn still_serves(&self, role: &str, target: &Target, probe: &str) {
        if let Some(holder) = self.open(role, target).await {
            self.ask(&holder, target, probe, self.small(), serde_json::json!({})).await;
            holder.session.end(target).await;
        }
    }
}
