//! How long a container that ended waits before it is started again.

use std::time::Duration;

/// The pauses between restarts. The first restart comes at once, as in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second restart; each later pause is twice as long. Kubernetes: 10 s.
    pub first: Duration,
    /// The longest pause. Kubernetes: 300 s.
    pub longest: Duration,
    /// A container that ran for so long begins anew. Kubernetes: 600 s.
    pub forgiven_after: Duration,
}

/// A tenth of Kubernetes' numbers.
impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            forgiven_after: Duration::from_secs(60),
        }
    }
}

/// How often a pod's container was restarted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restarts {
    count: u32,
    pauses: u32,
    had_first: bool,
}

// === impl Restarts ===

impl Restarts {
    /// How often so far.
    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// Counts a restart of a container that ran for so long; the pause before it.
    pub(crate) fn next_pause(&mut self, backoff: &Backoff, ran: Duration) -> Option<Duration> {
        self.count += 1;
        if ran >= backoff.forgiven_after {
            (self.pauses, self.had_first) = (0, false);
        }
        if !self.had_first {
            self.had_first = true;
            return None;
        }
        let pause = backoff.first.saturating_mul(2_u32.saturating_pow(self.pauses));
        self.pauses += 1;
        Some(pause.min(backoff.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_longest() {
        let backoff = Backoff::default();
        let mut restarts = Restarts::default();
        let mut pause =
            |ran| restarts.next_pause(&backoff, Duration::from_secs(ran)).map(|pause| pause.as_secs());
        assert_eq!(
            [0; 8].map(&mut pause),
            [None, Some(1), Some(2), Some(4), Some(8), Some(16), Some(30), Some(30)]
        );
        assert_eq!([100, 0].map(&mut pause), [None, Some(1)]);
    }
}
