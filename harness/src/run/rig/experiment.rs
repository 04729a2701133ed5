//! Requests of the survey that show which of several causes an answer has. They judge nothing: what they show is read off the
//! transcript ([`super::way`]).

use serde_json::{Value, json};

use super::way::{AFTER, BESIDE, EARLY, LOCAL_HOST, PREFIXED, prefixes};
use crate::plan::Transport;
use crate::transcript::Body;
use crate::wire::{Client, Outcome, Raw, Target, initialize_asking};

/// The most hosts that are tried of those that a refusal names.
const NAMED_HOSTS: usize = 3;

/// The most prefixes that are tried.
const PREFIXES: usize = 3;

/// After a refusal that a foreign `Host` may explain: the same, by names that hubs know themselves by.
pub(super) async fn refused(target: &Target, client: &Client, transport: Transport, outcome: &Outcome) {
    let Outcome::Http { status, body, .. } = outcome else { return };
    let said = match body {
        Body::Json(value) => value.to_string(),
        Body::Text(text) => text.clone(),
        Body::Long { .. } => String::new(),
    };
    let names_host = || said.to_ascii_lowercase().contains("host");
    let may_be_host = matches!(status, 403 | 421) || *status == 400 && names_host();
    if !may_be_host {
        return;
    }
    let port = target.addr.port();
    let local = [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".to_owned()];
    for host in hosts_in(&said).into_iter().take(NAMED_HOSTS).map(str::to_owned).chain(local) {
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

// === helpers ===

/// The hosts with a port that a refusal names: a hub that knows itself by its own address says it there.
fn hosts_in(said: &str) -> Vec<&str> {
    let is_of_host = |character: char| character.is_ascii_alphanumeric() || ".-:".contains(character);
    let words = said.split(|character| !is_of_host(character)).map(|word| word.trim_matches(['.', ':']));
    let has_port = |word: &&str| {
        word.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty() && !name.contains(':') && port.parse::<u16>().is_ok()
        })
    };
    words.filter(has_port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_a_refusal() {
        assert_eq!(hosts_in("Access is only allowed at 127.8.2.1:19970"), ["127.8.2.1:19970"]);
        assert_eq!(
            hosts_in("{\"error\":\"use hub.example:80, or mcp:8000.\"}"),
            ["hub.example:80", "mcp:8000"]
        );
        assert_eq!(hosts_in("forbidden: no token (at 12:30:05) http://x"), Vec::<&str>::new());
    }
}
