//! Checks on every cell, whatever its scenario.

mod questions;
mod sessions;
mod single;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schema::{self, Revision, Sent};
use super::{Check, HUB_CONTRACT, Judgement, Level};
use crate::plan::Transport;
use crate::transcript::history::{Exchange, History};
use crate::transcript::probed::kills;
use crate::transcript::{End, Fault, PodChange, Symptom, What};

pub use questions::{ASKS_WHAT_IS_DECLARED, QUIET_BEFORE_INITIALIZED};
pub use sessions::SECOND_CLIENT_SERVED;

/// All of them.
pub const CHECKS: &[&Check] = &[
    &ONE_ANSWER,
    &OWN_STREAM,
    &VALID_HTTP,
    &VALID_MESSAGES,
    &NO_SERVER_ERROR,
    &CLIENT_ERROR_IS_4XX,
    &EVERY_REQUEST_ENDS,
    &NO_UNEXPLAINED_RESTART,
    &NO_SECRET_SHOWN,
    &questions::ASKS_WHAT_IS_DECLARED,
    &questions::QUIET_BEFORE_INITIALIZED,
    &TOOLS_DECLARED,
    &SECOND_CLIENT_SERVED,
    &single::SINGLE_HEADERS,
];

/// "Result responses MUST include the same ID as the request they correspond to.", and one request has one:
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic#responses>.
pub const ONE_ANSWER: Check = Check {
    id: "one-answer",
    level: Level::Must,
    sentence: "Result responses MUST include the same ID as the request they correspond to (one request, one answer)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic#responses",
    remedy: "answer a request in one place only; a replica that forwards a request must not also run it",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in &history.calls {
            // Ids are only promised to be unique within a session, so only its own carriers were read.
            judgement.judged();
            if let Some((at, _)) = call.answers.get(1) {
                let expected = format!("one answer to request {} of client `{}`", call.id, call.client);
                judgement.breach(expected, format!("{} answers", call.answers.len()), *at);
            }
        }
        judgement
    },
};

/// "The server MUST send each of its JSON-RPC messages on only one of the connected streams; that is, it MUST NOT
/// broadcast the same message across multiple streams.", and never on another session's:
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections>.
pub const OWN_STREAM: Check = Check {
    id: "own-stream",
    level: Level::Must,
    sentence: "The server MUST send each of its JSON-RPC messages on only one of the connected streams; that is, it \
               MUST NOT broadcast the same message across multiple streams",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections",
    remedy: "keep the map from request to stream per session, not per process",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.exchanges.values() {
            let asked = asked_on(history, exchange);
            for (at, message) in exchange.messages() {
                let answer = message.get("result").is_some() || message.get("error").is_some();
                // Some servers put a string of their own on errors about requests they could not read.
                let Some(id @ Value::Number(_)) = message.get("id").filter(|_| answer) else {
                    continue;
                };
                judgement.judged();
                if !asked.contains(&id.to_string()) {
                    let expected = format!(
                        "only answers to requests that client `{}` asked on this stream",
                        exchange.request.client
                    );
                    judgement.breach(expected, format!("an answer to request {id}"), at);
                }
            }
        }
        judgement
    },
};

/// What comes back is HTTP as RFC 9112 defines it.
pub const VALID_HTTP: Check = Check {
    id: "valid-http",
    level: Level::Must,
    sentence: "An HTTP/1.1 message is parsed as defined in RFC 9112; the transports are HTTP",
    source: "https://www.rfc-editor.org/rfc/rfc9112",
    remedy: "check that the port speaks HTTP and that nothing on the path rewrites lengths",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.exchanges.values() {
            judgement.judged();
            if let Some((at, End::Malformed { why })) = exchange.end {
                judgement.breach("an HTTP response", why.clone(), at);
            }
        }
        judgement
    },
};

/// The revision that was negotiated says what its messages look like:
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic#json-schema-usage>. An error about a request that could
/// not be read may have no id, and a method that the revision does not know is an extension's.
pub const VALID_MESSAGES: Check = Check {
    id: "valid-messages",
    level: Level::Must,
    sentence: "The full specification of the protocol is defined as a TypeScript schema. This is the source of truth for all protocol \
               messages and structures (each message of a server is valid against the schema of the negotiated revision)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic#schema",
    remedy: "build messages with an SDK of the negotiated revision; `at` names the message, `actual` the place in it",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let methods: BTreeMap<u32, &str> = history
            .calls
            .iter()
            .flat_map(|call| call.answers.iter().map(|(at, _)| (at.seq, call.method)))
            .collect();
        for exchange in history.exchanges.values().filter(|exchange| exchange.status() < Some(300)) {
            let Some(revision) = revision_of(history, exchange) else { continue };
            for (at, message) in exchange.messages() {
                let is_own = message.get("method").is_some();
                let sent = if is_own { Sent::Own } else { Sent::Answer(methods.get(&at.seq).copied()) };
                judgement.judged();
                if let Some(fault) = revision.fault(&message, sent) {
                    let expected = format!("a message that is valid in {}", revision.name);
                    judgement.breach(expected, fault, at);
                }
            }
        }
        judgement
    },
};

/// A hub that is well has no internal errors; 503 is how one says that it has no room or is going. What a client got wrong is
/// left to [`CLIENT_ERROR_IS_4XX`]: where the transports ask for an HTTP error, they leave open which.
pub const NO_SERVER_ERROR: Check = Check {
    id: "no-server-error",
    level: Level::Contract,
    sentence: "no message of a live session is answered 5xx while nothing is done to the cluster; 503 is how a hub says that it \
               is full or going",
    source: HUB_CONTRACT,
    remedy: "find the error in the replica's log",
    transports: &[],
    needs: &[],
    judge: |history| {
        let sound = undisturbed(history).filter(|exchange| !is_clients_error(history, exchange));
        no_internal_error(sound, |exchange| format!("no 5xx to {}", exchange.request.method))
    },
};

/// "The 4xx (Client Error) class of status code indicates that the client seems to have erred.":
/// <https://www.rfc-editor.org/rfc/rfc9110#section-15.5>. The transports ask for "an HTTP error status code (e.g., 400 Bad
/// Request)", and servers in the field answer 500 to bytes that are no text: a warning.
pub const CLIENT_ERROR_IS_4XX: Check = Check {
    id: "client-error-is-4xx",
    level: Level::Should,
    sentence: "The 4xx (Client Error) class of status code indicates that the client seems to have erred: what is no message, or \
               names no live session, gets 4xx and not 5xx",
    source: "https://www.rfc-editor.org/rfc/rfc9110#section-15.5",
    remedy: "answer 400 to what cannot be read and 404 to a session that is not there; a 5xx puts the client's error into the hub's log",
    transports: &[],
    needs: &[],
    judge: |history| {
        let wrong = undisturbed(history).filter(|exchange| is_clients_error(history, exchange));
        no_internal_error(wrong, |exchange| match &exchange.request.probe {
            Some(probe) => format!("4xx to {} ({probe})", exchange.request.method),
            None => format!("4xx to {}", exchange.request.method),
        })
    },
};

/// A client without a limit of its own would wait for ever. A request that the client cancelled need not be answered.
pub const EVERY_REQUEST_ENDS: Check = Check {
    id: "every-request-ends",
    level: Level::Contract,
    sentence: "every request gets the answer that HTTP owes it, while nothing is done to the cluster",
    source: HUB_CONTRACT,
    remedy: "answer every request, if only with an error; put a limit on what a handler waits for",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in undisturbed(history) {
            judgement.judged();
            if let Some((at, End::TimedOut { waiting_for, limit_ms })) = exchange.end
                && waiting_for != "connect"
                && !was_cancelled(history, exchange)
                && !was_answered(history, exchange)
            {
                let expected =
                    format!("an answer to {} {}", exchange.request.method, exchange.request.target);
                judgement.breach(expected, format!("no {waiting_for} within {limit_ms} ms"), at);
            }
        }
        judgement
    },
};

/// No replica ends by itself.
pub const NO_UNEXPLAINED_RESTART: Check = Check {
    id: "no-unexplained-restart",
    level: Level::Contract,
    sentence: "a replica's process ends only when something ends it",
    source: HUB_CONTRACT,
    remedy: "read the replica's last lines in the transcript; a crash on a client's input is a bug of the hub",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // What a scenario waited to be told is what it brought about, before and after it was told.
        let symptoms: Vec<(&str, Symptom)> = history
            .entries()
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Symptom { symptom, told: Some(told), .. } => Some((told.pod.as_deref()?, *symptom)),
                _ => None,
            })
            .collect();
        // The event may come after the end that it explains.
        let mut by_probes: Vec<&str> = kills(history.entries()).iter().map(|kill| kill.pod).collect();
        let is_told = |pod: &str, reason: &str, exit_code: i32| {
            symptoms.iter().any(|(told, symptom)| *told == pod && symptom.explains(reason, exit_code))
        };
        let mut explained: BTreeSet<&str> = BTreeSet::new();
        // A pod that is to go goes, also when its container runs only after it was told.
        let mut going: BTreeSet<&str> = BTreeSet::new();
        for entry in history.entries() {
            match &entry.what {
                What::Fault(
                    Fault::Kill { replica } | Fault::Stop { replica } | Fault::Delete { replica, .. },
                ) => {
                    explained.insert(replica);
                }
                What::Pod { pod, change: PodChange::Terminating } => {
                    going.insert(pod);
                }
                What::Pod { pod, change: PodChange::Terminated { reason, exit_code, .. } } => {
                    judgement.judged();
                    let is_explained = explained.contains(pod.as_str()) || going.contains(pod.as_str());
                    let by_probe = by_probes.iter().position(|killed| killed == pod);
                    let is_explained = is_explained || by_probe.map(|idx| by_probes.remove(idx)).is_some();
                    if !is_explained && !is_told(pod, reason, *exit_code) {
                        let actual = format!("`{pod}` ended: {reason}, exit code {exit_code}");
                        judgement.breach("replicas run until something ends them", actual, entry.place());
                    }
                }
                // What was done to the process before it is nothing to this one.
                What::Pod { pod, change: PodChange::Running { .. } } => {
                    explained.remove(pod.as_str());
                }
                _ => {}
            }
        }
        judgement
    },
};

/// The recorder puts `<secret:NAME>` in the place of a secret's value, so its appearance in an answer is the leak.
pub const NO_SECRET_SHOWN: Check = Check {
    id: "no-secret-shown",
    level: Level::Contract,
    sentence: "no secret's value appears in an answer or in a log line",
    source: HUB_CONTRACT,
    remedy: "remove the value from error texts and logs; name the variable instead",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for entry in history.entries() {
            let shown = match &entry.what {
                What::Head { headers, .. } => serde_json::to_string(headers),
                What::Frame { frame, .. } => serde_json::to_string(frame),
                What::Body { body, .. } => serde_json::to_string(body),
                What::Log { line, .. } => Ok(line.clone()),
                _ => continue,
            };
            judgement.judged();
            if let Some((_, name)) = shown.unwrap_or_default().split_once("<secret:") {
                let name = name.split('>').next().unwrap_or_default();
                judgement.breach("no secret's value", format!("the value of secret `{name}`"), entry.place());
            }
        }
        judgement
    },
};

/// "Servers that support tools MUST declare the tools capability": <https://modelcontextprotocol.io/specification/2025-11-25/server/tools#capabilities>;
/// every revision says it, and client SDKs do not ask for the tools of a server that does not.
pub const TOOLS_DECLARED: Check = Check {
    id: "tools-declared",
    level: Level::Must,
    sentence: "Servers that support tools MUST declare the `tools` capability",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/server/tools#capabilities",
    remedy: "declare `tools` in the answer to `initialize`, and to `server/discover`",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let of = |method: &'static str| history.calls.iter().filter(move |call| call.method == method);
        let lists = of("tools/list").filter_map(|call| call.result()?["tools"].as_array());
        if lists.flatten().next().is_none() {
            return judgement;
        }
        for call in of("initialize").chain(of("server/discover")) {
            let Some(capabilities) = call.result().and_then(|result| result.get("capabilities")) else {
                continue;
            };
            judgement.judged();
            if capabilities.get("tools").is_none() {
                judgement.breach("`tools` among the capabilities", capabilities.to_string(), call.sent);
            }
        }
        judgement
    },
};

// === helpers ===

/// The ids of the requests whose answers may come on this exchange, as JSON text.
fn asked_on(history: &History<'_>, exchange: &Exchange<'_>) -> BTreeSet<String> {
    let own = |call: &&crate::transcript::history::Call<'_>| {
        if call.client != exchange.request.client {
            return false;
        }
        // A GET stream of Streamable HTTP carries no answers, but one that is resumed may: any call of the session.
        call.exchange == exchange.id
            || (exchange.request.method == "GET" && exchange.request.header("last-event-id").is_some())
            || history.transport() == Some(Transport::Sse)
    };
    history.calls.iter().filter(own).map(|call| call.id.to_string()).collect()
}

/// The revision that was negotiated for the messages of this exchange.
fn revision_of(history: &History<'_>, exchange: &Exchange<'_>) -> Option<&'static Revision> {
    let came: BTreeSet<u32> = exchange.messages().into_iter().map(|(at, _)| at.seq).collect();
    let negotiated = history
        .calls
        .iter()
        .filter(|call| call.method == "initialize")
        .flat_map(|call| &call.answers)
        .find(|(at, _)| came.contains(&at.seq))
        .and_then(|(_, answer)| answer["result"]["protocolVersion"].as_str());
    let stated = || match history.transport() {
        Some(Transport::Stateless) => Some("2026-07-28"),
        _ => exchange.request.header("mcp-protocol-version"),
    };
    // First what the answer itself says: a server of several eras may be asked for an older one.
    schema::revision(negotiated.or_else(stated)?)
}

/// The exchanges that were over before anything was done to the cluster.
fn undisturbed<'h, 't>(history: &'h History<'t>) -> impl Iterator<Item = &'h Exchange<'t>> {
    let first = history.faults.first().map(|(at, _)| at.seq);
    history.exchanges.values().filter(move |exchange| {
        let over = exchange.end.map_or(history.end().seq, |(at, _)| at.seq);
        first.is_none_or(|first| over < first)
    })
}

/// Looks for 5xx among these exchanges; 503 is not one that tells of an error.
fn no_internal_error<'h, 't: 'h>(
    exchanges: impl Iterator<Item = &'h Exchange<'t>>,
    expected: impl Fn(&Exchange<'_>) -> String,
) -> Judgement {
    let mut judgement = Judgement::default();
    for exchange in exchanges {
        let Some(head) = exchange.head else { continue };
        judgement.judged();
        if head.status >= 500 && head.status != 503 {
            judgement.breach(expected(exchange), head.status.to_string(), head.at);
        }
    }
    judgement
}

/// Whether a request is one that a client should not have sent: its body is no single message, or it names no live session.
fn is_clients_error(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    let request = exchange.request;
    let message = request.message();
    let is_message = message.is_some_and(|message| message.get("jsonrpc").is_some());
    if request.method == "POST" && !is_message {
        return true;
    }
    match history.transport() {
        Some(Transport::Sse) => request.method == "POST" && !history.is_endpoint(exchange),
        Some(Transport::Streamable) => {
            let is_initialize = message.is_some_and(|message| message["method"] == "initialize");
            !is_initialize && !history.is_session(request.header("mcp-session-id"), exchange.at)
        }
        Some(Transport::Stateless) | None => false,
    }
}

/// Whether an exchange has the answer to its own request: what stays open after it is a stream that should have ended. On HTTP+SSE
/// the answer comes elsewhere, and HTTP owes the POST one of its own.
fn was_answered(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    history.transport() != Some(Transport::Sse)
        && history.calls.iter().any(|call| call.exchange == exchange.id && !call.answers.is_empty())
}

/// Whether the client cancelled the request of an exchange.
fn was_cancelled(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    let Some(id) = exchange.request.message().and_then(|message| message.get("id")) else {
        return false;
    };
    history.exchanges.values().filter(|other| other.request.client == exchange.request.client).any(|other| {
        other.request.message().is_some_and(|message| {
            message["method"] == "notifications/cancelled" && message["params"]["requestId"] == *id
        })
    })
}
