//! The look at a hub before anything is planned: does it start, what does it speak, which tools has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Place, Rig, RigError, listening, target};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::cluster::manifest::ProbeKind;
use crate::plan::{Need, Tool, Transport};
use crate::run::Setup;
use crate::run::stage::outcome_text;
use crate::timeouts::RULES_FOLLOW;
use crate::transcript::{Body, ExchangeId, Path, Recorder, What};
use crate::wire::{Client, Outcome, Target};

/// How often a hub may end by itself before the survey gives up on it.
const ENDINGS: u32 = 2;

/// How often an era is looked at whose session was lost between replicas before its tools were told, or whose request met nobody.
const TRIES: u32 = 5;

impl Rig {
    /// Looks at the hub once, with one replica: which of these transports it speaks, and which tools it has.
    ///
    /// # Errors
    ///
    /// [`RigError`] when it does not start, is never ready, or speaks nothing that was wanted; when the transports were
    /// asked for by name, also when it does not speak one of them.
    pub async fn survey(&mut self, wanted: &[Transport], by_name: bool) -> Result<(), RigError> {
        let recorder = Recorder::new(self.secrets());
        // A probe that the hub fails would end it before it is looked at.
        self.pace.without = vec![ProbeKind::Startup, ProbeKind::Liveness];
        let cluster = self.up(1, None, &Setup::ORDINARY, &recorder).await?;
        if cluster.tells_routes().await {
            self.offers.has.insert(Need::Routed);
        }
        if cluster.evicts() {
            self.offers.has.insert(Need::Evictions);
        }
        let surveyed = self.survey_on(&cluster, wanted, by_name, &recorder).await;
        let listening = listening::listening(&cluster);
        self.measured.alone = self.times_of(&recorder);
        self.pace.without =
            if surveyed.is_ok() { self.failing_probes(&cluster, &recorder).await } else { Vec::new() };
        cluster.down().await;
        let surveyed = self.heard_at(listening, surveyed);
        self.offers.has.extend(surveyed?);
        self.count_replicas().await;
        Ok(())
    }

    async fn survey_on(
        &self,
        cluster: &Cluster,
        wanted: &[Transport],
        by_name: bool,
        recorder: &Recorder,
    ) -> Result<Vec<Need>, RigError> {
        tokio::select! {
            ready = cluster.wait(&Condition::Ready(1), self.timeouts.ready) => ready?,
            // What ends as soon as it is started will not become ready, however long it is waited for.
            () = keeps_ending(cluster) => {
                let seen = cluster.wait(&Condition::Ready(1), Duration::ZERO).await;
                return Err(RigError::KeepsEnding(seen.err().map(|unmet| unmet.last_seen).unwrap_or_default()));
            }
        }
        let target = target(Path::Service, cluster.service());
        let mut found = Vec::new();
        let mut look_again = tokio::time::interval(RULES_FOLLOW / TRIES);
        let mut refused = Vec::new();
        for transport in wanted {
            let client = Client::new(
                format!("survey-{transport}"),
                cluster.client_address(found.len()).await,
                recorder.clone(),
                Arc::clone(&self.dialect),
                Arc::clone(&self.timeouts),
            );
            let mut seen = look(&client, *transport, &target).await;
            // Behind a URL there may be replicas that do not know each other's sessions: what cells are there to find out, and
            // an era is spoken all the same.
            let is_spoken = || matches!(self.place, Place::Url { .. }) && has_begun(client.name(), recorder);
            // The rules of a real cluster may come after its endpoints.
            let is_unheard = || self.timeouts.way > Duration::ZERO && !was_answered(client.name(), recorder);
            for _ in 1..TRIES {
                if seen.is_ok() || !(is_spoken() || is_unheard()) {
                    break;
                }
                if is_unheard() {
                    look_again.reset();
                    look_again.tick().await;
                }
                seen = look(&client, *transport, &target).await;
            }
            // Then what was heard, or not, was not the hub.
            if let (Err(_), Some(reason)) = (&seen, broken(recorder)) {
                return Err(RigError::NoWay(reason));
            }
            match seen {
                Err(_) if is_spoken() => found.push(Need::Speaks(*transport)),
                Ok(seen) => {
                    found.push(Need::Speaks(*transport));
                    found.extend(seen.names_sessions.then_some(Need::SessionIds(*transport)));
                    let is_resumable =
                        *transport == Transport::Streamable && gives_event_ids(client.name(), recorder);
                    found.extend(is_resumable.then_some(Need::EventIds));
                    found.extend(self.parts(&seen.tools));
                }
                Err(why) if by_name => {
                    return Err(RigError::DoesNotSpeak { transport: *transport, why: recorder.mask(&why) });
                }
                Err(why) => refused.push(format!("{transport}: {}", recorder.mask(&why))),
            }
        }
        if found.is_empty() { Err(RigError::SpeaksNothing(refused.join("; "))) } else { Ok(found) }
    }

    /// The parts that these tools can play.
    fn parts(&self, names: &[String]) -> Vec<Need> {
        let has = |tool: &Tool| names.iter().any(|name| name == self.tool_name(*tool));
        let mut needs: Vec<Need> = Tool::ALL.into_iter().filter(has).map(Need::Tool).collect();
        if needs.iter().any(|need| matches!(need, Need::Tool(Tool::Tally | Tool::Sleep))) {
            needs.push(Need::HeldCall);
        }
        if needs.contains(&Need::Tool(Tool::Whoami)) {
            needs.push(Need::Routed);
        }
        needs
    }
}

// === helpers ===

/// Returns when the only replica has ended by itself several times.
async fn keeps_ending(cluster: &Cluster) {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while cluster.replicas().iter().all(|replica| replica.restarts < ENDINGS) {
        look.tick().await;
    }
}

/// Why it was not the hub that failed, when it was not.
fn broken(recorder: &Recorder) -> Option<String> {
    recorder.latest(
        |_| false,
        |entry| match &entry.what {
            What::Broken { reason } => Some(reason.clone()),
            _ => None,
        },
    )
}

/// Whether anything that this client asked had an answer, whatever that was.
fn was_answered(client: &str, recorder: &Recorder) -> bool {
    heard(client, recorder, |what| matches!(what, What::Head { .. }))
}

/// Whether an event that this client heard had an id.
fn gives_event_ids(client: &str, recorder: &Recorder) -> bool {
    heard(client, recorder, |what| matches!(what, What::Frame { frame, .. } if frame.id.is_some()))
}

/// Whether a session was begun, whatever came of it: by the `endpoint` of HTTP+SSE, or by an answer to `initialize`.
fn has_begun(client: &str, recorder: &Recorder) -> bool {
    let agrees = |answer: &Value| answer["result"]["protocolVersion"].is_string();
    heard(client, recorder, |what| match what {
        What::Frame { frame, .. } if frame.event.as_deref() == Some("endpoint") => true,
        What::Frame { frame, .. } => {
            let answer = frame.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
            answer.is_some_and(|answer| agrees(&answer))
        }
        What::Body { body: Body::Json(answer), .. } => agrees(answer),
        _ => false,
    })
}

/// Whether there is such a head, frame or body in what this client was answered.
fn heard(client: &str, recorder: &Recorder, is_meant: impl Fn(&What) -> bool) -> bool {
    let entries = recorder.entries();
    let own: BTreeSet<ExchangeId> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Request(request) if request.client == client => Some(request.exchange),
            _ => None,
        })
        .collect();
    entries.iter().map(|entry| &entry.what).any(|what| match what {
        What::Head { exchange, .. } | What::Frame { exchange, .. } | What::Body { exchange, .. } => {
            own.contains(exchange) && is_meant(what)
        }
        _ => false,
    })
}

/// What one conversation over a transport showed.
struct Seen {
    names_sessions: bool,
    tools: Vec<String>,
}

async fn look(client: &Client, transport: Transport, target: &Target) -> Result<Seen, String> {
    let session = client.open(transport, target).await.map_err(|outcome| outcome_text(&outcome))?;
    let listed = session.request(target, "tools/list", json!({})).await;
    let tools = match &listed {
        Outcome::Result(result) => {
            let tools = result["tools"].as_array().into_iter().flatten();
            Ok(tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect())
        }
        // A server without tools says so; it still speaks the transport.
        Outcome::Error { .. } if transport != Transport::Stateless => Ok(Vec::new()),
        other => Err(outcome_text(other)),
    };
    let names_sessions = session.id().is_some();
    session.end(target).await;
    Ok(Seen { names_sessions, tools: tools? })
}
