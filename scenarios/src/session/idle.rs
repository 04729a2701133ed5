//! A stream on which nothing is said.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::{At, Exchange, History};
use serde_json::json;

use super::SESSIONS;
use crate::words::{end_text, reply_text};

/// The name of the request after the silence.
const AFTER: &str = "after silence";

/// An idle stream lives.
pub const IDLE_STREAM: Scenario = Scenario {
    outline: Outline { id: "session/idle-stream", affinities: &[], transports: SESSIONS, needs: &[] },
    title: "a stream on which nothing is said stays open, and its session answers afterwards",
    why: "Agents think for minutes between two calls. A stream that ends meanwhile takes an HTTP+SSE session with it. A run \
          waits 1.5 s; `--idle 90` shows what a proxy does that has a limit of 60 s.",
    spec: &[HUB_CONTRACT, SPEC],
    remedy: "hub: no limit on the time between two events, and a comment every 15 s for proxies that have one; Ingress: \
             `nginx.ingress.kubernetes.io/proxy-read-timeout: \"3600\"`",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&IDLE_STREAM_SURVIVES, &IDLE_STREAM_SAYS_RETRY],
    drive: |stage| idle(stage).boxed(),
};

async fn idle(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    holder.session.listen(&service).await;
    stage.pause(stage.timeouts().idle).await;
    stage.ask(&holder, &service, AFTER, stage.small(), json!({})).await;
    holder.session.end(&service).await;
    Ok(())
}

// === checks ===

/// Where closing a stream is specified.
const SPEC: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server";

/// Hub contract: of HTTP+SSE the stream is the session. Comments, pings and silence are all well.
pub const IDLE_STREAM_SURVIVES: Check = Check {
    id: "idle-stream-survives",
    level: Level::Contract,
    sentence: "a session answers after a silence, and the stream of an HTTP+SSE session is still open then",
    source: HUB_CONTRACT,
    remedy: "hub: end a stream when its client goes or the process stops, not because nothing was said; Ingress: \
             `nginx.ingress.kubernetes.io/proxy-read-timeout: \"3600\"`",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AFTER) {
            judgement.judged();
            let ended = ended_streams(history, call.sent).next();
            match ended.filter(|_| history.transport() == Some(Transport::Sse)) {
                Some((stream, at)) => judgement.breach("an open stream", ended_text(stream), at),
                None if call.result().is_none() => {
                    judgement.breach("a result after the silence", reply_text(history, call), call.sent);
                }
                None => {}
            }
        }
        judgement
    },
};

/// "If the server closes the connection without terminating the stream, it SHOULD follow the same polling behavior as described for
/// POST requests: sending a `retry` field and allowing the client to reconnect.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server>.
pub const IDLE_STREAM_SAYS_RETRY: Check = Check {
    id: "idle-stream-says-retry",
    level: Level::Should,
    sentence: "If the server closes the connection without terminating the stream, it SHOULD follow the same polling behavior as \
               described for POST requests: sending a `retry` field and allowing the client to reconnect",
    source: SPEC,
    remedy: "hub: keep the stream of a GET open, or send `retry` before it is closed",
    transports: &[Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AFTER) {
            judgement.judged();
            for (stream, at) in ended_streams(history, call.sent) {
                if stream.frames.iter().all(|(_, frame)| frame.retry.is_none()) {
                    judgement.breach("an open stream, or a `retry` before its end", ended_text(stream), at);
                }
            }
        }
        judgement
    },
};

// === helpers ===

/// The streams of sessions that had ended at this place.
fn ended_streams<'h, 't>(
    history: &'h History<'t>,
    before: At,
) -> impl Iterator<Item = (&'h Exchange<'t>, At)> {
    let streams = history.exchanges.values().filter(|exchange| exchange.request.method == "GET");
    let streams = streams.filter(|exchange| exchange.is_event_stream());
    streams.filter_map(move |stream| stream.end.map(|(at, _)| (stream, at)).filter(|(_, at)| *at < before))
}

fn ended_text(stream: &Exchange<'_>) -> String {
    stream.end.map_or_else(|| "an end".to_owned(), |(_, how)| end_text(how))
}
