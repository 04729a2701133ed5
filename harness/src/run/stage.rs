//! What a scenario may touch: clients, paths and replicas of its own cell. It drives; it never judges.

mod call;
mod fault;
mod load;
mod luck;
mod node;
mod probe;
mod processes;
mod tally;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::target;
use super::shared::Seat;
use super::{Begins, Rig, Scenario};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::plan::{Affinity, Cell, Need, Tool, Transport};
use crate::transcript::history::History;
use crate::transcript::normal::{SPARE, cell_mark};
use crate::transcript::{Entry, Path, PodChange, Recorder, Transcript, What};
use crate::wire::{Client, Dialect, Outcome, Pending, Session, Target};

pub use fault::TakenPort;
pub use load::Load;
pub use luck::{chance_of_staying, clients_to_spread, requests_without_luck};
pub use node::Door;
pub use tally::COUNTER;
pub use words::{outcome_text, status_text};

/// Between two looks of a poll.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One cell's cluster and recorder.
pub struct Stage {
    rig: Arc<Rig>,
    cell: Cell,
    replicas: usize,
    dialect: Arc<Dialect>,
    origin: Option<String>,
    cluster: Arc<Cluster>,
    recorder: Recorder,
    clients: AtomicUsize,
    /// Its place at a cluster that other cells use, too.
    seat: Option<Arc<Seat>>,
    /// What tells this cell's keys from those of every other.
    mark: String,
}

/// A client with its session, and the replica that owns it.
#[derive(Clone)]
pub struct Holder {
    /// The part it plays.
    pub role: String,
    /// The client.
    pub client: Client,
    /// Its session.
    pub session: Session,
    /// Whether it was opened through the Service, and so at a replica that chance picked.
    pub by_chance: bool,
    /// The replica that owns the session, when that is known; in the stateless era the one that its calls in flight
    /// are sent to.
    pub owner: Option<String>,
}

/// A call that is in flight, and whose.
pub struct InFlight {
    /// The call.
    pub pending: Pending,
    /// The key it tallies under.
    pub key: String,
}

impl Stage {
    pub(super) fn new(
        rig: Arc<Rig>,
        cell: Cell,
        scenario: &Scenario,
        cluster: Arc<Cluster>,
        recorder: Recorder,
        seat: Option<Arc<Seat>>,
    ) -> Self {
        let replicas = rig.replicas_of(Some(scenario));
        let (dialect, origin) = rig.manners(&scenario.setup);
        let clients = AtomicUsize::new(0);
        Self { rig, cell, replicas, dialect, origin, cluster, recorder, clients, seat, mark: cell_mark() }
    }

    /// Waits for what the scenario begins with.
    pub(super) async fn ready(&self, begins: Begins) -> anyhow::Result<()> {
        match begins {
            Begins::AllReady => {
                let limit = self.rig.timeouts.ready;
                Ok(self.cluster.wait(&Condition::Ready(self.replicas), limit).await?)
            }
            Begins::Unready => Ok(()),
        }
    }

    // === what this cell is ===

    /// The transport of this cell; when it does not vary with it, the newest with sessions that the hub speaks.
    pub fn transport(&self) -> Transport {
        self.rig.transport(self.cell)
    }

    /// The affinity of this cell; when it does not vary with it, the deployed one, and `off` where nothing is deployed.
    pub fn affinity(&self) -> Affinity {
        self.cell.affinity.unwrap_or(self.rig.offers.deployed.affinity())
    }

    /// Whether hub and backend offer this.
    pub fn offers(&self, need: Need) -> bool {
        self.rig.offers_now(need)
    }

    /// Limits of this run.
    pub fn timeouts(&self) -> &crate::timeouts::Timeouts {
        &self.rig.timeouts
    }

    /// How many replicas the cell began with.
    pub fn replica_count(&self) -> usize {
        self.replicas
    }

    // === notes in the transcript ===

    /// Notes that a part of the scenario begins.
    pub fn step(&self, name: &str) {
        self.recorder.record(What::Step { name: name.to_owned() });
    }

    /// Notes that what the scenario is about did not come about, in a way that the hub may choose. Checks that had nothing to look
    /// at are not judged then, for this reason.
    pub fn not_brought_about(&self, reason: impl Into<String>) {
        self.recorder.record(What::NotBroughtAbout { reason: reason.into() });
    }

    /// Notes the part that a client plays, in place of an earlier one.
    pub fn role(&self, holder: &Holder, role: &str) {
        let client = holder.client.name().to_owned();
        self.recorder.record(What::Role { client, role: role.to_owned() });
    }

    // === paths ===

    /// The path through the Service.
    pub fn service(&self) -> Target {
        target(Path::Service, self.cluster.service())
    }

    /// The path straight to one replica.
    ///
    /// # Errors
    ///
    /// When there is no such replica any more.
    pub fn at(&self, replica: &str) -> anyhow::Result<Target> {
        let found =
            self.cluster.at(replica).map(|address| target(Path::Replica(replica.to_owned()), address));
        found.ok_or_else(|| anyhow::anyhow!("replica `{replica}` cannot be reached: it is gone"))
    }

    /// The ready replicas, the oldest first.
    pub fn replicas(&self) -> Vec<String> {
        self.cluster.ready_replicas()
    }

    /// The ready replicas, this one first.
    pub fn replicas_from(&self, first: Option<&str>) -> Vec<String> {
        let mut replicas = self.replicas();
        replicas.sort_by_key(|replica| first != Some(replica.as_str()));
        replicas
    }

    // === clients and sessions ===

    /// A client with a source address of its own, known in snapshots by its part.
    pub async fn client(&self, role: &str) -> Client {
        let idx = self.clients.fetch_add(1, Ordering::Relaxed);
        let name = client_name(idx);
        if role != name {
            self.recorder.record(What::Role { client: name.clone(), role: role.to_owned() });
        }
        // Two clients of one address would be one to the hub: the cell says so, and decides nothing.
        let number = self.seat.as_ref().map_or(idx, |seat| seat.number());
        let source = self.cluster.client_address(number).await.unwrap_or_else(|error| {
            self.recorder.record(What::Broken { reason: error.to_string() });
            None
        });
        if let (Some(seat), Some(source)) = (&self.seat, &source) {
            seat.own(source.ip());
        }
        Client::new(
            name,
            source,
            self.recorder.clone(),
            Arc::clone(&self.dialect),
            Arc::clone(&self.rig.timeouts),
        )
    }

    /// Opens a session and records it with its owner, or records what came instead.
    pub async fn open(&self, role: &str, target: &Target) -> Option<Holder> {
        self.open_as(self.client(role).await, role, target).await
    }

    /// Opens another session of a client that is there.
    pub async fn open_as(&self, client: Client, role: &str, target: &Target) -> Option<Holder> {
        match client.open(self.transport(), target).await {
            Ok(session) => {
                let owner = match &target.path {
                    Path::Replica(name) => Some(name.clone()),
                    Path::Service => self.owner_of(&client, &session, target).await,
                };
                self.recorder.record(What::Session {
                    client: client.name().to_owned(),
                    id: session.id().map(str::to_owned),
                    owner: owner.clone().filter(|_| self.transport() != Transport::Stateless),
                });
                let by_chance = target.path == Path::Service;
                Some(Holder { role: role.to_owned(), client, session, by_chance, owner })
            }
            Err(outcome) => {
                let why = format!(
                    "opening a session: {}{}",
                    outcome_text(&outcome),
                    self.where_opening_failed(client.name())
                );
                self.recorder.record(What::NoSession { client: client.name().to_owned(), why });
                None
            }
        }
    }

    /// Tries to open a session where none is promised: what comes is in the transcript, and is nobody's failure.
    pub async fn knock(&self, role: &str, target: &Target) {
        drop(self.client(role).await.open(self.transport(), target).await);
    }

    /// Opens sessions until every ready replica owns one: straight at each where any path may reach any replica,
    /// through the Service where the affinity would otherwise not know the client. Fewer than there are replicas where one
    /// gave none, or got none of so many clients that luck cannot be the reason: the transcript shows which.
    ///
    /// # Errors
    ///
    /// When a replica goes meanwhile.
    pub async fn one_per_replica(&self) -> anyhow::Result<Vec<Holder>> {
        let replicas = self.replicas();
        let mut holders: Vec<Holder> = Vec::new();
        if self.affinity() == Affinity::Off || self.transport() == Transport::Stateless {
            for (idx, replica) in replicas.iter().enumerate() {
                holders.extend(self.open(&client_name(idx), &self.at(replica)?).await);
            }
            return Ok(holders);
        }
        for _ in 0..clients_to_spread(replicas.len()) {
            if holders.len() == replicas.len() {
                break;
            }
            let Some(holder) = self.open(SPARE, &self.service()).await else { continue };
            let known = holders.iter().any(|other| other.owner == holder.owner);
            if known || holder.owner.is_none() {
                holder.session.end(&self.service()).await;
            } else {
                let role = client_name(holders.len());
                self.role(&holder, &role);
                holders.push(Holder { role, ..holder });
            }
        }
        Ok(holders)
    }

    /// Sends requests on a session along every path that its clients may take: to each ready replica in turn where
    /// the affinity is `off`, then through the Service.
    pub async fn exercise(&self, holder: &Holder) -> anyhow::Result<()> {
        if self.affinity() == Affinity::Off && self.offers(Need::Aim) {
            // Its own replica first, unless chance picked that: then the order would differ from run to run.
            for replica in self.replicas_from(holder.owner.as_deref().filter(|_| !holder.by_chance)) {
                self.probe(holder, &self.at(&replica)?).await;
            }
        }
        self.probe(holder, &self.service()).await;
        Ok(())
    }

    /// Waits until a session's own stream has ended, for as long as its end may take and a little longer: whether it did
    /// is in the transcript.
    pub async fn until_stream_ends(&self, holder: &Holder) {
        let timeouts = &self.rig.timeouts;
        holder.session.stream_ended(timeouts.orphan_noticed + timeouts.slack + timeouts.way).await;
    }

    /// Waits until the hub refuses what comes on this session, which its client has ended, for as long as it may take to
    /// notice that.
    pub async fn until_refused(&self, session: &Session, target: &Target, limit: Duration) {
        let began = Instant::now();
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let refused = async {
            while !session.is_refused(target).await {
                look.tick().await;
            }
        };
        let is_met = tokio::time::timeout(limit, refused).await.is_ok();
        self.recorder.record(What::Awaited {
            condition: "the hub refuses the session that has ended".to_owned(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            unmet: (!is_met).then(|| "it takes requests of it".to_owned()),
        });
    }

    /// Notes a made-up session id.
    pub fn made_up(&self, holder: &Holder, id: &str) {
        let client = holder.client.name().to_owned();
        self.recorder.record(What::UnknownId { client, id: id.to_owned() });
    }

    // === the cluster ===

    /// Lets time pass, where time itself is what the scenario is about.
    pub async fn pause(&self, length: Duration) {
        tokio::time::sleep_until(tokio::time::Instant::now() + length).await;
    }

    /// Waits for a condition.
    ///
    /// # Errors
    ///
    /// When it does not come true within the limit for changes of the cluster.
    pub async fn wait(&self, condition: Condition) -> anyhow::Result<()> {
        Ok(self.cluster.wait(&condition, self.rig.timeouts.settle).await?)
    }

    /// The cluster, for faults.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The pods that began to go since the cell began, in order.
    pub fn departed(&self) -> Vec<String> {
        let transcript = self.so_far();
        let history = History::new(&transcript);
        let mut gone = Vec::new();
        for entry in history.entries() {
            if let What::Pod { pod, .. } = &entry.what
                && history.departure(pod).is_some()
                && !gone.contains(pod)
            {
                gone.push(pod.clone());
            }
        }
        gone
    }

    /// The pods that were told to go since the cell began, in order.
    pub fn told_to_go(&self) -> Vec<String> {
        let told = |entry: Entry| match entry.what {
            What::Pod { pod, change: PodChange::Terminating } => Some(pod),
            _ => None,
        };
        self.recorder.entries().into_iter().filter_map(told).collect()
    }

    /// The replica that a session opened through the Service lives on.
    async fn owner_of(&self, client: &Client, session: &Session, target: &Target) -> Option<String> {
        if self.transport() == Transport::Stateless {
            return None;
        }
        self.cluster.routes_told(client.address()).await;
        if let Some(replica) = self.opened_at(client.name()) {
            return Some(replica);
        }
        if !self.offers(Need::Tool(Tool::Whoami)) {
            return None;
        }
        match session.request(target, "tools/call", self.tool_call(Tool::Whoami, &json!({}))).await {
            Outcome::Result(result) => result["content"][0]["text"].as_str().map(str::to_owned),
            _ => None,
        }
    }

    /// Which replica the last request of an opening reached, and which one the opening began at.
    fn where_opening_failed(&self, client: &str) -> String {
        let transcript = self.so_far();
        let history = History::new(&transcript);
        let last = history.exchanges.values().rfind(|exchange| exchange.request.client == client);
        let began = self.opened_at(client);
        match (last.and_then(|exchange| exchange.replica), began) {
            (Some(last), Some(began)) if last != began => {
                format!(" from replica `{last}`; the session was begun at `{began}`")
            }
            (Some(last), _) => format!(" from replica `{last}`"),
            (None, _) => String::new(),
        }
    }

    /// The replica that answered a client's latest opening, by what the balancer recorded.
    fn opened_at(&self, client: &str) -> Option<String> {
        let transcript = self.so_far();
        let history = History::new(&transcript);
        let opening = |exchange: &&crate::transcript::history::Exchange<'_>| {
            let request = exchange.request;
            let initialize = request.message().is_some_and(|message| message["method"] == "initialize");
            request.client == client
                && if self.transport() == Transport::Sse { request.method == "GET" } else { initialize }
        };
        let found = history.exchanges.values().rfind(opening)?;
        found.replica.map(str::to_owned)
    }

    fn so_far(&self) -> Transcript {
        Transcript { header: self.rig.header(self.cell, self.replicas), entries: self.recorder.entries() }
    }
}

impl Holder {
    /// The same client with another session.
    pub fn with_session(&self, session: Session) -> Self {
        Self { session, ..self.clone() }
    }
}

// === helpers ===

/// `a` to `z`, then `aa`, `ab`, ..
pub fn client_name(idx: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(idx % 26).unwrap_or(0));
    if idx < 26 { letter.to_string() } else { format!("{}{letter}", client_name(idx / 26 - 1)) }
}
