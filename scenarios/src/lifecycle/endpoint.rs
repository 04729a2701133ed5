//! A client whose URL leads to the right hub and the wrong path.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::timeouts::{ANSWER, SLACK};
use harness::transcript::Body;
use harness::transcript::history::{Exchange, History};
use harness::wire::{Client, Raw, Target, initialize_asking};

use serde_json::json;

use super::NOT_CONNECTED;
use crate::routing;

/// The name of requests at the wrong path.
const WRONG: &str = "wrong endpoint";

/// The URL of the configuration ends too early: `/` instead of `/sse` or `/mcp`.
pub const WRONG_ENDPOINT: Scenario = Scenario {
    outline: Outline { id: "lifecycle/wrong-endpoint", affinities: &[], transports: &[], needs: &[] },
    title: "a client that is configured with `/` is refused at once, and told where MCP is",
    why: "The most common mistake in a client's configuration. A hub that keeps such a client waiting, or answers 5xx, looks \
          as if it were down; a bare 404 looks as if it were not there.",
    spec: &[HUB_CONTRACT],
    remedy: "client: the URL ends with the endpoint (`/sse`, `/mcp`); hub: answer every other path with 404 and a line that \
             names the endpoints",
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

/// Hub contract: a wrong URL is told apart from a hub that is down.
pub const WRONG_ENDPOINT_REFUSED: Check = Check {
    id: "wrong-endpoint-refused",
    level: Level::Contract,
    sentence: "an MCP request at a path that is no endpoint is refused with a 4xx within 5 s",
    source: HUB_CONTRACT,
    remedy: "hub: answer 404 for every path that is not its own",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(WRONG) {
            judgement.judged();
            let in_time = exchange.head_took().is_some_and(|took| took <= ANSWER + SLACK);
            if !(is_refused(exchange) && in_time) {
                let method = &exchange.request.method;
                let actual = exchange.status().map_or("no answer".to_owned(), |status| status.to_string());
                judgement.breach(
                    format!("a 4xx to {method} {}", exchange.request.target),
                    actual,
                    exchange.at,
                );
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
    // Some hubs do serve MCP at `/`.
    let wrong = if [&sse.target, &path.target].contains(&&"/".to_owned()) { "/not-mcp" } else { "/" };
    ask(&client, &service, sse.to(wrong)).await;
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize_asking("2025-06-18"),
    });
    let post = Raw::new("POST", wrong)
        .with("accept", "application/json, text/event-stream")
        .with("content-type", "application/json")
        .carrying(initialize.to_string());
    ask(&client, &service, post).await;
    stage.step("remedy");
    stage.step("recovery");
    if let Some(holder) = stage.open("a", &service).await {
        stage.probe(&holder, &service).await;
        holder.session.end(&service).await;
    }
    Ok(())
}

async fn ask(client: &Client, target: &Target, raw: Raw) {
    client.exchange(target, raw.named(WRONG)).await;
}

// === helpers ===

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
