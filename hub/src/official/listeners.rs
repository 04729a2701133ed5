//! Who listens for changes (2026-07-28, `subscriptions/listen`), in this process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rmcp::service::{SubscriptionContext, SubscriptionSink};

use super::fixtures::List;
use crate::lock;

/// The open subscriptions.
#[derive(Default)]
pub(super) struct Listeners {
    open: Mutex<HashMap<u64, SubscriptionSink>>,
    begun: AtomicU64,
}

impl Listeners {
    /// Serves one subscription until its client goes or the hub stops.
    pub(super) async fn serve(&self, subscription: SubscriptionContext) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, subscription.sink().clone());
        // However this ends, dropped included, it is no listener any more.
        let _open = Open { listeners: self, number };
        subscription.cancelled().await;
    }

    /// Tells everyone who asked for it that a list has changed.
    pub(super) async fn tell(&self, list: List) {
        let sinks: Vec<_> = lock(&self.open).values().cloned().collect();
        for sink in sinks {
            // A filter that does not want it, or a client that just went, is no failure of the change.
            let _ = match list {
                List::Tools => sink.notify_tool_list_changed().await,
                List::Prompts => sink.notify_prompt_list_changed().await,
            };
        }
    }
}

struct Open<'a> {
    listeners: &'a Listeners,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.listeners.open).remove(&self.number);
    }
}
