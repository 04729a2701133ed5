//! How long an exchange may go on.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::transcript::End;

/// Until when an exchange may go on, and how it ends then.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    until: Option<Instant>,
    then: End,
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(limit: Duration, waiting_for: &str) -> Self {
        Self { until: Some(Instant::now() + limit), then: timed_out(waiting_for, limit) }
    }

    /// Names what is waited for, within the limit that runs already.
    pub(super) fn wait_for(&mut self, what: &str, limit: Duration) {
        self.then = timed_out(what, limit);
    }

    /// No limit any more.
    pub(super) fn endless(&mut self) {
        self.until = None;
    }

    /// What was wanted has arrived; the hub may finish within `limit`, then the client closes.
    pub(super) fn close_after(&mut self, limit: Duration) {
        *self = Self { until: Some(Instant::now() + limit), then: End::ClosedByClient };
    }

    /// How an exchange ends when the limit passes.
    pub(super) fn end(&self) -> End {
        self.then.clone()
    }

    pub(super) fn is_before(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (Some(own), Some(other)) => own < other,
            (own, _) => own.is_some(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Awaits within the limit; `Err` when it passed.
    pub(super) async fn bound<F: Future>(&self, future: F) -> Result<F::Output, ()> {
        match self.until {
            Some(until) => timeout_at(until, future).await.map_err(|_| ()),
            None => Ok(future.await),
        }
    }
}

// === helpers ===

fn timed_out(waiting_for: &str, limit: Duration) -> End {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    End::TimedOut { waiting_for: waiting_for.to_owned(), limit_ms }
}
