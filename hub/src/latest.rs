//! The session that was opened last, to which `progress-to-last` sends the progress of every call.

use std::sync::Mutex;

use rmcp::RoleServer;
use rmcp::service::Peer;

use crate::lock;

/// The client of the newest session of this process.
#[derive(Default)]
pub struct Latest(Mutex<Option<Peer<RoleServer>>>);

impl Latest {
    /// Notes that this client opened a session.
    pub fn opened(&self, peer: &Peer<RoleServer>) {
        *lock(&self.0) = Some(peer.clone());
    }

    /// The one that opened a session last; else this one.
    pub fn or(&self, peer: &Peer<RoleServer>) -> Peer<RoleServer> {
        lock(&self.0).clone().unwrap_or_else(|| peer.clone())
    }
}
