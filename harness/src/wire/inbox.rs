//! Brings the messages that arrive on a session's streams to the requests that wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::Target;
use crate::transcript::Frame;

/// How many requests of the hub wait for their answer at most; more are not answered.
const ASKED_LIMIT: usize = 16;

/// Where a session's messages arrive.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<HashMap<u64, mpsc::UnboundedSender<News>>>,
    asked: mpsc::Sender<Asked>,
    /// How many requests of the hub have come and are not answered yet.
    unanswered: watch::Sender<usize>,
}

/// What a waiting request is told.
#[derive(Debug)]
pub(super) enum News {
    /// A progress notification for it.
    Progress,
    /// Its JSON-RPC answer.
    Answer(Value),
}

/// A request of the hub to the client.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where the hub that asks was reached.
    pub(super) target: Target,
    pub(super) id: Value,
    pub(super) method: String,
}

// === impl Inbox ===

impl Inbox {
    /// An inbox, and where the hub's own requests come out of it.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Asked>) {
        let (asked, questions) = mpsc::channel(ASKED_LIMIT);
        let inbox = Self { waiting: Mutex::default(), asked, unanswered: watch::Sender::new(0) };
        (Arc::new(inbox), questions)
    }

    /// A request of the hub has its answer, or was refused it.
    pub(super) fn answered(&self) {
        self.unanswered.send_modify(|count| *count -= 1);
    }

    /// Waits until every request of the hub that has come is answered.
    pub(super) async fn all_answered(&self) {
        // An error says that the inbox is gone, which `self` keeps.
        let _ = self.unanswered.subscribe().wait_for(|count| *count == 0).await;
    }

    /// From now on, what concerns this request comes out of what is returned.
    pub(super) fn expect(&self, number: u64) -> mpsc::UnboundedReceiver<News> {
        let (sender, news) = mpsc::unbounded_channel();
        self.waiting().insert(number, sender);
        news
    }

    /// Nobody waits for this request any more.
    pub(super) fn forget(&self, number: u64) {
        self.waiting().remove(&number);
    }

    /// Takes the message of a frame. Returns whether it has the answer to `number`.
    pub(super) fn frame(&self, frame: &Frame, target: &Target, number: Option<u64>) -> bool {
        let data = frame.data.as_deref().filter(|_| frame.event_type() == "message");
        data.is_some_and(|data| self.deliver(data.as_bytes(), target, number))
    }

    /// Takes a message, or a batch. What is no JSON-RPC is nobody's. Returns as [`Inbox::frame`] does.
    pub(super) fn deliver(&self, bytes: &[u8], target: &Target, number: Option<u64>) -> bool {
        let messages = match serde_json::from_slice(bytes) {
            Ok(Value::Array(batch)) => batch,
            Ok(message) => vec![message],
            Err(_) => Vec::new(),
        };
        let mut found = false;
        for message in messages {
            found |= self.take(message, target, number);
        }
        found
    }

    fn take(&self, message: Value, target: &Target, number: Option<u64>) -> bool {
        if let Some(method) = message["method"].as_str() {
            if let Some(id) = message.get("id") {
                let asked = Asked { target: target.clone(), id: id.clone(), method: method.to_owned() };
                // Counted before it can be answered; a hub that asks faster than we answer waits in vain.
                self.unanswered.send_modify(|count| *count += 1);
                if self.asked.try_send(asked).is_err() {
                    self.answered();
                }
            } else if method == "notifications/progress"
                && let Some(token) = message["params"]["progressToken"].as_u64()
            {
                self.tell(token, News::Progress);
            }
            return false;
        }
        let Some(id) = message["id"].as_u64() else {
            return false;
        };
        self.tell(id, News::Answer(message));
        number == Some(id)
    }

    fn tell(&self, number: u64, news: News) {
        if let Some(sender) = self.waiting().get(&number) {
            // It may have stopped waiting.
            let _ = sender.send(news);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<News>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
