//! How often a run calls tools that nobody allowed by name: a hub that is already running has users, and may be paid for by call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::calls::{Call, LONGEST};
use super::{NamedCall, Rig};
use crate::plan::{Need, Tool};

/// So often behind a URL.
const MOST: usize = 200;

/// So many are kept for cells that are about such a tool.
const KEPT: usize = 50;

/// How many calls are left of tools that are marked as read-only, and that the user did not name.
pub(super) struct Budget(Option<AtomicUsize>);

// === impl Budget ===

impl Budget {
    pub(super) fn of(is_url: bool) -> Self {
        Self(is_url.then(|| AtomicUsize::new(MOST)))
    }

    /// Whether calls are left beyond those that are kept.
    fn has_some(&self) -> bool {
        self.0.as_ref().is_none_or(|left| left.load(Ordering::Relaxed) > KEPT)
    }

    fn take(&self) {
        if let Some(left) = &self.0 {
            let less = |left: usize| Some(left.saturating_sub(1));
            let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

// === impl Rig ===

impl Rig {
    /// Calls that the user allows.
    pub fn allow_calls(&mut self, calls: Vec<NamedCall>) {
        self.asked.allow(calls);
    }

    /// The parameters of a call to the tool that plays a part.
    pub(in crate::run) fn tool_call(&self, tool: Tool, arguments: &Value) -> Value {
        if self.tools.is_marked(tool) {
            self.budget.take();
        }
        self.tools.call(tool, arguments)
    }

    /// Whether hub and backend offer this now: a tool may have been called as often as it is.
    pub(in crate::run) fn offers_now(&self, need: Need) -> bool {
        let is_spent = match need {
            Need::Tool(tool) => self.tools.is_marked(tool) && !self.budget.has_some(),
            _ => false,
        };
        self.offers.meets(need) && !is_spent
    }

    /// The parameters of a call of the hub's own tool that is answered at once; nothing where none may be sent.
    pub(in crate::run) fn quick_call(&self) -> Option<Value> {
        let call = self.tools.own().quick.as_ref().filter(|call| call.is_asked || self.budget.has_some());
        self.sent(call)
    }

    /// The parameters of a call of the hub's own tool that takes seconds.
    pub(in crate::run) fn slow_call(&self) -> Option<Value> {
        self.sent(self.tools.own().slow.as_ref())
    }

    /// The parameters of a call of the hub's own tool that reports progress.
    pub(in crate::run) fn telling_call(&self) -> Option<Value> {
        self.sent(self.tools.own().telling.as_ref())
    }

    /// The parameters of a call that is sent now; one that the user did not name counts.
    fn sent(&self, call: Option<&Call>) -> Option<Value> {
        let call = call?;
        if !call.is_asked {
            self.budget.take();
        }
        Some(call.params())
    }

    /// How long calls of the hub's own tools may take.
    pub(in crate::run) fn longest_call(&self) -> Duration {
        let own = self.tools.own();
        if own.slow.is_some() || own.telling.is_some() { LONGEST } else { Duration::ZERO }
    }

    /// The parameters of a call without arguments of a tool that demands some.
    pub(in crate::run) fn lacking_call(&self) -> Option<Value> {
        let name = self.tools.own().demanding.as_deref()?;
        Some(json!({ "name": name, "arguments": {} }))
    }

    /// Says how often tools are called that the user did not name, where that is limited.
    pub(super) fn limit_line(&self) -> Option<String> {
        let is_limited = self.budget.0.is_some() && self.tools.calls_marked();
        is_limited.then(|| {
            format!(
                "tools that the hub marks as read-only are called at most {MOST} times in this run; those that `--call` or `--tool` names, \
                 without a limit"
            )
        })
    }
}
