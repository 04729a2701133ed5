//! The sessions of a process: found by id, ended one by one, together, or when idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock;
use crate::session::{Out, Session};

/// The sessions of this process.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Arc<str>, Arc<Session>>>);

impl Sessions {
    /// The session with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.0).get(id).cloned()
    }

    pub(crate) fn insert(&self, session: Arc<Session>) {
        lock(&self.0).insert(session.id().clone(), session);
    }

    /// Ends the session with this id, if there is one.
    pub fn end(&self, id: &str) {
        let session = lock(&self.0).remove(id);
        if let Some(session) = session {
            session.end();
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// Ends every session.
    pub fn end_all(&self) {
        for (_, session) in lock(&self.0).drain() {
            session.end();
        }
    }

    /// Ends every session that nothing used for `limit`, and those that ended by themselves.
    pub fn end_idle(&self, limit: Duration) {
        lock(&self.0).retain(|_, session| {
            let stays = session.idle().is_none_or(|idle| idle < limit) && !session.ended().is_cancelled();
            if !stays {
                session.end();
            }
            if let Some(streams) = session.streams() {
                streams.forget();
            }
            stays
        });
    }

    /// Another HTTP+SSE session than this one.
    pub(crate) fn other_than(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.0)
            .values()
            .find(|session| &**session.id() != id && matches!(session.out, Out::Stream(_)))
            .cloned()
    }
}
