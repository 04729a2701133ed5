//! A call that works in steps, and whose client turns away from it: a tally tells later how many steps were done.

use std::time::Duration;

use harness::plan::Tool;
use harness::run::Stage;
use harness::run::stage::Holder;
use harness::transcript::history::{Call, History};
use harness::wire::{Pending, Progress, Session, Target};
use serde_json::{Value, json};

/// The name of a call that does the same after the first: when it is over, the first one has had its time.
const PACE: &str = "pace";

/// The name of the reading of what the call did.
const READ: &str = "read";

/// A call that works in steps.
pub(crate) struct Work {
    /// The name of its request, and the key of its tally.
    pub(crate) name: &'static str,
    pub(crate) steps: u32,
    /// The time between two steps.
    pub(crate) step: Duration,
}

impl Work {
    /// Begins the call, and returns when it has told of its first step; `None` when it cannot be sent.
    pub(crate) async fn begin(&self, stage: &Stage, session: &Session, target: &Target) -> Option<Pending> {
        let call = session.raw_asking("tools/call", self.params(stage, self.name), Progress::Asked);
        let mut pending = session.send_held(target, call.named(self.name), self.whole()).await?;
        pending.underway(stage.timeouts().answer).await;
        Some(pending)
    }

    /// Reads how many steps were done, when there was time for all.
    ///
    /// No clock tells when that is, since a busy machine takes longer: the same work is done again, by the same process.
    pub(crate) async fn read(&self, stage: &Stage, reader: &Holder, target: &Target) {
        let session = &reader.session;
        let again = session.raw("tools/call", self.params(stage, PACE)).named(PACE);
        if let Some(pending) = session.send_held(target, again, self.whole()).await {
            pending.outcome().await;
        }
        let read = stage.tool_call(Tool::Tally, &json!({ "key": stage.own_key(self.name), "add": 0 }));
        stage.ask(reader, target, READ, "tools/call", read).await;
    }

    /// The readings of how many steps were done, of a call that had begun.
    pub(crate) fn done<'h>(&self, history: &'h History<'_>) -> Vec<(u32, &'h Call<'h>)> {
        let began = history.probed_calls(self.name).any(|call| !call.progress.is_empty());
        let was_paced = history.probed_calls(PACE).any(|call| call.result().is_some());
        let steps = |call: &'h Call<'_>| Some((call.text()?.trim().parse().ok()?, call));
        let read = history.probed_calls(READ).filter(|_| began && was_paced).filter_map(steps);
        // The call has told of a step: a process that knows of none is another one.
        read.filter(|(steps, _)| *steps > 0).collect()
    }

    /// Why there is no reading, where the hub may leave none: progress is optional, and without it nobody knows when the call begins.
    pub(crate) fn why_idle(&self, history: &History<'_>) -> Option<String> {
        let calls = || history.probed_calls(self.name);
        let is_silent = calls().next().is_some() && calls().all(|call| call.progress.is_empty());
        is_silent.then(|| format!("sent 0 of {} progress notifications (progress is optional)", self.steps))
    }

    fn params(&self, stage: &Stage, key: &str) -> Value {
        let arguments =
            json!({ "key": stage.own_key(key), "n": self.steps, "interval_ms": self.step.as_millis() });
        stage.tool_call(Tool::Work, &arguments)
    }

    /// From its first step to its last.
    pub(crate) fn whole(&self) -> Duration {
        self.step * self.steps.saturating_sub(1)
    }
}
