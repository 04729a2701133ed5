//! A transcript read as exchanges, sessions and calls: what checks and snapshots look at.
//!
//! Everything here is derived from entries alone, so that a verdict can be recomputed from a file.

mod call;
mod departure;
mod exchange;
mod lateness;
mod refusal;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use call::{is_answer_to, is_progress_of, outcome, same_target};
pub use departure::Departure;
use exchange::exchanges;
pub use refusal::Refusal;
use serde_json::Value;

use super::{Body, End, Entry, ExchangeId, Fault, Frame, Path, PodChange, Request, Transcript, What};
use crate::plan::Transport;
use crate::timeouts::{ANSWER, SLACK};

/// A place in a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The entry's number.
    pub seq: u32,
    /// Microseconds since the recording began.
    pub us: u64,
}

/// A transcript, indexed.
#[derive(Debug)]
pub struct History<'t> {
    /// What it was read from.
    pub transcript: &'t Transcript,
    /// Every exchange, in order.
    pub exchanges: BTreeMap<ExchangeId, Exchange<'t>>,
    /// Every session that was opened, in order.
    pub sessions: Vec<Session<'t>>,
    /// Every JSON-RPC request that a client sent, in order, but for those that were cut short when the cell broke off.
    pub calls: Vec<Call<'t>>,
    /// Everything the harness did to the cluster, in order.
    pub faults: Vec<(At, &'t Fault)>,
}

/// One HTTP exchange.
#[derive(Debug)]
pub struct Exchange<'t> {
    /// Its number.
    pub id: ExchangeId,
    /// When the request was sent.
    pub at: At,
    /// The request.
    pub request: &'t Request,
    /// The client's end of the connection, once it was made.
    pub from: Option<SocketAddr>,
    /// The replica it reached: the one it was aimed at, or the one the balancer picked.
    pub replica: Option<&'t str>,
    /// The head of the answer.
    pub head: Option<Head<'t>>,
    /// The frames that came, when the answer is an event stream.
    pub frames: Vec<(At, &'t Frame)>,
    /// The body that came, when it is not.
    pub body: Option<(At, &'t Body)>,
    /// How it ended; `None` when the recording ended before it.
    pub end: Option<(At, &'t End)>,
}

/// Status and headers of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'t> {
    /// When it came.
    pub at: At,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: &'t [(String, String)],
}

/// One session of one client.
#[derive(Debug)]
pub struct Session<'t> {
    /// The client that holds it.
    pub client: &'t str,
    /// Its id, when the hub gave one.
    pub id: Option<&'t str>,
    /// The replica that owns it, when that is known.
    pub owner: Option<&'t str>,
    /// When it was open.
    pub opened: At,
    /// When the client ended it.
    pub ended: Option<At>,
}

/// One JSON-RPC request.
#[derive(Debug)]
pub struct Call<'t> {
    /// The exchange that carried it.
    pub exchange: ExchangeId,
    /// The client that sent it.
    pub client: &'t str,
    /// How it travelled.
    pub path: &'t Path,
    /// The replica it reached, when that is known.
    pub replica: Option<&'t str>,
    /// Index into [`History::sessions`] of the session it names; `None` for an unknown or no session.
    pub session: Option<usize>,
    /// The JSON-RPC method.
    pub method: &'t str,
    /// The JSON-RPC id.
    pub id: &'t Value,
    /// The parameters.
    pub params: &'t Value,
    /// When it was sent.
    pub sent: At,
    /// Every answer with its id that came on a stream or in a body where an answer to it belongs.
    pub answers: Vec<(At, Value)>,
    /// When progress of it was reported.
    pub progress: Vec<At>,
    /// What became of it first.
    pub outcome: Outcome<'t>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'t> {
    /// A JSON-RPC answer with its id.
    Answered {
        /// When.
        at: At,
    },
    /// An HTTP error.
    Refused {
        /// When.
        at: At,
        /// The status.
        status: u16,
    },
    /// The connection, or the stream its answer belongs on, ended first.
    Ended {
        /// When.
        at: At,
        /// How.
        how: &'t End,
    },
    /// Nothing until the client gave up.
    Silent,
}

// === impl History ===

impl<'t> History<'t> {
    /// Reads a transcript.
    pub fn new(transcript: &'t Transcript) -> Self {
        let mut history = Self {
            transcript,
            exchanges: exchanges(&transcript.entries),
            sessions: Vec::new(),
            calls: Vec::new(),
            faults: Vec::new(),
        };
        for entry in &transcript.entries {
            match &entry.what {
                What::Session { client, id, owner } => history.sessions.push(Session {
                    client,
                    id: id.as_deref(),
                    owner: owner.as_deref(),
                    opened: entry.place(),
                    ended: None,
                }),
                What::SessionEnded { client, id } => {
                    let ended = history.sessions.iter_mut().rev().find(|session| {
                        session.client == client && session.id == id.as_deref() && session.ended.is_none()
                    });
                    if let Some(session) = ended {
                        session.ended = Some(entry.place());
                    }
                }
                What::Fault(fault) => history.faults.push((entry.place(), fault)),
                _ => {}
            }
        }
        history.calls = history.read_calls();
        history
    }

    /// The transport of this cell, when it varies with it.
    pub fn transport(&self) -> Option<Transport> {
        self.transcript.header.transport
    }

    /// All entries.
    pub fn entries(&self) -> &'t [Entry] {
        &self.transcript.entries
    }

    /// The session that a call names.
    pub fn session_of(&self, call: &Call<'_>) -> Option<&Session<'t>> {
        call.session.map(|idx| &self.sessions[idx])
    }

    /// The exchanges of every request that the scenario sent under this name, in order.
    pub fn probes(&self, name: &str) -> impl Iterator<Item = &Exchange<'t>> {
        self.exchanges.values().filter(move |exchange| exchange.request.probe.as_deref() == Some(name))
    }

    /// The JSON-RPC requests that the scenario sent under this name, in order.
    pub fn probed_calls(&self, name: &str) -> impl Iterator<Item = &Call<'t>> {
        self.calls.iter().filter(move |call| self.probe_of(call) == Some(name))
    }

    /// The name under which the scenario sent a request.
    pub fn probe_of(&self, call: &Call<'_>) -> Option<&'t str> {
        self.exchanges.get(&call.exchange).and_then(|exchange| exchange.request.probe.as_deref())
    }

    /// When a step began.
    pub fn step(&self, wanted: &str) -> Option<At> {
        self.entries().iter().find_map(|entry| match &entry.what {
            What::Step { name } if name == wanted => Some(entry.place()),
            _ => None,
        })
    }

    /// A limit of the contract, as long as it is on the machine that was measured.
    pub fn stretched(&self, limit: Duration) -> Duration {
        let stretch = self.transcript.header.measured.stretch();
        if stretch > 1.0 { limit.mul_f64(stretch) } else { limit }
    }

    /// The last place.
    pub fn end(&self) -> At {
        self.entries().last().map_or(At { seq: 0, us: 0 }, Entry::place)
    }

    /// The stream that a session's messages come on: HTTP+SSE's one, or Streamable HTTP's GET streams.
    pub fn streams_of(&self, session: &Session<'_>) -> impl Iterator<Item = &Exchange<'t>> {
        let (client, id) = (session.client.to_owned(), session.id.map(str::to_owned));
        let sse = self.transport() == Some(Transport::Sse);
        self.exchanges.values().filter(move |exchange| {
            let Some(id) = id.as_deref() else { return false };
            exchange.request.client == client
                && exchange.request.method == "GET"
                && exchange.is_event_stream()
                && if sse {
                    exchange.endpoint().is_some_and(|endpoint| endpoint.contains(id))
                } else {
                    exchange.request.header("mcp-session-id") == Some(id)
                }
        })
    }

    /// Whether a request goes to the endpoint of an HTTP+SSE stream that is open.
    pub fn is_endpoint(&self, exchange: &Exchange<'_>) -> bool {
        self.exchanges.values().any(|stream| {
            stream.end.is_none_or(|(ended, _)| exchange.at < ended)
                && stream
                    .endpoint()
                    .is_some_and(|uri| same_target(uri, &stream.request.target, &exchange.request.target))
        })
    }

    /// Whether a Streamable HTTP session of this id is open at this time: a hub gave it out, and it has not ended. Without
    /// an id, whether the hub gives none.
    pub fn is_session(&self, id: Option<&str>, at: At) -> bool {
        let mut given = self
            .exchanges
            .values()
            .filter(|exchange| exchange.status() == Some(200))
            .filter_map(|exchange| exchange::find_header(exchange.head?.headers, "mcp-session-id"));
        let Some(id) = id else { return given.next().is_none() };
        let has_ended =
            |session: &Session<'_>| session.id == Some(id) && session.ended.is_some_and(|ended| ended < at);
        given.any(|given| given == id) && !self.sessions.iter().any(has_ended)
    }

    /// A pod that exists at this time and whose container the cluster has not started yet, without a reason why, or with none that
    /// came after `mended`: whatever waits for that pod, waits for the cluster.
    pub fn not_started(&self, mended: Option<At>, at: At) -> Option<&'t str> {
        let mut starting: Vec<&'t str> = Vec::new();
        for entry in self.entries().iter().take_while(|entry| entry.seq < at.seq) {
            let What::Pod { pod, change } = &entry.what else { continue };
            match change {
                PodChange::Created => starting.push(pod),
                // Why it waited before may have been mended: the kubelet looks again when its turn comes.
                PodChange::Waiting { .. } if mended.is_some_and(|mended| entry.seq < mended.seq) => {}
                PodChange::Running { .. }
                | PodChange::Waiting { .. }
                | PodChange::Terminated { .. }
                | PodChange::Terminating
                | PodChange::Deleted => starting.retain(|other| other != pod),
                PodChange::Ready | PodChange::NotReady => {}
            }
        }
        starting.first().copied()
    }

    /// Every call that has an outcome, or was waited for. When the scenario broke off, nobody went on waiting: what had been asked
    /// shortly before and was not answered yet is not held against anyone.
    fn read_calls(&self) -> Vec<Call<'t>> {
        let broken = self.entries().iter().filter(|entry| matches!(entry.what, What::Broken { .. }));
        let broken: Vec<At> = broken.map(Entry::place).collect();
        let is_cut_short = |call: &Call<'_>| {
            let is_soon = |at: &At| *at > call.sent && call.sent.until(*at) <= self.stretched(ANSWER + SLACK);
            matches!(call.outcome, Outcome::Silent) && broken.iter().any(is_soon)
        };
        let mut calls = self.every_call();
        calls.retain(|call| !is_cut_short(call));
        calls
    }

    fn every_call(&self) -> Vec<Call<'t>> {
        self.exchanges
            .values()
            .flat_map(|exchange| {
                exchange.request.messages().filter_map(move |message| {
                    let id = message.get("id")?;
                    let method = message.get("method")?.as_str()?;
                    Some(self.read_call(exchange, method, id, message))
                })
            })
            .collect()
    }

    fn read_call(
        &self,
        exchange: &Exchange<'t>,
        method: &'t str,
        id: &'t Value,
        message: &'t Value,
    ) -> Call<'t> {
        let carriers = self.carriers(exchange);
        let mut answers = Vec::new();
        let mut progress = Vec::new();
        for carrier in &carriers {
            // A client may use an id again once its request was answered: only what comes after it was sent is its own.
            for (at, received) in carrier.messages().into_iter().filter(|(at, _)| *at > exchange.at) {
                if is_answer_to(&received, id) {
                    answers.push((at, received));
                } else if is_progress_of(&received, id) {
                    progress.push(at);
                }
            }
        }
        answers.sort_by_key(|(at, _)| *at);
        progress.sort();
        Call {
            exchange: exchange.id,
            client: &exchange.request.client,
            path: &exchange.request.path,
            replica: exchange.replica,
            session: self.session_named_by(exchange),
            method,
            id,
            params: message.get("params").unwrap_or(&Value::Null),
            sent: exchange.at,
            outcome: outcome(exchange, &carriers, &answers),
            answers,
            progress,
        }
    }

    /// The exchanges on which the answer to a posted request may come.
    fn carriers(&self, exchange: &Exchange<'t>) -> Vec<&Exchange<'t>> {
        if self.transport() != Some(Transport::Sse) {
            return self.exchanges.get(&exchange.id).into_iter().collect();
        }
        self.exchanges
            .values()
            .filter(|stream| {
                stream.request.client == exchange.request.client
                    && stream
                        .endpoint()
                        .is_some_and(|uri| same_target(uri, &stream.request.target, &exchange.request.target))
            })
            .collect()
    }

    fn session_named_by(&self, exchange: &Exchange<'t>) -> Option<usize> {
        let request = exchange.request;
        self.sessions.iter().rposition(|session| {
            session.client == request.client
                && match (self.transport(), session.id) {
                    (Some(Transport::Stateless), _) => true,
                    (Some(Transport::Sse), Some(id)) => request.target.contains(id),
                    (_, Some(id)) => request.header("mcp-session-id") == Some(id),
                    // A Streamable server may run without sessions: then every request of the client is its own.
                    (_, None) => request.header("mcp-session-id").is_none(),
                }
        })
    }
}

impl At {
    /// The time from this place to a later one.
    pub fn until(self, later: At) -> Duration {
        Duration::from_micros(later.us.saturating_sub(self.us))
    }
}

impl Entry {
    /// Where it stands.
    pub fn place(&self) -> At {
        At { seq: self.seq, us: self.at_us }
    }
}
