//! How long the hub takes to start, to answer and to stop beside as many replicas as the run starts at once: limits, the pace of
//! probes and the number of cells at once follow from that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{Place, Rig, RigError, target};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::plan::{Affinity, Cell, Transport};
use crate::run::Setup;
use crate::timeouts::ANSWER;
use crate::transcript::measured::{Measured, Times};
use crate::transcript::{Path, Recorder, Transcript};
use crate::wire::Client;

/// Replicas of one cluster, when many start at once: an embedded cluster has no more client addresses than a cell of so many needs.
const PER_CLUSTER: usize = 8;

/// More replicas than this are not started only to measure them.
const MOST: usize = 32;

/// How often each replica is asked.
const QUESTIONS: usize = 3;

/// So many starts fit into the time that the manifests give a replica to start: beyond that fewer cells run at once.
const STARTS_IN_BUDGET: u32 = 3;

/// So many of the slowest answers fit into the contract's limit, or fewer cells run at once.
const ANSWERS_IN_LIMIT: u32 = 5;

/// A cluster that was started to be measured.
pub(super) struct Started {
    pub(super) cluster: Cluster,
    /// What the cluster recorded, without the questions.
    pub(super) recorder: Recorder,
    /// How long start and answers took.
    pub(super) times: Times,
    /// How many clients had an address.
    pub(super) clients: usize,
}

impl Rig {
    /// Starts as many replicas as so many cells start at once, asks and stops them, and draws the conclusions. To be called after
    /// [`Rig::survey`]. A hub that is already running is not started by us: only its answers were measured.
    ///
    /// # Errors
    ///
    /// [`RigError`] when a cluster cannot be started.
    pub async fn measure(&mut self, cells: usize) -> Result<(), RigError> {
        if !matches!(self.place, Place::Url { .. }) {
            let replicas = (cells * self.replicas).clamp(1, MOST);
            let crowds = (0..replicas).step_by(PER_CLUSTER).map(|begun| PER_CLUSTER.min(replicas - begun));
            let seen = join_all(crowds.map(|count| self.crowd(count))).await;
            for times in seen {
                self.measured.beside = self.measured.beside.or_slower(times?);
            }
            self.measured.replicas = replicas;
        }
        self.conclude();
        Ok(())
    }

    /// Draws the conclusions from what was measured.
    pub(super) fn conclude(&mut self) {
        self.pace.slowest = self.measured.slowest_answer();
        let stretch = self.measured.stretch();
        let mut timeouts = (*self.timeouts).clone();
        timeouts.stretch(stretch);
        if let Some(manifests) = self.manifests() {
            // A change starts and stops every replica, one after another at worst.
            let each = Duration::from_millis(self.measured.beside.start_ms)
                + Duration::from_millis(self.measured.beside.stop_ms).min(manifests.grace_period());
            let replicas = u32::try_from(self.replicas + 1).unwrap_or(u32::MAX);
            timeouts.settle = timeouts.settle.max(2 * replicas * each);
        }
        self.timeouts = Arc::new(timeouts);
    }

    /// How many cells run at once when so many are wanted: fewer where that many replicas starve each other.
    pub fn cells_at_once(&self, wanted: usize) -> usize {
        let beside = self.measured.beside;
        let budget = self.manifests().and_then(|manifests| manifests.start_budget());
        let start = budget.unwrap_or(self.timeouts.ready) / STARTS_IN_BUDGET;
        let fits = |took_ms: u64, allowed: Duration| {
            let took = Duration::from_millis(took_ms);
            if took <= allowed { 1.0 } else { allowed.as_secs_f64() / took.as_secs_f64() }
        };
        let share = fits(beside.start_ms, start).min(fits(beside.answer_ms, ANSWER / ANSWERS_IN_LIMIT));
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        // Truncation is what is meant: fewer, and at least one.
        let fitting = (f64::from(wanted) * share).floor();
        (1..=wanted).rev().find(|cells| f64::from(*cells) <= fitting).unwrap_or(1) as usize
    }

    /// What was measured, in a line for people; `None` when nothing was.
    pub fn measured_line(&self) -> Option<String> {
        let Measured { alone, beside, replicas } = self.measured;
        if self.measured.is_empty() {
            return None;
        }
        let seconds = |ms: u64| format!("{:.2} s", ms as f64 / 1000.0);
        let mut line = if replicas == 0 {
            format!("the hub answers in {}", seconds(alone.answer_ms))
        } else {
            format!(
                "a replica starts in {} ({} when {replicas} start at once), answers in {} ({}), stops in {}",
                seconds(alone.start_ms),
                seconds(beside.start_ms),
                seconds(alone.answer_ms),
                seconds(beside.answer_ms),
                seconds(beside.stop_ms)
            )
        };
        let stretch = self.measured.stretch();
        if stretch > 1.0 {
            line.push_str(&format!(
                "; this machine is slow, so limits are {stretch:.1} times as long: {:.0} s for an answer",
                ANSWER.as_secs_f64() * stretch
            ));
        }
        Some(line)
    }

    /// The method of a request that costs the hub little: `tools/list`, unless that list is long.
    pub(in crate::run) fn small(&self, transport: Transport) -> &'static str {
        match (self.has_long_list, transport) {
            (false, _) => "tools/list",
            (true, Transport::Sse | Transport::Streamable) => "ping",
            (true, Transport::Stateless) => "server/discover",
        }
    }

    /// The slowest of what a recording of the survey shows.
    pub(super) fn times_of(&self, recorder: &Recorder) -> Times {
        let cell = Cell { scenario: "survey", affinity: None, transport: None };
        Times::seen_in(&Transcript { header: self.header(cell, 1), entries: recorder.entries() })
    }

    /// One cluster of so many replicas: started, asked and stopped.
    async fn crowd(&self, replicas: usize) -> Result<Times, RigError> {
        let Started { cluster, recorder, times, .. } = self.started(replicas, Affinity::Off).await?;
        if cluster.scale(0).await.is_ok() {
            let _ = cluster.wait(&Condition::Ready(0), self.timeouts.settle).await;
        }
        let stopped = self.times_of(&recorder);
        cluster.down().await;
        Ok(times.or_slower(stopped))
    }

    /// A cluster of so many replicas, each of which was asked as soon as all were ready, or had their time.
    pub(super) async fn started(&self, replicas: usize, affinity: Affinity) -> Result<Started, RigError> {
        let recorder = Recorder::new(self.secrets());
        let cluster = self.up(replicas, Some(affinity), &Setup::ORDINARY, &recorder).await?;
        let limit = self.timeouts.ready;
        // What is not ready in time was slow: that is what is measured.
        let ready = cluster.wait(&Condition::Ready(replicas), limit).await;
        let questions = Recorder::new(self.secrets());
        let names = cluster.ready_replicas();
        join_all(names.iter().enumerate().map(|(idx, name)| self.ask(&cluster, idx, name, &questions))).await;
        let mut times = self.times_of(&recorder).or_slower(self.times_of(&questions));
        if ready.is_err() {
            times.start_ms = times.start_ms.max(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        }
        Ok(Started { cluster, recorder, times, clients: names.len() })
    }

    /// A session at the replica, and some questions in it.
    async fn ask(&self, cluster: &Cluster, number: usize, replica: &str, recorder: &Recorder) {
        let Some(address) = cluster.at(replica) else { return };
        let target = target(Path::Replica(replica.to_owned()), address);
        let cell = Cell { scenario: "survey", affinity: None, transport: None };
        let client = Client::new(
            format!("measure-{number}"),
            cluster.client_address(number).await.ok().flatten(),
            recorder.clone(),
            Arc::clone(&self.dialect),
            Arc::clone(&self.timeouts),
        );
        let transport: Transport = self.transport(cell);
        let Ok(session) = client.open(transport, &target).await else { return };
        for _ in 0..QUESTIONS {
            session.request(&target, self.small(transport), json!({})).await;
        }
        session.end(&target).await;
    }
}
