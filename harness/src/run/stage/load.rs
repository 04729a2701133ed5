//! Calls that are kept in flight while the cluster changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Holder, Stage};
use crate::plan::Need;
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

impl Stage {
    /// Keeps calls in flight on a session of its own at each ready replica, until a replica begins to go or
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
                let (holder, target, replica) = (holder.clone(), target.clone(), replica.clone());
                let (cluster, stop) = (Arc::clone(&self.cluster), load.stop.clone());
                let calls = [first, LOAD_HOLD].map(|hold| (self.held_call(&holder, hold), hold));
                load.workers.spawn(async move {
                    let [(first, hold), again] = calls;
                    let mut next = (first, hold);
                    while !stop.is_cancelled() && cluster.replica(&replica).is_ok_and(|pod| !pod.terminating)
                    {
                        let (params, hold) = next;
                        let call =
                            holder.session.start(&target, "tools/call", params, hold, Progress::Asked).await;
                        if call.outcome().await.result().is_none() {
                            break;
                        }
                        next = again.clone();
                    }
                });
            }
            load.holders.push(holder);
        }
        Ok(load)
    }
}

impl Load {
    /// Starts no more calls and waits for those in flight.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
    }
}
