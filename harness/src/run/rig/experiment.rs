//! Requests of the survey that show which of several causes an answer has. They judge nothing: what they show is read off the
//! transcript ([`super::way`]).

use serde_json::{Value, json};

use super::way::{AFTER, BESIDE, EARLY, LOCAL_HOST, PREFIXED, prefixes};
use crate::plan::Transport;
use crate::transcript::Body;
use crate::wire::{Client, Outcome, Raw, Target, initialize_asking};

/// The most prefixes that are tried.
const PREFIXES: usize = 3;

/// After a refusal that a foreign `Host` may explain: the same, by names that hubs know themselves by.
pub(super) async fn refused(target: &Target, client: &Client, transport: Transport, outcome: &Outcome) {
    let Outcome::Http { status, body, .. } = outcome else { return };
    let names_host = || match body {
        Body::Json(value) => value.to_string().to_ascii_lowercase().contains("host"),
        Body::Text(text) => text.to_ascii_lowercase().contains("host"),
        Body::Long { .. } => false,
    };
    let may_be_host = matches!(status, 403 | 421) || *status == 400 && names_host();
    if !may_be_host {
        return;
    }
    let port = target.addr.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".to_owned()] {
        let Some(raw) = first_request(target, client, transport).await else { return };
        let answer = client.exchange(target, raw.named(LOCAL_HOST).with("host", host)).await;
        if answer.status.is_some_and(|status| status < 400) {
            return;
        }
    }
}

/// After a stream whose endpoint leads nowhere: the same endpoint below each prefix of the stream's path.
pub(super) async fn below_prefixes(target: &Target, client: &Client, sse_path: &str) {
    let prefixes = prefixes(sse_path);
    if prefixes.is_empty() {
        return;
    }
    for prefix in prefixes.into_iter().take(PREFIXES) {
        let Ok(session) = client.begin(Transport::Sse, target, |get| get).await else { return };
        let raw = session.raw("initialize", initialize_asking("2024-11-05"));
        if raw.target.starts_with(&format!("{prefix}/")) {
            continue;
        }
        let raw = raw.named(PREFIXED);
        let below = format!("{prefix}{}", raw.target);
        if let Outcome::Result(_) = session.send(target, raw.to(below)).await {
            return;
        }
    }
}

/// What hangs in some hubs, with what shows that the hub lives: the GET stream, and a request before `initialize`. A session is
/// ended by DELETE unless that is known to hang.
pub(super) async fn behaviour(target: &Target, client: &Client, transport: Transport, says_goodbye: bool) {
    match transport {
        Transport::Streamable => get_stream(target, client, says_goodbye).await,
        Transport::Sse => early_request(target, client).await,
        Transport::Stateless => {}
    }
}

async fn get_stream(target: &Target, client: &Client, says_goodbye: bool) {
    let Ok(session) = client.open(Transport::Streamable, target).await else { return };
    session.listen(target).await;
    let beside = session.send(target, session.raw("ping", Value::Null).named(BESIDE)).await;
    if beside == Outcome::Silent {
        // Its stream is closed with it.
        drop(session);
        after(target, client, Transport::Streamable).await;
    } else if says_goodbye {
        session.end(target).await;
    }
}

async fn early_request(target: &Target, client: &Client) {
    let Ok(session) = client.begin(Transport::Sse, target, |get| get).await else { return };
    let early = session.send(target, session.raw("tools/list", json!({})).named(EARLY)).await;
    drop(session);
    if early == Outcome::Silent {
        after(target, client, Transport::Sse).await;
    }
}

/// Whether the hub lives: a session of its own, and a request on it.
async fn after(target: &Target, client: &Client, transport: Transport) {
    if let Ok(session) = client.open(transport, target).await {
        session.send(target, session.raw("ping", Value::Null).named(AFTER)).await;
        session.end(target).await;
    }
}

/// What a client of this era sends first.
async fn first_request(target: &Target, client: &Client, transport: Transport) -> Option<Raw> {
    match transport {
        Transport::Sse => Some(client.get(Transport::Sse)),
        // Neither begins with an exchange.
        Transport::Streamable => {
            let session = client.begin(transport, target, |get| get).await.ok()?;
            Some(session.raw("initialize", initialize_asking("2025-11-25")))
        }
        Transport::Stateless => {
            let session = client.begin(transport, target, |get| get).await.ok()?;
            Some(session.raw("tools/list", json!({})))
        }
    }
}
