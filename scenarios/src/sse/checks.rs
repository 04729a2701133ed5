//! What the scenarios of HTTP+SSE are judged by. Every check has a defect of the reference hub that it catches.

use std::time::Duration;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};

use super::opening::OPEN;
use super::{SPEC, SSE};

/// Within this a stream begins with its endpoint.
const FIRST_EVENT: Duration = Duration::from_secs(10);

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
                Some((at, _)) if exchange.at.until(*at) > FIRST_EVENT => {
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
    remedy: "hub: say the endpoint as a path (`/messages?..`), not as a URL with the pod's own name",
    transports: SSE,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OPEN) {
            let Some(said) = exchange.endpoint() else { continue };
            judgement.judged();
            let authority =
                said.split_once("//").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or(rest));
            let host = exchange.request.header("host").unwrap_or_default();
            // Relative to the stream, or with its own authority.
            if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
                judgement.breach(format!("an endpoint on {host}"), said, exchange.at);
            }
        }
        judgement
    },
};
