//! How the survey looks at each transport: again and again while the hub may still be starting, and with an experiment where the
//! answer alone does not say what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, Interval, interval};

use super::tools::{Listed, OURS};
use super::way::{self, Asked, Kind, Obstacle};
use super::{Place, Rig, experiment};
use crate::cluster::manifest::Manifests;
use crate::plan::{Cell, Need, Transport};
use crate::run::rig::surveyed::SURVEY;
use crate::run::stage::outcome_text;
use crate::source::Source;
use crate::transcript::history::History;
use crate::transcript::{ExchangeId, Recorder, Transcript, What};
use crate::wire::{Client, Outcome, Session, Target};

/// How often an era is looked at whose session was lost between replicas before its tools were told.
const TRIES: u32 = 5;

/// How many requests on a session must be answered before the only replica counts as one that keeps it: by luck, two workers that
/// share a port pass so many with a chance of 1 in 4096.
const PINGS: usize = 12;

/// From so many tools on a list is long: it is read once, and not with every small request.
const LONG_LIST: usize = 1000;

/// The first pause before another look at a hub that may still be starting; the pauses grow.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How much longer a transport may take than another one of the same hub: a server that has started offers all of them.
const OTHERS_FOLLOW: Duration = Duration::from_secs(10);

/// One transport, as the survey finds it.
pub(super) struct Look {
    transport: Transport,
    client: Client,
    so_far: SoFar,
}

/// What is known of a transport.
#[derive(Debug)]
pub(super) enum SoFar {
    /// Nothing yet, or this stood in the way of the latest try and may pass.
    Open(Option<Obstacle>),
    /// The hub speaks it, and offers this; what of it hangs.
    Spoken(Vec<Need>, Vec<Obstacle>),
    /// This stands in the way.
    Blocked(Obstacle),
}

/// A survey of a hub that became ready.
pub(super) struct Looking<'a> {
    rig: &'a Rig,
    target: &'a Target,
    recorder: &'a Recorder,
    /// The tools of the hub, by their names.
    listed: Mutex<BTreeMap<String, Listed>>,
    /// Whether the hub has more tools than it listed.
    is_part: AtomicBool,
    /// Whether the list of tools is too long to be read again.
    has_long_list: AtomicBool,
}

/// What one conversation over a transport showed.
struct Seen {
    names_sessions: bool,
}

// === impl Look ===

impl Look {
    pub(super) fn new(client: Client, transport: Transport) -> Self {
        Self { transport, client, so_far: SoFar::Open(None) }
    }

    pub(super) fn is_spoken(&self) -> bool {
        matches!(self.so_far, SoFar::Spoken(..))
    }

    pub(super) fn into_parts(self) -> (Transport, SoFar) {
        (self.transport, self.so_far)
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    fn is_open(&self) -> bool {
        matches!(self.so_far, SoFar::Open(_))
    }

    /// After how long the hub said that it may be asked again.
    fn wants_pause(&self) -> Option<Duration> {
        match &self.so_far {
            SoFar::Open(Some(Obstacle { kind: Kind::Limited(Some(seconds)), .. })) => {
                Some(Duration::from_secs(*seconds))
            }
            _ => None,
        }
    }
}

// === impl Looking ===

impl<'a> Looking<'a> {
    pub(super) fn new(rig: &'a Rig, target: &'a Target, recorder: &'a Recorder) -> Self {
        let (is_part, has_long_list) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { rig, target, recorder, listed: Mutex::default(), is_part, has_long_list }
    }

    /// Looks at each transport until it is spoken or something stands in its way that will not pass, for as long as the hub may
    /// take to become ready.
    pub(super) async fn until_decided(&self, looks: &mut [Look]) {
        let mut until = Instant::now() + self.rig.timeouts.ready;
        let mut again = interval(FIRST_PAUSE);
        let mut pause = FIRST_PAUSE;
        loop {
            for look in looks.iter_mut().filter(|look| look.is_open()) {
                look.so_far = self.look(look).await;
            }
            if looks.iter().any(Look::is_spoken) {
                until = until.min(Instant::now() + OTHERS_FOLLOW);
            }
            let open = || looks.iter().filter(|look| look.is_open());
            let wanted = open().filter_map(Look::wants_pause).max().unwrap_or_default().max(pause);
            if open().next().is_none() || Instant::now() + wanted > until {
                return;
            }
            pass(&mut again, wanted).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try, and what it shows.
    async fn look(&self, look: &Look) -> SoFar {
        let (client, transport) = (&look.client, look.transport);
        let since = self.recorder.entries().last().map_or(0, |entry| entry.seq);
        let asked = Asked {
            client: client.name(),
            transport,
            since,
            is_alone: self.is_alone(),
            is_url: self.is_url(),
        };
        let seen = self.converse(client, transport).await;
        let foreign = self.in_history(|history| way::foreign_endpoint(history, asked));
        let found = match (seen, foreign) {
            (_, Some(foreign)) => foreign,
            (Ok(seen), None) => return self.spoken(client, asked, &seen).await,
            (Err(outcome), None) => {
                experiment::refused(self.target, client, transport, &outcome).await;
                if transport == Transport::Sse {
                    experiment::below_prefixes(self.target, client, &self.rig.dialect.sse_path).await;
                }
                self.in_history(|history| {
                    way::obstacle(history, asked).unwrap_or_else(|| way::unclear(&outcome_text(&outcome)))
                })
            }
        };
        // Behind a URL there may be replicas that do not know each other's sessions: what cells are there to find out, and
        // an era is spoken all the same.
        let may_be_astray = !self.is_alone() && found.kind != Kind::Lasting && found.has_begun;
        if may_be_astray { self.look_astray(client, asked).await } else { self.decided(found) }
    }

    /// More tries at a hub whose session may have been lost between replicas.
    async fn look_astray(&self, client: &Client, asked: Asked<'_>) -> SoFar {
        let transport = asked.transport;
        for _ in 1..TRIES {
            if let Ok(seen) = self.converse(client, transport).await {
                return self.spoken(client, asked, &seen).await;
            }
        }
        let mut offers = vec![Need::Speaks(transport)];
        if transport == Transport::Streamable {
            offers.extend([Need::GetAnswered, Need::DeleteAnswered]);
        }
        SoFar::Spoken(offers, Vec::new())
    }

    /// Whether to try again.
    fn decided(&self, found: Obstacle) -> SoFar {
        let found = self.with_line_breaks(found);
        // The rules of a real cluster may come after its endpoints.
        let may_come = found.kind == Kind::Unreachable && self.rig.timeouts.way > Duration::ZERO;
        let is_passing = matches!(found.kind, Kind::Passing | Kind::Limited(_)) || may_come;
        let port = self.rig.manifests().filter(|_| matches!(found.kind, Kind::Passing | Kind::Unreachable));
        match port.filter(|_| !found.has_begun).and_then(|manifests| manifests.undeclared_target_port()) {
            Some(fault) if matches!(found.id, "unreachable" | "connection-broken") => {
                SoFar::Blocked(super::ready::of_service(&fault))
            }
            _ if is_passing => SoFar::Open(Some(found)),
            _ => SoFar::Blocked(found),
        }
    }

    /// A token that is refused may be right, and what the hub compares it with may not.
    fn with_line_breaks(&self, found: Obstacle) -> Obstacle {
        let broken = self.rig.manifests().map(Manifests::secrets_with_line_break).unwrap_or_default();
        let names = broken.join("`, `");
        if found.id != "unauthorised" || names.is_empty() {
            return found;
        }
        let remedy = format!(
            "{}; in the manifests, the value of Secret key `{names}` ends with a line break",
            found.remedy
        );
        Obstacle { remedy, ..found }
    }

    /// What a hub offers that speaks the transport, and what of it hangs.
    async fn spoken(&self, client: &Client, asked: Asked<'_>, seen: &Seen) -> SoFar {
        let transport = asked.transport;
        let mut offers = vec![Need::Speaks(transport)];
        offers.extend(seen.names_sessions.then_some(Need::SessionIds(transport)));
        let is_resumable =
            transport == Transport::Streamable && gives_event_ids(client.name(), self.recorder);
        offers.extend(is_resumable.then_some(Need::EventIds));
        let says_goodbye = !self.in_history(|history| way::delete_is_silent(history, asked));
        let since = self.recorder.entries().last().map_or(0, |entry| entry.seq);
        experiment::behaviour(self.target, client, transport, says_goodbye).await;
        let behaving = Asked { since, ..asked };
        let hangs = self.in_history(|history| way::hangs(history, behaving));
        let delete_hangs = self.in_history(|history| way::delete_hangs(history, asked));
        if transport == Transport::Streamable {
            offers.extend(hangs.is_none().then_some(Need::GetAnswered));
            offers.extend(delete_hangs.is_none().then_some(Need::DeleteAnswered));
        }
        SoFar::Spoken(offers, hangs.into_iter().chain(delete_hangs).collect())
    }

    /// One conversation over a transport.
    async fn converse(&self, client: &Client, transport: Transport) -> Result<Seen, Outcome> {
        let session = client.open(transport, self.target).await?;
        let seen = self.ask(&session, transport).await;
        session.end(self.target).await;
        seen
    }

    async fn ask(&self, session: &Session, transport: Transport) -> Result<Seen, Outcome> {
        if !self.has_long_list() || transport == Transport::Stateless {
            self.list(session, transport).await?;
        }
        let has_session = transport != Transport::Stateless && session.id().is_some();
        for _ in 0..if has_session && self.is_alone() { PINGS } else { 0 } {
            match session.request(self.target, "ping", Value::Null).await {
                Outcome::Result(_) | Outcome::Error { .. } => {}
                other => return Err(other),
            }
        }
        Ok(Seen { names_sessions: session.id().is_some() })
    }

    async fn list(&self, session: &Session, transport: Transport) -> Result<(), Outcome> {
        match session.request(self.target, "tools/list", json!({})).await {
            Outcome::Result(result) => {
                let tools = result["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
                self.has_long_list.fetch_or(tools.len() >= LONG_LIST, Ordering::Relaxed);
                let listed = tools.iter().filter_map(Listed::read);
                self.listed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(listed.map(|tool| (tool.name().to_owned(), tool)));
                self.is_part.fetch_or(!result["nextCursor"].is_null(), Ordering::Relaxed);
                Ok(())
            }
            // A server without tools says so; it still speaks the transport.
            Outcome::Error { .. } if transport != Transport::Stateless => Ok(()),
            other => Err(other),
        }
    }

    /// Whether the list of tools is too long for small requests.
    pub(super) fn has_long_list(&self) -> bool {
        self.has_long_list.load(Ordering::Relaxed)
    }

    /// Whether the hub has more tools than it listed at once.
    pub(super) fn lists_in_parts(&self) -> bool {
        self.is_part.load(Ordering::Relaxed)
    }

    /// The tools of the hub, by their names.
    pub(super) fn listed(&self) -> BTreeMap<String, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the hub calls itself by the reference hub's name.
    pub(super) fn is_called_ours(&self) -> bool {
        let places = ["/serverInfo/name", "/_meta/io.modelcontextprotocol~1serverInfo/name"];
        let is_ours = |result: &Value| {
            places.iter().any(|place| result.pointer(place).and_then(Value::as_str) == Some(OURS))
        };
        self.in_history(|history| history.calls.iter().filter_map(|call| call.result()).any(is_ours))
    }

    fn is_url(&self) -> bool {
        matches!(self.rig.place, Place::Url { .. })
    }

    /// Whether there is one replica, so that no session can stray.
    fn is_alone(&self) -> bool {
        !self.is_url()
    }

    /// What the transcript of the survey says so far.
    pub(super) fn in_history<T>(&self, read: impl FnOnce(&History<'_>) -> T) -> T {
        let header = self.rig.header(Cell { scenario: SURVEY, affinity: None, transport: None }, 1);
        let transcript = Transcript { header, entries: self.recorder.entries() };
        read(&History::new(&transcript))
    }
}

impl Rig {
    /// The client that looks at a transport.
    pub(super) fn survey_client(
        &self,
        transport: Transport,
        source: Option<Source>,
        recorder: &Recorder,
    ) -> Client {
        let name = format!("survey-{transport}");
        Client::new(name, source, recorder.clone(), Arc::clone(&self.dialect), Arc::clone(&self.timeouts))
    }
}

// === helpers ===

/// Lets a hub that is not ready to answer have so long.
async fn pass(again: &mut Interval, pause: Duration) {
    again.reset_after(pause);
    again.tick().await;
}

/// Whether an event that this client heard had an id.
fn gives_event_ids(client: &str, recorder: &Recorder) -> bool {
    let mut own: BTreeSet<ExchangeId> = BTreeSet::new();
    recorder.entries().iter().any(|entry| match &entry.what {
        What::Request(request) if request.client == client => {
            own.insert(request.exchange);
            false
        }
        What::Frame { exchange, frame } => own.contains(exchange) && frame.id.is_some(),
        _ => false,
    })
}
