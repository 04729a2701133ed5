//! Calls of tools: those that play a part, and the hub's own.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Holder, InFlight, Stage};
use crate::plan::{Need, Tool};
use crate::transcript::normal::own_mark;
use crate::wire::{Outcome, Pending, Progress, Raw, Session, Target};

impl Stage {
    /// One small request on a session: `echo` where the hub has it, else a call of its own tools that may be sent, else
    /// [`Stage::small`].
    pub async fn probe(&self, holder: &Holder, target: &Target) -> Outcome {
        if self.offers(Need::Tool(Tool::Echo)) {
            let text = format!("payload {}", own_mark(holder.client.name()));
            self.call(holder, target, Tool::Echo, json!({ "text": text })).await
        } else if let Some(call) = self.rig.quick_call() {
            holder.session.request(target, "tools/call", call).await
        } else {
            holder.session.request(target, self.small(), json!({})).await
        }
    }

    /// Parameters of a call that takes seconds: one that is held for so long, or one of the hub's own tools that takes as long as it
    /// takes; nothing when it has neither.
    pub fn slow_call(&self, key: &str, hold: Duration) -> Option<Value> {
        let ms = hold.as_millis();
        if self.offers(Need::Tool(Tool::Sleep)) {
            Some(self.tool_call(Tool::Sleep, &json!({ "ms": ms })))
        } else if self.offers(Need::Tool(Tool::Tally)) {
            Some(self.tool_call(Tool::Tally, &json!({ "key": key, "hold_ms": ms })))
        } else {
            self.rig.slow_call()
        }
    }

    /// Parameters of a call that reports progress so often, or as often as one of the hub's own tools does; nothing when it has neither.
    pub fn telling_call(&self, n: u64, between: Duration) -> Option<Value> {
        if self.offers(Need::Tool(Tool::Count)) {
            Some(self.tool_call(Tool::Count, &json!({ "n": n, "interval_ms": between.as_millis() })))
        } else {
            self.rig.telling_call()
        }
    }

    /// Sends a call that may take as long as the hub's own tools do, and waits for what becomes of it.
    pub async fn send_long(&self, session: &Session, target: &Target, raw: Raw) -> Outcome {
        if self.longest_call() == Duration::ZERO {
            return session.send(target, raw).await;
        }
        match session.send_held(target, raw.clone(), self.longest_call()).await {
            Some(pending) => pending.outcome().await,
            None => session.send(target, raw).await,
        }
    }

    /// How long the hub's own tools take that scenarios call: nothing where they call none.
    pub fn longest_call(&self) -> Duration {
        self.rig.longest_call()
    }

    /// Parameters of a call without arguments of a tool that demands some, and may be called; nothing when there is none.
    pub fn lacking_call(&self) -> Option<Value> {
        if self.offers(Need::Tool(Tool::Echo)) {
            Some(self.tool_call(Tool::Echo, &json!({})))
        } else {
            self.rig.lacking_call()
        }
    }

    /// Calls the tool that plays a part.
    pub async fn call(&self, holder: &Holder, target: &Target, tool: Tool, arguments: Value) -> Outcome {
        holder.session.request(target, "tools/call", self.tool_call(tool, &arguments)).await
    }

    /// The method and parameters of a call to the tool that plays a part.
    pub fn tool_call(&self, tool: Tool, arguments: &Value) -> Value {
        self.rig.tool_call(tool, arguments)
    }

    /// Brings a call in flight that a replica holds for so long: `tally` where the hub has it (and then waits until
    /// it is known to run), `sleep` otherwise; nothing when it has neither.
    pub async fn hold(&self, holder: &Holder, target: &Target, hold: Duration) -> Option<InFlight> {
        if !self.offers(Need::HeldCall) {
            return None;
        }
        let pending = self.start_held(holder, target, hold).await;
        Some(InFlight { pending, key: self.key_of(holder) })
    }

    /// Starts a call that is held for so long, and waits until it is known to run, where that can be told.
    pub(super) async fn start_held(&self, holder: &Holder, target: &Target, hold: Duration) -> Pending {
        let counted = self.offers(Need::Tool(Tool::Tally));
        let progress = if counted { Progress::Asked } else { Progress::No };
        let params = self.held_call(holder, hold);
        let mut pending = holder.session.start(target, "tools/call", params, hold, progress).await;
        if counted {
            pending.underway(self.rig.timeouts.answer).await;
        }
        pending
    }

    /// Parameters of a call that is held for so long: `tally` where the hub has it, `sleep` otherwise.
    pub(super) fn held_call(&self, holder: &Holder, hold: Duration) -> Value {
        let ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        if self.offers(Need::Tool(Tool::Tally)) {
            self.tool_call(Tool::Tally, &json!({ "key": self.key_of(holder), "hold_ms": ms }))
        } else {
            self.tool_call(Tool::Sleep, &json!({ "ms": ms }))
        }
    }
}
