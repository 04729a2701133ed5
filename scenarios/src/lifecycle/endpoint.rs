//! A client whose URL leads to the right hub and the wrong path.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::Body;
use harness::transcript::history::{Exchange, History};
use harness::wire::{Raw, initialize_asking};

use serde_json::json;

use super::NOT_CONNECTED;
use crate::routing;

/// The name of requests at the wrong path.
const WRONG: &str = "wrong endpoint";

/// The URL of the configuration ends too early: `/` instead of `/sse` or `/mcp`.
pub const WRONG_ENDPOINT: Scenario = Scenario {
    outline: Outline { id: "lifecycle/wrong-endpoint", affinities: &[], transports: &[], needs: &[] },
    title: "a client that is configured with `/` is answered at once, and told where MCP is",
    why: "The most common mistake in a client's configuration. A hub that keeps such a client waiting, or answers 5xx, looks \
          as if it were down; a bare 404 looks as if it were not there.",
    spec: &[HUB_CONTRACT],
    remedy: "client: the URL ends with the endpoint (`/sse`, `/mcp`); hub: answer every other path with 404 and a line that \
             names the endpoints, or with a page",
    guide: Some(NOT_CONNECTED),
    setup: Setup::ONE_REPLICA,
    checks: &[
        &WRONG_ENDPOINT_REFUSED,
        &WRONG_ENDPOINT_TOLD,
        &super::checks::NO_HANG,
        &super::checks::RECOVERS,
        &routing::checks::NEW_SESSION_WORKS,
    ],
    drive: |stage| wrong_endpoint(stage).boxed(),
};

/// Hub contract: a wrong URL is told apart from a hub that is down. A page for people and an MCP endpoint at `/` do that, too.
pub const WRONG_ENDPOINT_REFUSED: Check = Check {
    id: "wrong-endpoint-refused",
    level: Level::Contract,
    sentence: "An MCP request at another path than the endpoint must be answered within 5 s, without a 5xx, and without an event \
               stream that belongs to no session.",
    source: HUB_CONTRACT,
    remedy: "hub: answer 404 (or a page) for every path that is not its own",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(WRONG) {
            judgement.judged();
            let in_time = exchange.head_took().is_some_and(|took| took <= history.stretched(ANSWER + SLACK));
            let is_error = exchange.status().is_none_or(|status| status >= 500);
            let is_deaf = exchange.is_event_stream() && !is_endpoint(history, &exchange.request.target);
            if is_error || is_deaf || !in_time {
                let method = &exchange.request.method;
                let actual = match exchange.status() {
                    None => "no answer".to_owned(),
                    Some(_) if is_deaf => "an event stream that names no endpoint".to_owned(),
                    Some(status) => format!("{status} after {} ms", took_ms(exchange)),
                };
                let expected =
                    format!("an answer to {method} {} within 5 s, and no 5xx", exchange.request.target);
                judgement.breach(expected, actual, exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: the answer leads on. Frameworks answer `Not Found`, so it warns.
pub const WRONG_ENDPOINT_TOLD: Check = Check {
    id: "wrong-endpoint-told",
    level: Level::Should,
    sentence: "the answer at a path that is no endpoint names the one that is",
    source: HUB_CONTRACT,
    remedy: "hub: a 404 whose body names the endpoints (`MCP is at /sse and /mcp`)",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let Some(right) = right_endpoint(history) else { return judgement };
        for exchange in history.probes(WRONG) {
            judgement.judged();
            // What is not refused at all is another check's business.
            if is_refused(exchange) && !said(exchange).contains(right) {
                let actual = match said(exchange) {
                    text if text.trim().is_empty() => "nothing".to_owned(),
                    text => format!("`{}`", text.trim()),
                };
                judgement.breach(format!("a body that names `{right}`"), actual, exchange.at);
            }
        }
        judgement
    },
};

async fn wrong_endpoint(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let client = stage.client("misled").await;
    stage.step("the client's URL ends too early");
    let (sse, path) = (client.get(Transport::Sse), client.get(Transport::Streamable));
    let right = if stage.transport() == Transport::Sse { &sse.target } else { &path.target };
    let above = above(right);
    // Some hubs do serve MCP at `/`.
    let is_served = [&sse.target, &path.target].contains(&&above);
    let wrong = if is_served { format!("{above}not-mcp") } else { above };
    let wrong = wrong.as_str();
    let answer = client.exchange(&service, sse.to(wrong).named(WRONG)).await;
    if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        // Whether it is the stream of an HTTP+SSE session shows in its first event.
        drop(client.begin(Transport::Sse, &service, |get| get.to(wrong).named(WRONG)).await);
    }
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize_asking("2025-06-18"),
    });
    let post = Raw::new("POST", wrong)
        .with("accept", "application/json, text/event-stream")
        .with("content-type", "application/json")
        .carrying(initialize.to_string());
    client.exchange(&service, post.named(WRONG)).await;
    stage.step("remedy");
    stage.step("recovery");
    if let Some(holder) = stage.open("a", &service).await {
        stage.probe(&holder, &service).await;
        holder.session.end(&service).await;
    }
    Ok(())
}

// === helpers ===

/// The path above an endpoint: `/` of `/sse`. Of `/hub/sse` it is `/hub/`, since a proxy may serve others beside this prefix.
fn above(endpoint: &str) -> String {
    let path = endpoint.split('?').next().unwrap_or_default();
    let end = path.trim_end_matches('/').rfind('/').unwrap_or_default();
    format!("{}/", &path[..end])
}

/// Whether MCP is served at a path: a stream names its endpoint, or `initialize` has a result.
fn is_endpoint(history: &History<'_>, target: &str) -> bool {
    let there = || history.probes(WRONG).filter(|exchange| exchange.request.target == target);
    let has_result = |exchange: &Exchange<'_>| {
        exchange.messages().iter().any(|(_, message)| message.get("result").is_some())
    };
    there().any(|exchange| exchange.endpoint().is_some() || has_result(exchange))
}

fn took_ms(exchange: &Exchange<'_>) -> u128 {
    exchange.head_took().unwrap_or_default().as_millis()
}

fn is_refused(exchange: &Exchange<'_>) -> bool {
    exchange.status().is_some_and(|status| (400..500).contains(&status))
}

/// The path at which the session was opened.
fn right_endpoint<'t>(history: &History<'t>) -> Option<&'t str> {
    let opening = history.exchanges.values().find(|exchange| {
        exchange.request.probe.is_none() && exchange.status().is_some_and(|status| status < 300)
    })?;
    opening.request.target.split('?').next()
}

fn said(exchange: &Exchange<'_>) -> String {
    match exchange.body {
        Some((_, Body::Json(value))) => value.to_string(),
        Some((_, Body::Text(text))) => text.clone(),
        Some((_, Body::Long { .. })) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use harness::transcript::{ExchangeId, Frame, What};

    use super::*;
    use crate::by_hand::{breached, request};

    /// Whether it is a fault that `GET /` gets this answer: its status, its media type, and its first event.
    fn is_fault(status: u16, media_type: &str, event: Option<&str>) -> bool {
        let exchange = ExchangeId(1);
        let mut get = request(exchange, "GET", "/");
        get.probe = Some(WRONG.to_owned());
        let headers = vec![("content-type".to_owned(), media_type.to_owned())];
        let mut entries = vec![What::Request(get), What::Head { exchange, status, headers }];
        entries.extend(event.map(|event| {
            let (event, data) = (Some(event.to_owned()), Some("/messages?id=1".to_owned()));
            What::Frame { exchange, frame: Frame { event, data, ..Frame::default() } }
        }));
        breached(&WRONG_ENDPOINT_REFUSED, entries)
    }

    #[test]
    fn the_path_above_an_endpoint_is_below_its_prefix() {
        assert_eq!(["/sse", "/", "/hub/mcp", "/a/b/sse/?key=/x"].map(above), ["/", "/", "/hub/", "/a/b/"]);
    }

    #[test]
    fn a_page_and_an_endpoint_at_the_root_are_no_faults() {
        assert!(!is_fault(404, "text/plain", None));
        assert!(!is_fault(200, "text/html", None), "a page for people");
        assert!(!is_fault(307, "text/html", None));
        assert!(!is_fault(200, "text/event-stream", Some("endpoint")), "MCP is served at `/`");
        assert!(is_fault(200, "text/event-stream", Some("message")), "no client can say anything there");
        assert!(is_fault(503, "text/plain", None));
    }
}
