//! Header names in the spellings that clients use.

use futures_util::future::FutureExt;
use harness::check::{Check, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::Request;
use harness::wire::Spelling;
use serde_json::json;

use super::EVERY_TRANSPORT;
use crate::words::reply_text;

/// The name of requests whose headers are spelled in another way.
const SPELLED: &str = "other spelling";

/// The name of GETs that open an HTTP+SSE stream, spelled in another way.
const OPENED: &str = "stream in another spelling";

/// Where the names of headers are specified.
const SPEC: &str = "https://www.rfc-editor.org/rfc/rfc9110#section-5.1";

/// `mcp-session-id`, `Mcp-Session-Id` and `MCP-SESSION-ID` are one header.
pub const HEADER_NAMES: Scenario = Scenario {
    outline: Outline { id: "session/header-names", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "a request is answered alike with header names in lower case, in Title-Case and in UPPER CASE",
    why: "Node and Python clients send `mcp-session-id`, Go clients `Mcp-Session-Id`. A hub that looks for one spelling loses the \
          sessions of the other clients.",
    spec: &[SPEC],
    remedy: "hub: look headers up without case, as the request object of every HTTP library does",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&NAMES_OF_ANY_CASE],
    drive: |stage| spell(stage).boxed(),
};

async fn spell(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    for (spelling, role) in
        [(Spelling::Lower, "lower"), (Spelling::Title, "title"), (Spelling::Upper, "upper")]
    {
        if stage.transport() == Transport::Sse {
            let opening = stage.begin(role, &service, |get| get.spelled(spelling).named(OPENED));
            if let Some(other) = opening.await {
                other.session.end(&service).await;
            }
        }
        let list = holder.session.raw(stage.small(), json!({}));
        holder.session.send(&service, list.spelled(spelling).named(SPELLED)).await;
    }
    holder.session.end(&service).await;
    Ok(())
}

// === checks ===

/// "Field names are case-insensitive": <https://www.rfc-editor.org/rfc/rfc9110#section-5.1>.
pub const NAMES_OF_ANY_CASE: Check = Check {
    id: "header-names-any-case",
    level: Level::Must,
    sentence: "Field names are case-insensitive (a request is served with its header names in any spelling)",
    source: SPEC,
    remedy: "hub: look headers up without case, as the request object of every HTTP library does",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(SPELLED) {
            judgement.judged();
            if call.result().is_none() {
                let request = history.exchanges.get(&call.exchange).map(|exchange| exchange.request);
                let expected =
                    format!("a result for a request with {}", request.map(names).unwrap_or_default());
                judgement.breach(expected, reply_text(history, call), call.sent);
            }
        }
        for stream in history.probes(OPENED) {
            judgement.judged();
            if !stream.is_event_stream() {
                let actual =
                    stream.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string());
                let expected = format!("a stream for a request with {}", names(stream.request));
                judgement.breach(expected, actual, stream.at);
            }
        }
        judgement
    },
};

/// The names of a request's headers, as they were sent.
fn names(request: &Request) -> String {
    let names: Vec<String> = request.headers.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}
