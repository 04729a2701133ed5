//! Headers that no rule demands, and headers that are odd.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::cluster::manifest::Manifests;
use harness::plan::{Outline, Transport};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::Exchange;
use harness::wire::{Raw, Target};
use serde_json::json;

use super::{EVERY_TRANSPORT, SESSIONS};
use crate::words::reply_text;

/// The name of requests with the Service's name as `Host`.
const SERVICE_NAME: &str = "service name";

/// The name of requests with a `Content-Type`, `Accept` or `Host` that a server may take or refuse: what comes is recorded.
const ODD: &str = "odd header";

/// The name of the requests after them.
const AFTER_ODD: &str = "after it";

/// What requests say in their headers.
pub const HEADERS: Scenario = Scenario {
    outline: Outline { id: "session/headers", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "the Service's name as `Host` is served; an odd `Content-Type`, `Accept` or `Host` is served or refused, and does no harm",
    why: "A hub that was built for 127.0.0.1 answers 421 to everything that comes through a Service. What clients and proxies make of \
          the other headers differs more than any specification says.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: bind to 0.0.0.0 and allow the Service's name; answer 4xx to media types that it does not take",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&SERVICE_NAME_SERVED, &ODD_HEADERS_SURVIVED],
    drive: |stage| headers(stage).boxed(),
};

async fn headers(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let list = || holder.session.raw(stage.small(), json!({}));
    // A hub that is not ours is asked by its own name anyway.
    let named = match stage.given_manifests() {
        Ok(manifests) => list().with("host", host_of(manifests)),
        Err(_) => list(),
    };
    holder.session.send(&service, named.named(SERVICE_NAME)).await;
    let typed = [list().with("content-type", "text/plain"), list().without("content-type")];
    for request in typed {
        odd(stage, &holder, &service, request).await;
    }
    for accept in [None, Some("application/json"), Some("text/html"), Some("*/*")] {
        let asking = |request: Raw| match accept {
            Some(accept) => request.with("accept", accept),
            None => request.without("accept"),
        };
        if stage.transport() == Transport::Sse {
            // The media type of the stream, which is another session's.
            if let Some(other) = stage.begin("other", &service, |get| asking(get).named(ODD)).await {
                other.session.end(&service).await;
            }
        } else {
            odd(stage, &holder, &service, asking(list())).await;
        }
    }
    odd(stage, &holder, &service, list().with("host", "evil.example")).await;
    holder.session.end(&service).await;
    Ok(())
}

/// What clients in its namespace call a Service.
fn host_of(manifests: &Manifests) -> String {
    let service = &manifests.service;
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    match ports.first() {
        Some(port) => format!("{name}:{}", port.port),
        None => name.to_owned(),
    }
}

async fn odd(stage: &Stage, holder: &Holder, service: &Target, request: Raw) {
    holder.client.exchange(service, request.named(ODD)).await;
    stage.ask(holder, service, AFTER_ODD, stage.small(), json!({})).await;
}

// === checks ===

/// Hub contract: a hub that was built for 127.0.0.1 refuses what comes through a Service (421 or 403).
pub const SERVICE_NAME_SERVED: Check = Check {
    id: "service-name-served",
    level: Level::Contract,
    sentence: "a request whose `Host` is the name of a Service is served like any other",
    source: HUB_CONTRACT,
    remedy: "hub: bind to 0.0.0.0, and add the names of Service and Ingress to the allowed hosts",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(SERVICE_NAME) {
            judgement.judged();
            if !exchange.status().is_some_and(|status| (200..300).contains(&status)) {
                let host = exchange.request.header("host").unwrap_or_default();
                judgement.breach(format!("2xx to `Host: {host}`"), status_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: servers differ in what they take, and the specification is silent; but it must not cost a session. That a request is
/// answered at all, and not with 5xx, is judged on every cell.
pub const ODD_HEADERS_SURVIVED: Check = Check {
    id: "odd-headers-survived",
    level: Level::Contract,
    sentence: "a session answers as before after a request with an odd `Content-Type`, `Accept` or `Host`",
    source: HUB_CONTRACT,
    remedy: "hub: refuse the request, not the session",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(AFTER_ODD) {
            judgement.judged();
            if call.result().is_none() {
                judgement.breach("a result of the next request", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

// === helpers ===

fn status_text(exchange: &Exchange<'_>) -> String {
    exchange.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}
