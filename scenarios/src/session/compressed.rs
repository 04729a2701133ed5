//! Progress for clients that accept compressed answers.

use std::time::Duration;

use futures_util::future::{FutureExt, join};
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Outline, Transport};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::What;
use harness::transcript::history::{At, Call, History};
use harness::wire::{Progress, Target, initialize_asking};
use serde_json::Value;

use super::EVERY_TRANSPORT;
use crate::words::reply_text;

/// The name of the call of a client that accepts no compression.
const PLAIN: &str = "not compressed";

/// The name of the call of a client that does.
const COMPRESSED: &str = "may be compressed";

/// What begins the session of that client over HTTP+SSE.
const BEGUN: &str = "begins";

/// What browsers and many HTTP libraries accept. What comes as `br` or `zstd` is not read: only its time counts.
const ANY: &str = "gzip, deflate, br, zstd";

/// What Python's httpx accepts, which the official SDK uses. A session's stream has to be read.
const READABLE: &str = "gzip, deflate";

/// How often the call tells of itself, and the time between two.
const TOLD: u64 = 3;
const BETWEEN_TOLD: Duration = Duration::from_millis(800);

/// Progress must arrive so long before the answer. It is sent twice [`BETWEEN_TOLD`] before: a busy machine keeps back less than
/// the rest, and what is held comes with the answer.
const AHEAD: Duration = Duration::from_millis(300);

/// Compression does not hold events back.
pub const COMPRESSED_STREAMS: Scenario = Scenario {
    outline: Outline {
        id: "session/compressed-streams",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Progress],
    },
    title: "progress reaches a client that accepts gzip while its call runs, too",
    why: "Middleware that compresses answers collects an event stream until it ends. Real clients accept gzip: they see no progress, \
          and over HTTP+SSE not even the endpoint.",
    spec: &[HUB_CONTRACT],
    remedy: "hub and proxy: do not compress `text/event-stream`, or flush the compressor after each event",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&COMPRESSED_FLOWS],
    drive: |stage| count(stage).boxed(),
};

async fn count(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(plain) = stage.open("a", &service).await else {
        return Ok(());
    };
    if stage.transport() == Transport::Sse {
        let compressing = stage.begin("b", &service, |get| get.with("accept-encoding", READABLE)).await;
        let compressed = async {
            let Some(holder) = &compressing else { return };
            stage.ask(holder, &service, BEGUN, "initialize", initialize_asking("2024-11-05")).await;
            let initialized = holder.session.raw_notification("notifications/initialized", Value::Null);
            holder.client.exchange(&service, initialized).await;
            told(stage, holder, &service, COMPRESSED, Some(READABLE)).await;
        };
        join(told(stage, &plain, &service, PLAIN, None), compressed).await;
        if let Some(holder) = &compressing {
            holder.session.end(&service).await;
        }
    } else {
        let compressed = told(stage, &plain, &service, COMPRESSED, Some(ANY));
        join(told(stage, &plain, &service, PLAIN, None), compressed).await;
    }
    plain.session.end(&service).await;
    Ok(())
}

/// A call that tells of its progress.
async fn told(stage: &Stage, holder: &Holder, target: &Target, probe: &str, accepts: Option<&str>) {
    let session = &holder.session;
    let telling = stage.telling_call(TOLD, BETWEEN_TOLD).unwrap_or_default();
    let call = session.raw_asking("tools/call", telling, Progress::Asked);
    let call = match accepts {
        Some(encodings) => call.with("accept-encoding", encodings),
        None => call,
    };
    stage.send_long(session, target, call.named(probe)).await;
}

// === checks ===

/// Hub contract: nothing in HTTP says when a compressor must flush, and a client cannot ask for it.
pub const COMPRESSED_FLOWS: Check = Check {
    id: "compressed-streams-flow",
    level: Level::Contract,
    sentence: "an event reaches a client that accepts compression when it is sent, not when its stream ends",
    source: HUB_CONTRACT,
    remedy: "hub and proxy: do not compress `text/event-stream`, or flush the compressor after each event",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // What is late without compression too is another check's business, and a hub may report no progress at all.
        let flows = history.probed_calls(PLAIN).any(|call| ahead(call).is_some_and(|ahead| ahead >= AHEAD));
        history.probed_calls(PLAIN).for_each(|_| judgement.judged());
        for call in history.probed_calls(COMPRESSED).filter(|_| flows) {
            judgement.judged();
            let expected = format!("progress at least {AHEAD:?} before the answer, as without compression");
            match ahead(call).or_else(|| unread(history, call)) {
                Some(ahead) if ahead >= AHEAD => {}
                Some(ahead) => {
                    judgement.breach(
                        expected,
                        format!("{ahead:?} before it{}", encoding(history, call)),
                        call.sent,
                    );
                }
                None => {
                    let actual = match call.answers.first() {
                        Some(_) => "no progress".to_owned(),
                        None => reply_text(history, call),
                    };
                    judgement.breach(expected, format!("{actual}{}", encoding(history, call)), call.sent);
                }
            }
        }
        for entry in history.entries().iter().filter(|_| flows) {
            if let What::NoSession { client, why } = &entry.what {
                let expected = format!("a session for client `{client}`, which accepts {READABLE}");
                judgement.breach(expected, why.clone(), entry.place());
            }
        }
        judgement
    },
};

// === helpers ===

/// How long before its answer a call was first heard of.
fn ahead(call: &Call<'_>) -> Option<Duration> {
    let (answered, _) = call.answers.first()?;
    Some(call.progress.first()?.until(*answered))
}

/// The time from the first to the last piece of a stream whose encoding cannot be read.
fn unread(history: &History<'_>, call: &Call<'_>) -> Option<Duration> {
    let exchange = history.exchanges.get(&call.exchange)?;
    exchange.head?.header("content-encoding")?;
    let pieces: Vec<At> = exchange.frames.iter().map(|(at, _)| *at).collect();
    Some(pieces.first()?.until(*pieces.last()?))
}

/// In which encoding its stream came.
fn encoding(history: &History<'_>, call: &Call<'_>) -> String {
    let exchange = history.exchanges.get(&call.exchange);
    let head = exchange.and_then(|exchange| exchange.head);
    let encoding = head.as_ref().and_then(|head| head.header("content-encoding"));
    encoding.map(|encoding| format!(" (`content-encoding: {encoding}`)")).unwrap_or_default()
}
