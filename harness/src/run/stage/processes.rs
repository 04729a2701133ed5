//! How many processes a replica has, and when that many are left.

use std::time::{Duration, Instant};

use super::{LOOK_AGAIN, Stage};
use crate::cluster::ProcessCount;
use crate::transcript::What;

impl Stage {
    /// Counts a replica's processes and notes it.
    ///
    /// # Errors
    ///
    /// When they cannot be seen.
    pub async fn count_processes(&self, replica: &str, when: &str) -> anyhow::Result<ProcessCount> {
        let count = self.cluster.processes(replica).await?;
        self.note_processes(replica, when, count);
        Ok(count)
    }

    /// Counts a replica's processes until the count is as wanted, and notes the wait and the last count. The limit grows as all
    /// limits do.
    ///
    /// # Errors
    ///
    /// When they cannot be seen.
    pub async fn until_processes(
        &self,
        replica: &str,
        when: &str,
        limit: Duration,
        is_wanted: impl Fn(ProcessCount) -> bool,
    ) -> anyhow::Result<ProcessCount> {
        let limit = limit.mul_f64(self.rig.measured.stretch()) + self.rig.timeouts.way;
        let began = Instant::now();
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let (count, is_met) = loop {
            look.tick().await;
            // Asked before it is counted, so that there is one count after the limit.
            let is_over = began.elapsed() >= limit;
            let count = self.cluster.processes(replica).await?;
            if is_wanted(count) || is_over {
                break (count, is_wanted(count));
            }
        };
        self.recorder.record(What::Awaited {
            condition: when.to_owned(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            unmet: (!is_met).then(|| {
                format!("{} processes run, {} wait for their parent", count.running, count.unreaped)
            }),
        });
        self.note_processes(replica, when, count);
        Ok(count)
    }

    fn note_processes(&self, replica: &str, when: &str, count: ProcessCount) {
        let (pod, when) = (replica.to_owned(), when.to_owned());
        self.recorder.record(What::Processes { pod, when, running: count.running, unreaped: count.unreaped });
    }
}
