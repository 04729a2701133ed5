//! Calls that are kept in flight while the cluster changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Holder, Stage};
use crate::plan::Need;
use crate::transcript::What;
use crate::transcript::normal::SPARE;
use crate::wire::Progress;

/// Calls that are kept in flight in the background.
pub struct Load {
    /// Whose sessions they are on: their streams stay open for as long as the load is there.
    pub holders: Vec<Holder>,
    workers: JoinSet<()>,
    stop: CancellationToken,
}

/// How long each call of a [`Load`] is held: shorter than a replica has to end gracefully.
const LOAD_HOLD: Duration = Duration::from_millis(600);

/// Within this a pod's process is told to go after the pod began to. That it was told may be heard much later, since a
/// kubelet sends few events per second: calls that go on until then outlive the grace period.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How long [`Stage::opening_meanwhile`] leaves between one session and the next: long enough for transcripts to stay
/// readable, short against what a replica takes to start.
const OPENED_EVERY: Duration = Duration::from_millis(50);

impl Stage {
    /// Keeps calls in flight on a session of its own at each ready replica, until its process is told to go or
    /// [`Load::stop`]. They overlap, so that at any moment some call is in flight; how many there are differs from run to
    /// run, so snapshots leave their clients out.
    ///
    /// # Errors
    ///
    /// When a replica cannot be reached.
    pub async fn keep_calling(&self) -> anyhow::Result<Load> {
        let mut load = Load { holders: Vec::new(), workers: JoinSet::new(), stop: CancellationToken::new() };
        if !self.offers(Need::HeldCall) {
            return Ok(load);
        }
        for replica in self.replicas() {
            let target = self.at(&replica)?;
            let Some(holder) = self.open(SPARE, &target).await else { continue };
            for first in [LOAD_HOLD / 2, LOAD_HOLD] {
                // Known to run when this returns, so that whatever is done next finds a call in flight.
                let mut pending = self.start_held(&holder, &target, first).await;
                let (holder, target, replica) = (holder.clone(), target.clone(), replica.clone());
                let (cluster, stop) = (Arc::clone(&self.cluster), load.stop.clone());
                let again = self.held_call(&holder, LOAD_HOLD);
                load.workers.spawn(async move {
                    let mut going = None;
                    let mut is_wanted = || match cluster.replica(&replica) {
                        Ok(pod) if pod.terminating && !pod.told_to_go => {
                            going.get_or_insert_with(Instant::now).elapsed() < TOLD_WITHIN
                        }
                        Ok(pod) => !pod.told_to_go,
                        Err(_) => false,
                    };
                    while pending.outcome().await.result().is_some() && !stop.is_cancelled() && is_wanted() {
                        let params = again.clone();
                        pending = holder
                            .session
                            .start(&target, "tools/call", params, LOAD_HOLD, Progress::Asked)
                            .await;
                    }
                });
            }
            load.holders.push(holder);
        }
        Ok(load)
    }
}

impl Stage {
    /// Opens, uses and ends sessions through the Service, one after another, for as long as a change of the cluster takes.
    /// How many there are differs from run to run, so snapshots leave their client out.
    pub async fn opening_meanwhile<T>(&self, change: impl Future<Output = T>) -> T {
        let client = self.client(SPARE).await;
        let changed = CancellationToken::new();
        let opening = async {
            let mut next = tokio::time::interval(OPENED_EVERY);
            next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !changed.is_cancelled() {
                next.tick().await;
                if let Some(holder) = self.open_as(client.clone(), SPARE, &self.service()).await {
                    self.probe(&holder, &self.service()).await;
                    holder.session.end(&self.service()).await;
                }
            }
        };
        let change = async {
            let result = change.await;
            changed.cancel();
            result
        };
        tokio::join!(change, opening).0
    }
}

impl Stage {
    /// Knocks at the Service for as long as a change of the cluster takes: at each beat one client tries to open a session, whatever
    /// became of those before. Notes how many got none; how many there are differs from run to run, so snapshots leave their
    /// client out.
    pub async fn knocking_meanwhile<T>(&self, every: Duration, change: impl Future<Output = T>) -> T {
        let (client, target, transport) = (self.client(SPARE).await, self.service(), self.transport());
        let mut knocks = JoinSet::new();
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        let mut change = std::pin::pin!(change);
        let result = loop {
            tokio::select! {
                result = &mut change => break result,
                _ = beat.tick() => {
                    let (client, target) = (client.clone(), target.clone());
                    knocks.spawn(async move { client.open(transport, &target).await.is_ok() });
                }
            }
        };
        let opened = knocks.join_all().await;
        let count = opened.iter().filter(|is_open| !**is_open).count();
        let what = "clients that got no session meanwhile".to_owned();
        self.recorder.record(What::Counted { what, count, of: opened.len() });
        result
    }
}

impl Load {
    /// Starts no more calls and waits for those in flight.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
    }
}
