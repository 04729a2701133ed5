//! This replica: its name, its sessions, and where the session of a request lives.
//!
//! Decides from the id alone; knows neither transport.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::defect::{Defect, Defects};
use crate::drain::Drain;
use crate::reply::{self, Reply};
use crate::session::Session;
use crate::session_id::{self, Keyring, Opened, Owner, StartNonce};
use crate::sessions::Sessions;
use crate::{lock, log};

/// How sessions are found when the load balancer chooses another replica.
pub enum Ids {
    /// They are not: an id is random, and known to its own process only.
    Memory,
    /// The id says who owns the session.
    Forward {
        /// What opens and seals ids.
        keyring: Keyring,
        /// Where other replicas reach this one.
        advertise: SocketAddr,
        /// Which process this is at that address.
        start: StartNonce,
    },
}

/// What bounds this replica.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// How long a request body may take to arrive.
    pub body_time: Duration,
    /// Calls in flight per session.
    pub queue: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// How long a session lives that nothing uses.
    pub session_idle: Duration,
}

/// What every handler shares.
pub struct Replica {
    /// What `whoami` answers.
    pub name: Arc<str>,
    /// Deliberate faults.
    pub defects: Defects,
    /// How it stops.
    pub drain: Arc<Drain>,
    /// Its sessions.
    pub sessions: Arc<Sessions>,
    /// How ids are made and read.
    pub ids: Ids,
    /// What bounds it.
    pub limits: Limits,
    /// What it should not have started without: defects only.
    pub lacks: Option<String>,
    /// Sessions begun so far.
    pub begun: std::sync::atomic::AtomicUsize,
    /// Where others reach this replica, as far as it knows.
    pub address: SocketAddr,
    /// Every id of this process (filled for `unknown-is-503` in memory only).
    pub issued: Mutex<HashSet<Arc<str>>>,
    /// The id of the first session (filled for `repeats-session-ids` only).
    pub first_id: Mutex<Option<String>>,
}

/// Where the session of a request lives.
pub enum Place {
    /// In this process.
    Here(Arc<Session>),
    /// In another one.
    Elsewhere(Owner),
    /// Nowhere that we know; the answer says so.
    Nowhere(Reply),
}

impl Replica {
    /// Finds the session with this id. `mark` is what a replica put on the request when it forwarded it.
    pub fn locate(&self, id: &str, mark: Option<&str>) -> Place {
        if let Some(session) = self.sessions.find(id) {
            return Place::Here(session);
        }
        let Ids::Forward { keyring, advertise, start } = &self.ids else {
            return Place::Nowhere(self.unknown(!lock(&self.issued).contains(id), reply::no_session));
        };
        match keyring.open(id) {
            Opened::Owner(owner) => {
                // Ours and ended, or of a process that had this address before. A request is forwarded once at most.
                let is_gone = owner.address == *advertise || owner.start == *start;
                if is_gone || mark.is_some_and(|mark| keyring.is_mark(id, mark)) {
                    return Place::Nowhere(reply::no_session());
                }
                Place::Elsewhere(owner)
            }
            Opened::UnknownKey(key) => {
                log!(
                    "a session id was sealed with the unknown key {key}: do all replicas have the same SESSION_KEY?"
                );
                if self.defects.has(Defect::HidesUnknownKey) {
                    return Place::Nowhere(reply::no_session());
                }
                Place::Nowhere(self.unknown(true, || reply::unknown_key(&key)))
            }
            Opened::Foreign => Place::Nowhere(self.unknown(true, reply::no_session)),
        }
    }

    fn unknown(&self, was_never_issued: bool, answer: impl FnOnce() -> Reply) -> Reply {
        if was_never_issued && self.defects.has(Defect::UnknownIs503) {
            return reply::busy(reply::COULD_NOT_FIND_SESSION);
        }
        answer()
    }

    /// A new session's id.
    pub fn mint(&self) -> Arc<str> {
        match &self.ids {
            Ids::Memory => {
                let id: Arc<str> = session_id::plain().into();
                if self.defects.has(Defect::UnknownIs503) {
                    lock(&self.issued).insert(id.clone());
                }
                id
            }
            Ids::Forward { keyring, advertise, start } => keyring.seal(*advertise, *start).into(),
        }
    }

    /// Whether a defect keeps a second session from beginning.
    pub fn has_one_too_many(&self) -> bool {
        self.defects.has(Defect::OneSessionOnly) && self.sessions.count() > 0
    }

    /// Whether a new session may begin.
    ///
    /// # Errors
    /// The answer to give when not.
    pub fn admit(&self) -> Result<(), &'static str> {
        if self.drain.is_draining() {
            return Err(reply::STOPPING);
        }
        let begun = self.begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.sessions.count() >= self.limits.sessions
            || self.defects.has(Defect::RefusesSecondSession) && begun > 0
            || self.defects.has(Defect::RefusesSessionsAtOddAddress) && self.has_odd_address()
        {
            return Err(reply::TOO_MANY_SESSIONS);
        }
        Ok(())
    }

    fn has_odd_address(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(ip) if ip.octets()[3] % 2 == 1)
    }

    /// Ends idle sessions until the process ends.
    pub async fn sweep(self: Arc<Self>) {
        let limit = self.limits.session_idle;
        let mut tick =
            tokio::time::interval((limit / 4).clamp(Duration::from_millis(20), Duration::from_secs(30)));
        loop {
            tick.tick().await;
            self.sessions.end_idle(limit);
        }
    }

    /// The defect `forgets-after-pause`.
    pub async fn forget_after_pauses(self: Arc<Self>) {
        const BEAT: Duration = Duration::from_millis(100);
        let mut beat = tokio::time::interval(BEAT);
        let mut last = beat.tick().await;
        loop {
            beat.tick().await;
            let now = tokio::time::Instant::now();
            if now - last > 10 * BEAT {
                self.sessions.end_all();
            }
            last = now;
        }
    }
}
