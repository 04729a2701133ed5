//! Paths with a slash too many, or one too few.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::Exchange;
use harness::wire::Raw;
use serde_json::json;

use super::EVERY_TRANSPORT;

/// The name of requests whose path has a slash more or less than it should.
const SLASHED: &str = "other slash";

/// Redirects lead back to where the client is.
pub const TRAILING_SLASH: Scenario = Scenario {
    outline: Outline {
        id: "session/trailing-slash",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[],
    },
    title: "a path with a slash more or less is served or refused, or redirected to the same scheme, host and folder",
    why: "Frameworks redirect `/mcp/` to `http://HOST/mcp`. Behind an ingress that ends TLS, or that takes a prefix off, this leads \
          the client out of it: it loses its credentials, or ends nowhere.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: serve both forms, or switch such redirects off (`redirect_slashes=False`); else trust `X-Forwarded-Proto` of the proxy",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&REDIRECTS_STAY],
    drive: |stage| slashes(stage).boxed(),
};

async fn slashes(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    if stage.transport() == Transport::Sse
        && let Some(other) = stage.begin("other", &service, with_other_slash).await
    {
        other.session.end(&service).await;
    }
    let message = match stage.transport() {
        // Its answer would come on the stream, at some time, or never.
        Transport::Sse => holder.session.raw_notification("notifications/initialized", json!({})),
        Transport::Streamable | Transport::Stateless => holder.session.raw(stage.small(), json!({})),
    };
    holder.client.exchange(&service, with_other_slash(message)).await;
    holder.session.end(&service).await;
    Ok(())
}

/// The request as a client sends it that was configured so, through an ingress that ended TLS for it.
fn with_other_slash(request: Raw) -> Raw {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (request.target.as_str(), String::new()),
    };
    let path = match path.strip_suffix('/') {
        Some(shorter) => shorter.to_owned(),
        None => format!("{path}/"),
    };
    request.to(format!("{path}{query}")).with("x-forwarded-proto", "https").named(SLASHED)
}

// === checks ===

/// Hub contract: clients that follow a redirect at all must not be led out of where they are.
pub const REDIRECTS_STAY: Check = Check {
    id: "redirects-stay",
    level: Level::Should,
    sentence: "a redirect leads to the scheme, host and folder that the client asked at",
    source: HUB_CONTRACT,
    remedy: "hub: serve paths with and without the slash, or say `Location` as a path",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(SLASHED) {
            judgement.judged();
            let Some(location) = location(exchange) else { continue };
            if let Some(fault) = fault(exchange, location) {
                judgement.breach(fault, format!("`Location: {location}`"), exchange.at);
            }
        }
        judgement
    },
};

// === helpers ===

/// Where an exchange was redirected to.
fn location<'e>(exchange: &'e Exchange<'_>) -> Option<&'e str> {
    let head = exchange.head.as_ref()?;
    (300..400).contains(&head.status).then(|| head.header("location"))?
}

/// What a redirect should have said; `None` when it stays where the client is.
fn fault(exchange: &Exchange<'_>, location: &str) -> Option<String> {
    let host = exchange.request.header("host").unwrap_or_default();
    let path = match location.split_once("://") {
        Some((scheme, rest)) => {
            let at = rest.find('/').unwrap_or(rest.len());
            if scheme != "https" {
                return Some("https, as `X-Forwarded-Proto` said, or a path".to_owned());
            }
            if !rest[..at].eq_ignore_ascii_case(host) {
                return Some(format!("the host {host}, or a path"));
            }
            &rest[at..]
        }
        None => location,
    };
    let asked = folder(&exchange.request.target);
    // A relative path stays in its folder.
    (path.starts_with('/') && folder(path) != asked).then(|| format!("a path in {asked}/"))
}

/// The path without its last part, without query.
fn folder(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or(target).trim_end_matches('/');
    path.rfind('/').map_or("", |slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_what_an_ingress_may_take_off() {
        assert_eq!(folder("/mcp/"), "");
        assert_eq!(folder("/team/mcp?x=/y"), "/team");
        assert_eq!(folder("/team/messages/?session_id=1"), folder("/team/messages"));
    }
}
