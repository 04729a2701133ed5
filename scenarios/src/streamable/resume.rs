//! A stream that breaks, and goes on at another replica.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Affinity, Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::{At, Call, Exchange, History};
use harness::wire::Progress;
use serde_json::{Value, json};

use super::STREAMABLE;
use super::checks::answer_text;

/// The name of a call of the same session that is answered before.
const WHOLE: &str = "whole";

/// The name of the call whose stream breaks.
const CUT: &str = "cut";

/// The name of the GET that goes on with it.
const RESUMED: &str = "resumed";

/// How often the call tells of itself, and the time between two.
const TOLD: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(300);

/// How many of these are heard before the stream breaks.
const HEARD: usize = 2;

/// Where resuming is specified.
const SPEC: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery";

/// A stream is resumed through any replica.
pub const RESUME_ELSEWHERE: Scenario = Scenario {
    outline: Outline {
        id: "streamable/resume-elsewhere",
        affinities: &[],
        transports: STREAMABLE,
        needs: &[Need::Replicas(2), Need::Aim, Need::EventIds, Need::Tool(Tool::Count)],
    },
    title: "a stream that breaks in the middle of a call goes on at another replica, and nothing is lost or repeated",
    why: "A hub that gives event ids tells its clients that a broken connection costs nothing. Behind a balancer the next \
          connection reaches any replica: one that does not know the stream leaves the client without the answer to its call.",
    spec: &[SPEC, HUB_CONTRACT],
    remedy: "hub: forward a GET with `Last-Event-ID` to the session's owner, or keep events where every replica finds them; \
             or give no event ids",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[
        &RESUME_LOSES_NOTHING,
        &RESUME_REPEATS_NOTHING,
        &RESUME_KEEPS_TO_ITS_STREAM,
        &EVENT_IDS_UNIQUE,
        &STREAM_PRIMED,
    ],
    drive: |stage| resume(stage).boxed(),
};

async fn resume(stage: &Stage) -> anyhow::Result<()> {
    let replicas = stage.replicas();
    let (Some(own), Some(other)) = (replicas.first(), replicas.get(1)) else {
        return Ok(());
    };
    // A Service with affinity sends a client that comes back to the same replica.
    let (own, other) = match stage.affinity() {
        Affinity::Off => (stage.at(own)?, stage.at(other)?),
        Affinity::ClientIp => (stage.service(), stage.service()),
    };
    let Some(holder) = stage.open("a", &own).await else {
        return Ok(());
    };
    let session = &holder.session;
    let counting = |n: u32, between: Duration| {
        let params = json!({ "n": n, "interval_ms": between.as_millis() });
        session.raw_asking("tools/call", stage.tool_call(Tool::Count, &params), Progress::Asked)
    };
    session.send(&own, counting(2, Duration::ZERO).named(WHOLE)).await;
    let whole = BETWEEN * TOLD;
    let Some(mut pending) = session.send_held(&own, counting(TOLD, BETWEEN).named(CUT), whole).await else {
        return Ok(());
    };
    for _ in 0..HEARD {
        pending.progressed(stage.timeouts().answer).await;
    }
    let number = pending.id().as_u64().unwrap_or_default();
    drop(pending);
    // What is said meanwhile has nobody who hears it.
    stage.pause(BETWEEN * 3 / 2).await;
    if let Some(last) = stage.last_event_id(CUT).await {
        let get = session.raw_get().with("last-event-id", last).named(RESUMED);
        session.resume(&other, get, number, whole).await;
    }
    session.end(&own).await;
    Ok(())
}

// === checks ===

/// Hub contract, where a hub gives event ids at all: "The server MAY use this header to replay messages that would have been sent
/// after the last event ID".
pub const RESUME_LOSES_NOTHING: Check = Check {
    id: "resume-loses-nothing",
    level: Level::Contract,
    sentence: "of a stream with event ids that is resumed at any replica, everything after the last event comes, and the answer",
    source: HUB_CONTRACT,
    remedy: "hub: keep what is said while nobody listens, within bounds, and find it from every replica",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NOT_RESUMED);
        for (call, resumed) in resumptions(history) {
            judgement.judged();
            let cut = history.exchanges.get(&call.exchange);
            let both = || cut.into_iter().chain([resumed]);
            let heard: BTreeSet<u32> =
                both().flat_map(|part| told(part, call)).map(|(_, value)| value).collect();
            let lost: Vec<String> =
                (1..=TOLD).filter(|value| !heard.contains(value)).map(|value| value.to_string()).collect();
            let is_answered = both().any(|part| {
                part.messages()
                    .iter()
                    .any(|(_, message)| message.get("result").is_some() && message["id"] == *call.id)
            });
            if !lost.is_empty() || !is_answered {
                let actual = match (lost.is_empty(), is_answered) {
                    (false, true) => format!("{} without progress {}", answer_text(resumed), lost.join(", ")),
                    _ => format!("{} without the answer", answer_text(resumed)),
                };
                let expected = format!("what follows event {}", last_event_id(resumed));
                judgement.breach(expected, actual, resumed.at);
            }
        }
        judgement
    },
};

/// Hub contract: "messages that would have been sent after the last event ID", and no others.
pub const RESUME_REPEATS_NOTHING: Check = Check {
    id: "resume-repeats-nothing",
    level: Level::Contract,
    sentence: "a stream that is resumed at any replica begins after the last event, and says nothing twice",
    source: HUB_CONTRACT,
    remedy: "hub: begin after the event that `Last-Event-ID` names, not with it",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NOT_RESUMED);
        for (call, resumed) in resumptions(history) {
            judgement.judged();
            let cut = history.exchanges.get(&call.exchange);
            let mut heard: BTreeSet<u32> =
                cut.into_iter().flat_map(|part| told(part, call)).map(|(_, value)| value).collect();
            if let Some((at, value)) =
                told(resumed, call).into_iter().find(|(_, value)| !heard.insert(*value))
            {
                let expected = format!("what follows event {}", last_event_id(resumed));
                judgement.breach(expected, format!("progress {value} again"), at);
            }
        }
        judgement
    },
};

/// "The server MUST NOT replay messages that would have been delivered on a different stream.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery>.
pub const RESUME_KEEPS_TO_ITS_STREAM: Check = Check {
    id: "resume-keeps-to-its-stream",
    level: Level::Must,
    sentence: "The server MUST NOT replay messages that would have been delivered on a different stream",
    source: SPEC,
    remedy: "hub: say in each event id which stream it is of, and replay that one alone",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(NOT_RESUMED);
        for (call, resumed) in resumptions(history) {
            judgement.judged();
            let foreign = |message: &Value| {
                let about = message.get("id").or_else(|| message.get("params")?.get("progressToken"));
                about.is_some_and(|about| about != call.id)
            };
            let messages = resumed.messages().into_iter().filter(|_| resumed.is_event_stream());
            if let Some((at, message)) = messages.into_iter().find(|(_, message)| foreign(message)) {
                judgement.breach(format!("messages of request {} alone", call.id), message.to_string(), at);
            }
        }
        judgement
    },
};

/// "If present, the ID MUST be globally unique across all streams within that session":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery>.
pub const EVENT_IDS_UNIQUE: Check = Check {
    id: "event-ids-unique",
    level: Level::Must,
    sentence: "If present, the ID MUST be globally unique across all streams within that session",
    source: SPEC,
    remedy: "hub: put the number of the stream into each event id",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut known = BTreeSet::new();
        judgement.idle_because("no event of these streams had an id (event ids are optional)");
        // One that is resumed has the ids that it had before.
        let streams =
            history.exchanges.values().filter(|part| part.request.header("last-event-id").is_none());
        for (at, frame) in streams.flat_map(|part| &part.frames) {
            let Some(id) = frame.id.as_deref().filter(|id| !id.is_empty()) else { continue };
            judgement.judged();
            if !known.insert(id) {
                judgement.breach(
                    "an event id that no other event of the session has",
                    format!("{id} again"),
                    *at,
                );
            }
        }
        judgement
    },
};

/// "The server SHOULD immediately send an SSE event consisting of an event ID and an empty data field in order to prime the client to
/// reconnect", from 2025-11-25 on: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
/// Asked of servers that give event ids: without any there is nothing to reconnect to.
pub const STREAM_PRIMED: Check = Check {
    id: "stream-primed",
    level: Level::Should,
    sentence: "The server SHOULD immediately send an SSE event consisting of an event ID and an empty `data` field in order to prime \
               the client to reconnect",
    source: super::SPEC_SENDING,
    remedy: "hub: begin the stream of a request with an event that is an id alone, for clients that negotiated 2025-11-25",
    transports: STREAMABLE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let calls = history.probed_calls(WHOLE).chain(history.probed_calls(CUT));
        for exchange in calls.filter_map(|call| history.exchanges.get(&call.exchange)) {
            judgement.judged();
            let is_primed_here = exchange
                .request
                .header("mcp-protocol-version")
                .is_some_and(|version| version >= "2025-11-25");
            let Some((at, first)) = exchange.frames.first().filter(|_| is_primed_here) else { continue };
            let is_empty = first.data.as_deref().is_none_or(str::is_empty);
            if first.id.is_none() || !is_empty {
                judgement.breach("an event that is an id alone", format!("event {:?} first", first.id), *at);
            }
        }
        judgement
    },
};

// === helpers ===

/// Why no stream was resumed.
const NOT_RESUMED: &str =
    "no event of the stream that broke had an id to resume it by (event ids are optional)";

/// Each call whose stream broke, with the GET that went on with it.
fn resumptions<'h, 't>(history: &'h History<'t>) -> impl Iterator<Item = (&'h Call<'t>, &'h Exchange<'t>)> {
    history.probed_calls(CUT).zip(history.probes(RESUMED))
}

/// The progress of a call that an exchange brought.
fn told(exchange: &Exchange<'_>, call: &Call<'_>) -> Vec<(At, u32)> {
    let value = |message: &Value| {
        let params = message.get("params").filter(|params| params["progressToken"] == *call.id)?;
        let progress = params["progress"].as_f64()?;
        // Whole numbers from 1 to 5.
        (1..=TOLD).find(|value| (f64::from(*value) - progress).abs() < 0.5)
    };
    let messages = exchange.messages().into_iter();
    messages.filter_map(|(at, message)| Some((at, value(&message)?))).collect()
}

fn last_event_id<'e>(exchange: &'e Exchange<'_>) -> &'e str {
    exchange.request.header("last-event-id").unwrap_or_default()
}
