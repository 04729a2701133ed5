//! What the scenarios of HTTP+SSE are judged by. Every check has a defect of the reference hub that it catches.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::timeouts::{ANSWER, FIRST_EVENT, SLACK};
use harness::transcript::history::{Exchange, Outcome};

use super::messages::{AFTER_GARBAGE, EARLY_PING, GARBAGE, LATE_INITIALIZE, POSTED, STRANGE_IDS};
use super::opening::OPEN;
use super::{SPEC, SSE};
use crate::probed::each_has_result;
use crate::words::reply_text;

/// The SSE standard: "Event streams .. have the media type `text/event-stream`":
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
pub const STREAM_IS_SSE: Check = Check {
    id: "sse-stream-media-type",
    level: Level::Must,
    sentence: "This event stream format's MIME type is text/event-stream",
    source: "https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream",
    remedy: "hub: answer the GET with 200 and `Content-Type: text/event-stream`",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OPEN) {
            judgement.judged();
            if exchange.status() != Some(200) || !exchange.is_event_stream() {
                let media = exchange.media_type().unwrap_or_else(|| "no media type".to_owned());
                let actual = match exchange.status() {
                    Some(status) => format!("{status} with {media}"),
                    None => "no answer".to_owned(),
                };
                judgement.breach("200 with text/event-stream", actual, exchange.at);
            }
        }
        judgement
    },
};

/// "When a client connects, the server MUST send an `endpoint` event containing a URI for the client to use for sending
/// messages.": <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>. That it is the
/// first event is what 2025-03-26 says of the same transport (Backwards Compatibility).
pub const ENDPOINT_FIRST: Check = Check {
    id: "endpoint-first",
    level: Level::Must,
    sentence: "When a client connects, the server MUST send an `endpoint` event containing a URI for the client to use \
               for sending messages",
    source: SPEC,
    remedy: "hub: send `event: endpoint` with the URI of the session's messages before anything else",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        // A stream that is none is another check's business.
        for exchange in history.probes(OPEN).filter(|exchange| exchange.is_event_stream()) {
            judgement.judged();
            let first = exchange.frames.iter().find(|(_, frame)| frame.data.is_some());
            let expected = "an `endpoint` event within 10 s, before any other";
            match first {
                None => judgement.breach(expected, "no event", exchange.at),
                Some((at, frame)) if frame.event_type() != "endpoint" => {
                    judgement.breach(expected, format!("a `{}` event first", frame.event_type()), *at);
                }
                Some((at, _)) if exchange.at.until(*at) > history.stretched(FIRST_EVENT) => {
                    judgement.breach(expected, format!("it after {:?}", exchange.at.until(*at)), *at);
                }
                Some(_) => {}
            }
        }
        judgement
    },
};

/// Hub contract: Python and JavaScript clients refuse an endpoint of another origin.
pub const ENDPOINT_SAME_ORIGIN: Check = Check {
    id: "endpoint-same-origin",
    level: Level::Contract,
    sentence: "the endpoint has the origin of the stream: clients refuse to send messages anywhere else",
    source: HUB_CONTRACT,
    remedy: "hub: say the endpoint as a path (`/messages?..`), not as a URL with the pod's own name, or with `http` behind a \
             proxy that speaks TLS",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OPEN) {
            let Some(said) = exchange.endpoint() else { continue };
            judgement.judged();
            // A `Host` that the user gave is not recorded, and then nobody can tell.
            let Some(own) = exchange.request.url() else { continue };
            let is_own = own.join(said).is_ok_and(|endpoint| endpoint.origin() == own.origin());
            if !is_own {
                let origin = own.origin().ascii_serialization();
                judgement.breach(format!("an endpoint on {origin}"), said, exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: the specification names no status; clients take any 2xx, and follow no redirect of a POST.
pub const POST_ACCEPTED: Check = Check {
    id: "post-accepted",
    level: Level::Contract,
    sentence: "a message that is posted to the endpoint is answered 2xx, without a redirect",
    source: HUB_CONTRACT,
    remedy: "hub: serve the endpoint at exactly the URI that was said, slashes included",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(POSTED) {
            judgement.judged();
            if !is_success(exchange) {
                judgement.breach("2xx to a posted message", status_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// "Server messages are sent as SSE `message` events, with the message content encoded as JSON in the event data.":
/// <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>.
pub const REPLY_ON_STREAM: Check = Check {
    id: "reply-on-stream",
    level: Level::Must,
    sentence: "Server messages are sent as SSE `message` events, with the message content encoded as JSON in the event data",
    source: SPEC,
    remedy: "hub: send the answer on the stream of the session, as an event of type `message`",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(POSTED) {
            // One that was refused has no answer.
            if !history.exchanges.get(&call.exchange).is_some_and(is_success) {
                continue;
            }
            judgement.judged();
            if call.answers.is_empty() {
                let expected = format!("a `message` event with the answer to {}", call.method);
                judgement.breach(expected, "none", call.sent);
            }
        }
        judgement
    },
};

/// Hub contract: the specification is silent; after a 2xx the client would wait for an answer that never comes.
pub const STRANGE_ID_REFUSED: Check = Check {
    id: "strange-id-refused",
    level: Level::Contract,
    sentence: "a message with a missing, malformed, unknown or closed session id gets 4xx or 5xx within 5 s",
    source: HUB_CONTRACT,
    remedy: "hub: look the session up before the message is accepted",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in STRANGE_IDS.iter().flat_map(|probe| history.probes(probe)) {
            judgement.judged();
            let in_time = exchange.head_took().is_some_and(|took| took <= history.stretched(ANSWER + SLACK));
            if !in_time || exchange.status().is_none_or(|status| status < 400) {
                let probe = exchange.request.probe.as_deref().unwrap_or_default();
                judgement.breach(
                    format!("4xx to a message with a {probe}"),
                    status_text(exchange),
                    exchange.at,
                );
            }
        }
        judgement
    },
};

/// Hub contract: the specification is silent; a client that hears 2xx believes that it was understood.
pub const GARBAGE_REFUSED: Check = Check {
    id: "garbage-refused",
    level: Level::Contract,
    sentence: "a body that is no JSON-RPC message is not answered 2xx",
    source: HUB_CONTRACT,
    remedy: "hub: answer 400 to a body that is no JSON-RPC message",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in GARBAGE.iter().flat_map(|probe| history.probes(probe)) {
            judgement.judged();
            if exchange.status().is_none_or(|status| status < 300) {
                let probe = exchange.request.probe.as_deref().unwrap_or_default();
                judgement.breach(format!("an HTTP error to {probe}"), status_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: one broken message must not cost a user the session.
pub const GARBAGE_SURVIVED: Check = Check {
    id: "garbage-survived",
    level: Level::Contract,
    sentence: "a session lives on after a body that is no JSON-RPC message",
    source: HUB_CONTRACT,
    remedy: "hub: refuse the message, not the session",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AFTER_GARBAGE) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer to the next request", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "The receiver MUST respond promptly with an empty response", and before `initialize` the client may ping:
/// <https://modelcontextprotocol.io/specification/2024-11-05/basic/utilities/ping#behavior-requirements>.
pub const EARLY_PING_ANSWERED: Check = Check {
    id: "early-ping-answered",
    level: Level::Must,
    sentence: "The receiver MUST respond promptly with an empty response (a ping, which the lifecycle allows before `initialize`)",
    source: "https://modelcontextprotocol.io/specification/2024-11-05/basic/utilities/ping#behavior-requirements",
    remedy: "hub: answer `ping` whatever state the session is in",
    transports: SSE,
    needs: &[],
    judge: |history| each_has_result(history, EARLY_PING, "an empty result"),
};

/// Hub contract: a client that asked too early can still initialise.
pub const EARLY_REQUEST_HARMLESS: Check = Check {
    id: "early-request-harmless",
    level: Level::Contract,
    sentence: "after a request that came before `initialize` the session can still be initialised",
    source: HUB_CONTRACT,
    remedy: "hub: answer an early request with an error, and keep the session",
    transports: SSE,
    needs: &[],
    judge: |history| each_has_result(history, LATE_INITIALIZE, "a result of `initialize`"),
};

// === helpers ===

fn is_success(exchange: &Exchange<'_>) -> bool {
    exchange.status().is_some_and(|status| (200..300).contains(&status))
}

fn status_text(exchange: &Exchange<'_>) -> String {
    exchange.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use harness::transcript::{ExchangeId, Frame, Request, What};

    use super::*;
    use crate::by_hand::{breached, request};

    /// Whether clients would refuse this endpoint of a stream at `hub.example`.
    fn is_refused(tls: bool, said: &str) -> bool {
        let exchange = ExchangeId(1);
        let open = Request { probe: Some(OPEN.to_owned()), tls, ..request(exchange, "GET", "/sse") };
        let (event, data) = (Some("endpoint".to_owned()), Some(said.to_owned()));
        let frame = Frame { event, data, ..Frame::default() };
        breached(&ENDPOINT_SAME_ORIGIN, vec![What::Request(open), What::Frame { exchange, frame }])
    }

    #[test]
    fn an_endpoint_of_another_origin_is_refused() {
        assert!(!is_refused(true, "/messages?id=1"));
        assert!(!is_refused(true, "messages?to=http://a"));
        assert!(!is_refused(true, "https://HUB.example:443/messages"));
        assert!(!is_refused(false, "http://hub.example/messages"));
        assert!(
            is_refused(true, "http://hub.example/messages"),
            "the proxy speaks TLS, and the hub does not know"
        );
        assert!(is_refused(false, "http://hub-7d9f/messages"));
        assert!(is_refused(false, "//other.example/messages"));
        assert!(is_refused(false, "http://hub.example:8000/messages"));
    }
}
