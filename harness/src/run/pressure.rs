//! What the machine was doing while a cell ran: a busy machine makes every hub late, and the harness itself.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::transcript::{Recorder, What};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A look that comes later than this is recorded; so is the whole cell at its end.
const NOTABLE: Duration = Duration::from_millis(250);

/// Watches the machine until it is stopped or dropped.
pub(super) struct Watch {
    task: JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Watch {
    /// Begins to watch for this cell.
    pub(super) fn start(recorder: Recorder) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let stalled_before = stalled();
            let mut longest = Duration::ZERO;
            let mut due = began + LOOK;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    _ = &mut stopped => break,
                }
                let now = Instant::now();
                let late = now.duration_since(due);
                longest = longest.max(late);
                if late >= NOTABLE {
                    recorder.record(What::Pressure {
                        waited_ms: millis(late),
                        within_ms: millis(late + LOOK),
                        stalled_percent: None,
                    });
                }
                due = now + LOOK;
            }
            let took = began.elapsed();
            let stalled_percent = stalled_before.zip(stalled()).map(|(before, after)| {
                let share = after.saturating_sub(before).as_secs_f64() / took.as_secs_f64().max(0.001);
                // The kernel's sums are of another moment than ours.
                (share.min(1.0) * 100.0).round() as u8
            });
            recorder.record(What::Pressure {
                waited_ms: millis(longest),
                within_ms: millis(took),
                stalled_percent,
            });
        });
        Self { task, stop }
    }

    /// Records what was seen.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// For how long some process had waited for a processor since the machine was started: `some` of
/// <https://docs.kernel.org/accounting/psi.html>; `None` where the kernel does not count it.
fn stalled() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let total = some.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
