//! How the process stops: not ready at once, calls in flight are answered, then streams end.
//!
//! Counts calls and knows three phases; what a phase means to a request is decided where the request is handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The stop of this process, shared by everything that takes part in it.
#[derive(Default)]
pub struct Drain {
    calls: AtomicUsize,
    idle: Notify,
    draining: CancellationToken,
    closing: CancellationToken,
}

/// A call in flight: from its arrival until its answer was handed to the connection.
pub struct Call(Arc<Drain>);

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Drain {
    /// Counts one call until the returned guard is dropped.
    pub fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Call(self.clone())
    }

    /// How many calls are in flight.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Stopping has begun: not ready, no new sessions.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Fires when stopping begins.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Streams end and nothing new is accepted.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Fires when streams must end.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Drains: not ready from now, open for at least `delay` and as long as a call runs, closing after `grace` at the latest.
    pub async fn run(&self, delay: Duration, grace: Duration) {
        self.draining.cancel();
        let now = Instant::now();
        let last = now + grace;
        // Endpoints are updated some time after SIGTERM: until then new requests still arrive here.
        tokio::time::sleep_until((now + delay).min(last)).await;
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.calls() == 0 || timeout_at(last, idle).await.is_err() {
                break;
            }
        }
        self.closing.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_the_call_and_not_longer_than_the_grace_period() {
        let drain = Arc::new(Drain::default());
        let call = drain.call();
        let running = tokio::spawn({
            let drain = drain.clone();
            async move { drain.run(Duration::ZERO, Duration::from_secs(60)).await }
        });
        while !drain.is_draining() {
            tokio::task::yield_now().await;
        }
        assert!(!drain.is_closing());
        drop(call);
        running.await.unwrap();
        assert!(drain.is_closing());

        let stuck = Arc::new(Drain::default());
        let _call = stuck.call();
        stuck.run(Duration::ZERO, Duration::from_millis(10)).await;
        assert!(stuck.is_closing());
        assert_eq!(stuck.calls(), 1);
    }
}
