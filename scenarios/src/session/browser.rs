//! What a browser must be told before a page can use the hub: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Outline, Transport};
use harness::run::{Scenario, Setup, Stage, Told};
use harness::transcript::history::{Exchange, Head, History};
use harness::wire::{Raw, Session, initialize_asking};
use serde_json::json;

use super::EVERY_TRANSPORT;

/// The name of the requests by which a browser asks whether it may send another one.
const PREFLIGHT: &str = "preflight";

/// The name of requests of a page whose origin is allowed.
const OF_A_PAGE: &str = "allowed origin";

/// What a page may send without asking.
const NEEDS_NO_ASKING: &[&str] = &["accept", "accept-language", "content-language"];

/// A page of an allowed origin can use the hub.
pub const BROWSERS: Scenario = Scenario {
    outline: Outline {
        id: "session/browser",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Origin],
    },
    title: "a page of an allowed origin may send the headers of MCP and read the session id",
    why: "The browser asks the hub first, by a preflight, and hides each header that the hub does not expose. A page that cannot read \
          `Mcp-Session-Id` has no session.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: CORS with `Access-Control-Allow-Headers: authorization, content-type, last-event-id, mcp-protocol-version, \
             mcp-session-id` and `Access-Control-Expose-Headers: mcp-session-id`; answer preflights before the token is checked",
    guide: None,
    setup: Setup {
        reference: Told { token: None, origin: Some("https://app.example") },
        ..Setup::ONE_REPLICA
    },
    checks: &[&PREFLIGHT_ALLOWED, &PAGES_CAN_READ],
    drive: |stage| browse(stage).boxed(),
};

async fn browse(stage: &Stage) -> anyhow::Result<()> {
    let (service, origin) = (stage.service(), stage.origin().unwrap_or_default());
    let of_a_page = |raw: Raw| raw.with("origin", origin).named(OF_A_PAGE);
    if let Some(page) = stage.begin("page", &service, of_a_page).await {
        let opening = match stage.transport() {
            Transport::Sse => None,
            Transport::Streamable => Some(page.session.raw("initialize", initialize_asking("2025-11-25"))),
            Transport::Stateless => Some(page.session.raw(stage.small(), json!({}))),
        };
        match opening {
            Some(opening) => drop(page.client.exchange(&service, of_a_page(opening)).await),
            None => drop(page.session.end(&service).await),
        }
    }
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    for request in requests(&holder.session) {
        let asking = preflight(&request, origin, stage.wrong_credentials().is_some());
        holder.client.exchange(&service, asking).await;
    }
    holder.session.listen(&service).await;
    let list = holder.session.raw(stage.small(), json!({}));
    holder.session.send(&service, of_a_page(list)).await;
    holder.session.end(&service).await;
    Ok(())
}

/// What a page sends on a session and has to ask for.
fn requests(session: &Session) -> Vec<Raw> {
    let post = session.raw("tools/list", json!({}));
    match session.transport() {
        Transport::Streamable => vec![post, session.raw_get(), session.raw_delete()],
        Transport::Sse | Transport::Stateless => vec![post],
    }
}

/// How a browser asks whether a page may send this request.
fn preflight(request: &Raw, origin: &str, has_token: bool) -> Raw {
    let names = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
    let mut names: Vec<String> = names.filter(|name| !NEEDS_NO_ASKING.contains(&name.as_str())).collect();
    names.extend(has_token.then(|| "authorization".to_owned()));
    // The JavaScript SDK sends it over HTTP+SSE too.
    names.push("mcp-protocol-version".to_owned());
    names.sort();
    names.dedup();
    Raw::new("OPTIONS", request.target.clone())
        .with("accept", "*/*")
        .with("origin", origin)
        .with("access-control-request-method", request.method.clone())
        .with("access-control-request-headers", names.join(","))
        .withholding("authorization")
        .named(PREFLIGHT)
}

// === checks ===

/// Hub contract for an origin that the user calls allowed; what a browser demands stands in the Fetch standard:
/// <https://fetch.spec.whatwg.org/#cors-preflight-fetch>. A method that the hub does not offer need not be allowed.
pub const PREFLIGHT_ALLOWED: Check = Check {
    id: "preflight-allowed",
    level: Level::Contract,
    sentence: "a browser's preflight from an allowed origin is answered 2xx and allows the origin, the method and every header that \
               a client sends",
    source: HUB_CONTRACT,
    remedy: "hub: name every header of MCP in `Access-Control-Allow-Headers` (`*` does not cover `Authorization`); answer preflights \
             without a token",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OF_A_PAGE).filter(|exchange| exchange.status() == Some(403)) {
            judgement.judged();
            let origin = exchange.request.header("origin").unwrap_or_default();
            judgement.breach(format!("a page of {origin} to be served"), "403", exchange.at);
        }
        for exchange in history.probes(PREFLIGHT) {
            let method = exchange.request.header("access-control-request-method").unwrap_or_default();
            if !is_offered(history, method) {
                continue;
            }
            judgement.judged();
            if let Some((expected, actual)) = refusal(exchange, method) {
                judgement.breach(
                    format!("{expected} in the answer to the preflight of {method}"),
                    actual,
                    exchange.at,
                );
            }
        }
        judgement
    },
};

/// Hub contract for an origin that the user calls allowed: <https://fetch.spec.whatwg.org/#http-access-control-expose-headers>.
/// The stream of HTTP+SSE is left out: many frameworks send its head before their middleware can add a header, and pages that still
/// use that transport reach it through a proxy of their own.
pub const PAGES_CAN_READ: Check = Check {
    id: "pages-can-read",
    level: Level::Contract,
    sentence: "an answer to a page of an allowed origin may be read by it, and its `Mcp-Session-Id` too",
    source: HUB_CONTRACT,
    remedy: "hub: send `Access-Control-Allow-Origin` and `Access-Control-Expose-Headers: mcp-session-id` with every answer, not only \
             with that to the preflight",
    transports: &[Transport::Streamable, Transport::Stateless],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(OF_A_PAGE) {
            judgement.judged();
            let Some(head) = exchange.head else {
                judgement.breach("an answer", "none", exchange.at);
                continue;
            };
            let mut lacks = |header: &str, value: &str| {
                judgement.breach(format!("`{header}: {value}`"), told(&head, header), head.at);
            };
            if !allows_origin(&head, exchange) {
                lacks("access-control-allow-origin", exchange.request.header("origin").unwrap_or_default());
            } else if head.header("mcp-session-id").is_some()
                && !lists(&head, "access-control-expose-headers", "mcp-session-id")
            {
                lacks("access-control-expose-headers", "mcp-session-id");
            }
        }
        judgement
    },
};

// === helpers ===

/// Whether the hub offers a method: it may do without a GET stream, and need not let clients end sessions.
fn is_offered(history: &History<'_>, method: &str) -> bool {
    let is_served = |exchange: &&Exchange<'_>| {
        exchange.request.method == method && exchange.status().is_some_and(|status| status < 300)
    };
    method == "POST" || history.exchanges.values().any(|exchange| is_served(&exchange))
}

/// What a preflight should have been told, and what it was told.
fn refusal(exchange: &Exchange<'_>, method: &str) -> Option<(String, String)> {
    let Some(head) = exchange.head else {
        return Some(("2xx".to_owned(), "no answer".to_owned()));
    };
    if !(200..300).contains(&head.status) {
        return Some(("2xx".to_owned(), head.status.to_string()));
    }
    if !allows_origin(&head, exchange) {
        let origin = exchange.request.header("origin").unwrap_or_default();
        let name = "access-control-allow-origin";
        return Some((format!("`{name}: {origin}`"), told(&head, name)));
    }
    let name = "access-control-allow-methods";
    if !matches!(method, "GET" | "POST") && !lists(&head, name, method) {
        return Some((format!("`{name}: {method}`"), told(&head, name)));
    }
    let name = "access-control-allow-headers";
    let wanted = exchange.request.header("access-control-request-headers").unwrap_or_default();
    let missing: Vec<&str> = wanted.split(',').filter(|header| !lists(&head, name, header)).collect();
    (!missing.is_empty()).then(|| (format!("`{name}: {}`", missing.join(", ")), told(&head, name)))
}

fn allows_origin(head: &Head<'_>, exchange: &Exchange<'_>) -> bool {
    let allowed = head.header("access-control-allow-origin");
    allowed == Some("*") || (allowed.is_some() && allowed == exchange.request.header("origin"))
}

/// Whether one of the headers of this name lists a value, or everything; `Authorization` has to be listed by its name.
fn lists(head: &Head<'_>, name: &str, value: &str) -> bool {
    let lines = head.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut listed = lines.flat_map(|(_, line)| line.split(',')).map(str::trim);
    listed.any(|one| one.eq_ignore_ascii_case(value) || (one == "*" && value != "authorization"))
}

fn told(head: &Head<'_>, name: &str) -> String {
    head.header(name).map_or_else(|| format!("no `{name}`"), |value| format!("`{name}: {value}`"))
}

#[cfg(test)]
mod tests {
    use harness::transcript::history::At;

    use super::*;

    #[test]
    fn lists_are_read_as_browsers_read_them() {
        let listing = |line: &str, value: &str| {
            let headers = [("access-control-allow-headers".to_owned(), line.to_owned())];
            let head = Head { at: At { seq: 1, us: 0 }, status: 204, headers: &headers };
            lists(&head, "access-control-allow-headers", value)
        };
        assert!(listing("Content-Type, MCP-Session-Id", "mcp-session-id"));
        assert!(!listing("Content-Type", "mcp-session-id"));
        assert!(listing("*", "mcp-session-id") && !listing("*", "authorization"));
        assert!(listing("*, Authorization", "authorization"));
    }

    #[test]
    fn a_browser_asks_for_what_the_page_sends() {
        let request = Raw::new("POST", "/mcp")
            .with("accept", "a")
            .with("mcp-session-id", "1")
            .with("content-type", "j");
        let asking = preflight(&request, "https://app.example", true);
        let asked = asking.headers.iter().find(|(name, _)| name == "access-control-request-headers");
        assert_eq!(
            asked.map(|(_, value)| value.as_str()),
            Some("authorization,content-type,mcp-protocol-version,mcp-session-id")
        );
        assert_eq!((asking.method.as_str(), asking.target.as_str()), ("OPTIONS", "/mcp"));
    }
}
