//! What this scenario is judged by. Every check has a defect of the reference hub that it catches.

use std::collections::BTreeMap;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::Transport;
use harness::transcript::history::{At, Call, History};
use serde_json::Value;

use super::{AHEAD, ASKED_FOR, COUNTED, SLOW, TOLD};
use crate::words::reply_text;

/// Where the values of progress are specified.
const SPEC_FLOW: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#progress-flow";

/// The argument that says how often the part `count` reports.
const HOW_MANY: &str = "n";

/// Where its tokens are specified.
const SPEC_TOKENS: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements";

/// Where the streams that it comes on are specified.
const SPEC_STREAMS: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server";

/// "The progress value MUST increase with each notification, even if the total is unknown.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#progress-flow>; of 2024-11-05 too.
pub const PROGRESS_GROWS: Check = Check {
    id: "progress-grows",
    level: Level::Must,
    sentence: "The `progress` value MUST increase with each notification, even if the total is unknown",
    source: SPEC_FLOW,
    remedy: "hub: report what is done so far, never less or the same",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut last: BTreeMap<(u32, String), f64> = BTreeMap::new();
        let told = told(history);
        judge_each_call(history, &told, &mut judgement);
        for (at, stream, progress) in told {
            let Some(value) = progress["progress"].as_f64() else { continue };
            let before = last.insert((stream, progress["progressToken"].to_string()), value);
            if before.is_some_and(|before| value <= before) {
                judgement.breach(
                    "more than before",
                    format!("{value} after {}", before.unwrap_or_default()),
                    at,
                );
            }
        }
        judgement
    },
};

/// "Progress notifications MUST only reference tokens that: Were provided in an active request; Are associated with an
/// in-progress operation": <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements>.
pub const PROGRESS_TOKENS_KNOWN: Check = Check {
    id: "progress-tokens-known",
    level: Level::Must,
    sentence: "Progress notifications MUST only reference tokens that: Were provided in an active request; Are associated \
               with an in-progress operation; Progress notifications MUST stop after completion",
    source: SPEC_TOKENS,
    remedy: "hub: report progress with the token of the request, and not after its answer",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let told = told(history);
        judge_each_call(history, &told, &mut judgement);
        for (at, stream, progress) in told {
            let token = &progress["progressToken"];
            let is_of = |call: &harness::transcript::history::Call<'_>| {
                // Which of two streams is read first is chance.
                let is_ordered =
                    history.transport() != Some(Transport::Streamable) || call.exchange.0 == stream;
                let answered = is_ordered && call.answers.first().is_some_and(|(answered, _)| *answered < at);
                call.params.pointer("/_meta/progressToken") == Some(token) && call.sent < at && !answered
            };
            if !history.calls.iter().any(is_of) {
                judgement.breach("progress of a call that runs", format!("token {token}"), at);
            }
        }
        judgement
    },
};

/// "The server MAY send JSON-RPC requests and notifications before sending the JSON-RPC response. These messages SHOULD relate to the
/// originating client request.", and those on the stream of a GET "SHOULD be unrelated to any concurrently-running JSON-RPC request":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server>.
pub const PROGRESS_ON_ITS_STREAM: Check = Check {
    id: "progress-on-its-stream",
    level: Level::Should,
    sentence: "The server MAY send JSON-RPC requests and notifications before sending the JSON-RPC response. These messages SHOULD \
               relate to the originating client request (and come on its stream)",
    source: SPEC_STREAMS,
    remedy: "hub: send what belongs to a request on the stream of its POST, not on that of the session's GET",
    transports: &[Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let told = told(history);
        judge_each_call(history, &told, &mut judgement);
        for (at, stream, progress) in told {
            let token = &progress["progressToken"];
            let of =
                history.calls.iter().find(|call| call.params.pointer("/_meta/progressToken") == Some(token));
            // Progress of no call is another check's business.
            if let Some(call) = of.filter(|call| call.exchange.0 != stream) {
                let expected = format!("progress {token} on the stream of request {}", call.id);
                judgement.breach(expected, "it on another stream", at);
            }
        }
        judgement
    },
};

// === helpers ===

/// Counts the calls that asked for progress: all of them were told of it as it is said here, by none at least. A server may send none
/// at all: then there is nothing to judge.
fn judge_each_call(history: &History<'_>, told: &[(At, u32, Value)], judgement: &mut Judgement) {
    judgement.idle_because(none_sent(history, COUNTED, ASKED_FOR));
    if !told.is_empty() {
        history.probed_calls(COUNTED).for_each(|_| judgement.judged());
    }
}

/// Why there is nothing to judge when calls of this name were told of no progress, of as many notifications as they asked for. A call
/// that failed says why.
fn none_sent(history: &History<'_>, probe: &str, of: u64) -> String {
    let failed = history.probed_calls(probe).find(|call| {
        call.result().is_none_or(|result| result.get("isError").is_some_and(|error| *error == true))
    });
    match failed {
        Some(call) => format!("the call that asks for progress failed: {}", failure_text(history, call)),
        None if history.probed_calls(probe).all(|call| call.argument(HOW_MANY).is_none()) => {
            "the calls reported no progress (progress is optional)".to_owned()
        }
        None => format!("sent 0 of {of} progress notifications (progress is optional)"),
    }
}

/// What a call came to that has no good result.
fn failure_text(history: &History<'_>, call: &Call<'_>) -> String {
    call.text().map_or_else(|| reply_text(history, call), str::to_owned)
}

/// Every progress notification, and the exchange that it came on.
fn told(history: &History<'_>) -> Vec<(At, u32, Value)> {
    let of = |exchange: &harness::transcript::history::Exchange<'_>| {
        let id = exchange.id.0;
        let is_progress = |message: &Value| message["method"] == "notifications/progress";
        let messages = exchange.messages().into_iter().filter(move |(_, message)| is_progress(message));
        messages.map(move |(at, message)| (at, id, message["params"].clone())).collect::<Vec<_>>()
    };
    history.exchanges.values().flat_map(of).collect()
}

/// Hub contract: of 2026-07-28 a header asks proxies not to buffer; whether anything on the path does can be seen.
pub const PROGRESS_UNBUFFERED: Check = Check {
    id: "progress-unbuffered",
    level: Level::Contract,
    sentence: "what a server says while a call runs arrives while it runs, not with its answer",
    source: HUB_CONTRACT,
    remedy: "hub: write each event when it happens, and send `X-Accel-Buffering: no`; ingress: `proxy_buffering off`",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because(none_sent(history, SLOW, TOLD));
        for call in history.probed_calls(SLOW) {
            let (Some(first), Some((answered, _))) = (call.progress.first(), call.answers.first()) else {
                continue;
            };
            let is_ahead = first.until(*answered) >= AHEAD;
            // When a tool of the hub's own reports progress is not known.
            if !is_ahead && call.argument(HOW_MANY).is_none() {
                judgement.idle_because(
                    "all progress came with the answer: whether the tool reported it sooner is not known",
                );
                continue;
            }
            judgement.judged();
            // The first is sent at once, and the answer after all the others.
            if !is_ahead {
                let expected = format!("progress {AHEAD:?} and more before the answer");
                judgement.breach(expected, format!("{:?} before it", first.until(*answered)), *first);
            }
        }
        judgement
    },
};
