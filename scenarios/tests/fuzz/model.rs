//! What must happen: the hub contract as a small state machine. Pure; knows no wire and no cluster.
//!
//! There is nothing of a session but what its owner's process has. So all there is to know is which sessions are open, who owns
//! them, and which replicas are there.

use std::collections::BTreeMap;

use harness::plan::Transport;
use scenarios::fuzz::Must;

/// What is known of the hub.
#[derive(Debug)]
pub(crate) struct Model {
    era: Transport,
    replicas: BTreeMap<String, Presence>,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    owner: Option<String>,
    life: Life,
}

/// Whether a replica is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Up,
    /// Told to go, or not ready yet: it may serve, and may not.
    Unsure,
    /// Killed, and restarted at some time.
    Killed,
}

/// Whether a session is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// Its client ended it, and the hub took that.
    Ended,
    /// Its owner's process is gone, with it.
    Lost,
    /// Its client left, and the hub may not have heard that.
    Left,
    /// Its owner is told to go.
    Unsure,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    Replica(String),
    Service,
}

impl Model {
    pub(crate) fn new(era: Transport, replicas: &[String]) -> Self {
        let mut model = Self { era, replicas: BTreeMap::new(), sessions: Vec::new() };
        model.settled(replicas);
        model
    }

    // === what is known ===

    pub(crate) fn owner(&self, session: usize) -> Option<&str> {
        self.sessions.get(session)?.owner.as_deref()
    }

    /// Those that are there, or may be.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &str> {
        self.replicas.keys().map(String::as_str)
    }

    pub(crate) fn is_up(&self, replica: &str) -> bool {
        self.replicas.get(replica) == Some(&Presence::Up)
    }

    /// Whether nothing changes.
    pub(crate) fn is_calm(&self) -> bool {
        self.replicas.values().all(|presence| *presence == Presence::Up)
    }

    /// Whether a request that goes there reaches a replica that serves.
    fn is_reached(&self, reached: &Reached) -> bool {
        match reached {
            Reached::Replica(replica) => self.is_up(replica),
            Reached::Service => self.is_calm(),
        }
    }

    fn life(&self, session: usize) -> Life {
        self.sessions.get(session).map_or(Life::Open, |session| session.life)
    }

    // === what must happen ===

    /// To a client that opens a session.
    pub(crate) fn opening(&self, reached: &Reached) -> Option<Must> {
        self.is_reached(reached).then_some(Must::Open)
    }

    /// To a call that would be answered with this text.
    pub(crate) fn call(&self, session: usize, reached: &Reached, text: String) -> Must {
        match self.life(session) {
            // Nobody listens to its answers any more, but for its exchange.
            Life::Left => Must::Stop,
            _ if !self.is_reached(reached) => Must::End,
            Life::Open => Must::Answer(text),
            Life::Ended | Life::Lost if self.is_calm() => Must::Refuse,
            // While its owner goes or comes back, nobody may be able to tell that it is another process.
            Life::Ended => Must::Lose,
            // A process that is being killed may answer for a moment.
            Life::Lost | Life::Unsure => Must::End,
        }
    }

    /// To a message that is taken and not answered.
    pub(crate) fn notification(&self, session: usize, reached: &Reached) -> Must {
        match self.call(session, reached, String::new()) {
            Must::Answer(_) => Must::Accept,
            Must::Refuse => Must::Refuse,
            _ => Must::Stop,
        }
    }

    /// Whether a request is owed an answer.
    pub(crate) fn is_answered(&self, session: usize, reached: &Reached) -> bool {
        matches!(self.call(session, reached, String::new()), Must::Answer(_))
    }

    /// To a DELETE; nothing is owed in an era without.
    pub(crate) fn closing(&self, session: usize, reached: &Reached) -> Option<Must> {
        let is_owed =
            self.era == Transport::Streamable && self.life(session) == Life::Open && self.is_reached(reached);
        is_owed.then_some(Must::Close)
    }

    /// To something odd: an answer, if only an error that says whose it is.
    pub(crate) fn odd(&self, session: usize, reached: &Reached) -> Must {
        let is_certain = self.is_reached(reached) && (self.is_calm() || self.life(session) == Life::Open);
        if is_certain { Must::Handle } else { Must::Stop }
    }

    /// To a request that names no session that is there.
    pub(crate) fn unknown(&self, reached: &Reached) -> Must {
        // A name that was cut or changed is nobody's: no replica has to be asked.
        if self.is_reached(reached) { Must::Refuse } else { Must::Stop }
    }

    /// To a call that runs when this replica is killed; `None` where nothing changes for it.
    pub(crate) fn running_at_kill(&self, session: usize, via: &str, killed: &str) -> Option<Must> {
        // Over HTTP+SSE the answer comes on the session's stream: whoever passed the call on is not needed any more.
        let is_carried = self.era != Transport::Sse && via == killed;
        let is_owned = self.owner(session) == Some(killed);
        (is_carried || is_owned).then(|| Must::Tell(killed.to_owned()))
    }

    // === what has happened ===

    pub(crate) fn opened(&mut self, owner: Option<String>) {
        let owner = owner.filter(|_| self.era != Transport::Stateless);
        // At one that was killed, it may have been opened before that and after.
        let is_there = owner.as_deref().is_none_or(|owner| self.is_up(owner));
        let life = if is_there { Life::Open } else { Life::Unsure };
        self.sessions.push(Session { owner, life });
    }

    /// Its client has ended it; whether the hub must have heard that.
    pub(crate) fn ended(&mut self, session: usize, reached: &Reached) -> bool {
        let life = self.life(session);
        if self.era == Transport::Stateless || matches!(life, Life::Ended | Life::Lost) {
            return false;
        }
        let is_heard = life == Life::Open && self.is_reached(reached);
        self.sessions[session].life = if is_heard { Life::Ended } else { Life::Left };
        is_heard
    }

    pub(crate) fn killed(&mut self, replica: &str) {
        self.replicas.insert(replica.to_owned(), Presence::Killed);
        self.of(replica, Life::Lost);
    }

    pub(crate) fn told_to_go(&mut self, replica: &str) {
        self.replicas.insert(replica.to_owned(), Presence::Unsure);
        self.of(replica, Life::Unsure);
    }

    /// The cluster does not change any more: these are there, and no others.
    pub(crate) fn settled(&mut self, replicas: &[String]) {
        self.replicas = replicas.iter().map(|replica| (replica.clone(), Presence::Up)).collect();
        let is_gone = |owner: &String| !replicas.contains(owner);
        for session in &mut self.sessions {
            if session.owner.as_ref().is_some_and(is_gone) && session.life != Life::Ended {
                session.life = Life::Lost;
            }
        }
    }

    fn of(&mut self, replica: &str, life: Life) {
        let owned = |session: &&mut Session| session.owner.as_deref() == Some(replica);
        for session in self.sessions.iter_mut().filter(owned) {
            let is_worse = matches!((session.life, life), (Life::Open, _) | (Life::Unsure, Life::Lost));
            if is_worse {
                session.life = life;
            }
        }
    }
}
