//! A hub that limits requests (429): the run pauses as it says, and stops when that does not help.

use std::time::Duration;

use tokio::time::interval;

use crate::check::limit::{MANY_COME, TOO_MANY};
use crate::transcript::{Transcript, What};

/// How long is paused where the hub does not say.
const PAUSE: Duration = Duration::from_secs(10);

/// The longest pause that a run takes: a hub that wants more refuses the run.
const LONGEST: Duration = Duration::from_secs(60);

/// How far a run got with a hub that limits requests.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// The pause that is to be taken.
    wanted: Option<Duration>,
    has_paused: bool,
}

// === impl Limit ===

impl Limit {
    /// Whether no cell may start until the pause was taken.
    pub(super) fn is_met(&self) -> bool {
        self.wanted.is_some()
    }

    /// Takes note of what a cell met; true when a pause was taken before, or would be too long.
    pub(super) fn meets(&mut self, wanted: Option<Duration>) -> bool {
        let Some(wanted) = wanted else { return false };
        if self.has_paused || wanted > LONGEST {
            return true;
        }
        self.wanted = Some(self.wanted.unwrap_or_default().max(wanted));
        false
    }

    /// Takes the pause.
    pub(super) async fn pause(&mut self) {
        let Some(wanted) = self.wanted.take() else { return };
        tracing::warn!("the hub limits requests (429): no cell starts for {} s", wanted.as_secs());
        let mut pause = interval(wanted);
        pause.reset();
        pause.tick().await;
        self.has_paused = true;
    }
}

/// The pause that a transcript asks for, when a request of it was refused because there were too many.
pub(super) fn wanted(transcript: &Transcript) -> Option<Duration> {
    let after = |headers: &[(String, String)]| {
        let after = headers.iter().find(|(name, _)| name == "retry-after");
        after.and_then(|(_, value)| value.trim().parse().ok()).map_or(PAUSE, Duration::from_secs)
    };
    let is_meant = |what: &What| matches!(what, What::Step { name } if name == MANY_COME);
    if transcript.entries.iter().any(|entry| is_meant(&entry.what)) {
        return None;
    }
    let wanted = transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Head { status: TOO_MANY, headers, .. } => Some(after(headers)),
        _ => None,
    });
    wanted.max().map(|wanted| wanted.max(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_pauses_once_and_then_stops() {
        let ms = Duration::from_millis;
        let mut limit = Limit::default();
        assert!(!limit.meets(None) && !limit.is_met());
        assert!(!limit.meets(Some(ms(3))) && limit.is_met());
        assert!(!limit.meets(Some(ms(7))), "of a cell that ran at the same time");
        let began = std::time::Instant::now();
        limit.pause().await;
        assert!(began.elapsed() >= ms(7) && !limit.is_met());
        assert!(limit.meets(Some(ms(1))));
        assert!(Limit::default().meets(Some(Duration::from_secs(900))), "nobody waits for so long");
    }
}
