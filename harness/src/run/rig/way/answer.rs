//! What an answer says that is not the one that was hoped for.

use url::Url;

use super::{Asked, FORGOTTEN, Kind, LOCAL_HOST, Obstacle, begins, named, quoted, text_of};
use crate::plan::Transport;
use crate::transcript::Body;
use crate::transcript::history::Exchange;
use crate::wire::BODY_LIMIT;

/// What paths of login pages contain.
const LOGIN_PATHS: [&str; 8] = ["login", "signin", "sign-in", "sign_in", "oauth", "authorize", "sso", "saml"];

/// What login pages say.
const LOGIN_WORDS: [&str; 5] = ["type=\"password\"", "type='password'", "sign in", "log in", "login"];

/// What servers say that refuse a `Host`: the SDKs, Django, Rails and Vite.
const HOST_WORDS: [&str; 6] = [
    "invalid host",
    "invalid http_host",
    "blocked host",
    "host header",
    "host is not allowed",
    "host not allowed",
];

/// What servers of TLS say to a request in plain HTTP: Go's and nginx's words.
const TLS_WANTED: [&str; 2] =
    ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];

/// An answer of another status than 2xx.
pub(super) fn refused(exchange: &Exchange<'_>, own: &[&Exchange<'_>], asked: Asked<'_>) -> Obstacle {
    let status = exchange.status().unwrap_or_default();
    let new = |id, kind, seen: String, remedy: String| Obstacle::new(id, kind, exchange, seen, remedy);
    let answered = answered(exchange);
    if let Some(found) = host_refused(exchange, own).or_else(|| of_session(exchange, own, asked)) {
        return found;
    }
    if status == 421 || matches!(status, 400 | 403) && speaks_of_host(exchange) {
        let remedy = format!("hub or proxy: allow the Host `{}`", host(exchange));
        return new("host-refused", Kind::Lasting, answered, remedy);
    }
    match status {
        300..=399 => redirected(exchange, asked),
        401 => unauthorised(exchange),
        407 => new(
            "unauthorised",
            Kind::Lasting,
            answered,
            "a proxy on the way wants credentials: `--header 'Proxy-Authorization=Basic ..'`, or go past it".to_owned(),
        ),
        403 if has_authorization(exchange) => new(
            "forbidden",
            Kind::Lasting,
            format!("{answered}, with an `Authorization`"),
            "give `--header 'Authorization=..'` of a user who may use this hub".to_owned(),
        ),
        403 => new(
            "forbidden",
            Kind::Lasting,
            answered,
            "where the hub or a proxy wants to know the caller, give `--header 'Authorization=Bearer TOKEN'`; its log says what it \
             refuses"
                .to_owned(),
        ),
        429 => limited(exchange),
        502..=504 => new(
            "gateway-error",
            Kind::Passing,
            answered,
            "a proxy does not reach the hub: check that the hub runs, and the proxy's upstream address and port".to_owned(),
        ),
        500.. if status != 501 => new(
            "server-error",
            Kind::Passing,
            answered,
            "the hub's log says what failed; a hub that needs long to start needs a longer `--ready-timeout`".to_owned(),
        ),
        400 if TLS_WANTED.iter().any(|words| text_of(exchange).contains(words)) => new(
            "tls-wanted",
            Kind::Lasting,
            format!("{answered}: the server speaks TLS on this port"),
            "write `https://` in `--url`".to_owned(),
        ),
        _ => new("not-served", Kind::Elsewhere, answered, paths(asked)),
    }
}

/// A stream whose `endpoint` event did not come, or something else than a stream.
pub(super) fn without_endpoint(exchange: &Exchange<'_>, asked: Asked<'_>) -> Obstacle {
    if exchange.is_event_stream() {
        let seen = match exchange.frames.first() {
            Some((_, frame)) => {
                format!(
                    "the event stream of {} has no `endpoint` event; it begins with a `{}` event",
                    named(exchange),
                    frame.event_type()
                )
            }
            None => format!("the event stream of {} was open and no event came", named(exchange)),
        };
        let remedy = "hub: send `event: endpoint` first; a proxy must not buffer the stream (nginx: `proxy_buffering off`)";
        return Obstacle::new("no-endpoint", Kind::Passing, exchange, seen, remedy);
    }
    unusable(exchange, asked).unwrap_or_else(|| {
        let seen = format!("{}, which is no event stream", answered(exchange));
        Obstacle::new("not-served", Kind::Elsewhere, exchange, seen, paths(asked))
    })
}

/// A 2xx for a request, without its JSON-RPC answer.
pub(super) fn without_answer(exchange: &Exchange<'_>, asked: Asked<'_>) -> Obstacle {
    if let Some(found) = too_long(exchange).or_else(|| unusable(exchange, asked)) {
        return found;
    }
    if asked.transport == Transport::Sse {
        let seen = format!("{}, and no answer came on the event stream", answered(exchange));
        let remedy = "hub: send the answer as a `message` event on the session's stream; a proxy must not buffer the stream (nginx: \
                      `proxy_buffering off`)";
        return Obstacle::new("no-answer", Kind::Passing, exchange, seen, remedy).begun();
    }
    let seen = format!("{}, without the JSON-RPC answer to it", answered(exchange));
    Obstacle::new("no-answer", Kind::Elsewhere, exchange, seen, paths(asked))
}

/// An answer that is longer than hubcheck reads.
fn too_long(exchange: &Exchange<'_>) -> Option<Obstacle> {
    let length = match exchange.body {
        Some((_, Body::Long { length, .. })) => usize::try_from(*length).unwrap_or(usize::MAX),
        _ => return None,
    };
    (length > BODY_LIMIT).then(|| {
        let (request, limit) = (answered_shortly(exchange), BODY_LIMIT / 1024 / 1024);
        Obstacle::new(
            "answer-too-long",
            Kind::Lasting,
            exchange,
            format!("{request} with a body of more than {limit} MiB, which hubcheck does not read"),
            "hub: give long lists in pages (`nextCursor`)",
        )
        .begun()
    })
}

/// A body that no client can read as what it should be.
fn unusable(exchange: &Exchange<'_>, asked: Asked<'_>) -> Option<Obstacle> {
    let head = exchange.head?;
    let new = |id, kind, seen: String, remedy: &str| Some(Obstacle::new(id, kind, exchange, seen, remedy));
    let encoding =
        head.header("content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if let Some(encoding) = encoding.filter(|_| exchange.request.header("accept-encoding").is_none()) {
        return new(
            "compressed",
            Kind::Lasting,
            format!(
                "{} with `Content-Encoding: {encoding}`, which the client did not ask for",
                answered(exchange)
            ),
            "hub or proxy: compress only for clients that send `Accept-Encoding`, and no event stream",
        );
    }
    let text = text_of(exchange);
    if is_html(exchange, &text) {
        let lower = text.to_ascii_lowercase();
        if LOGIN_WORDS.iter().any(|word| lower.contains(word)) {
            return new(
                "login-page",
                Kind::Lasting,
                format!("{} with a login page{}", answered_shortly(exchange), title(&text)),
                "log in as a client does: `--header 'Authorization=Bearer TOKEN'` or `--header 'Cookie=..'`; or check the hub behind \
                 the login",
            );
        }
        return new(
            "html-page",
            Kind::Elsewhere,
            format!("{} with an HTML page{}", answered_shortly(exchange), title(&text)),
            &paths(asked),
        );
    }
    let is_long = matches!(exchange.body, Some((_, Body::Long { length, .. })) if *length > crate::transcript::BODY_KEPT as u64);
    let is_no_unicode = matches!(exchange.body, Some((_, Body::Long { .. }))) && !is_long;
    if is_no_unicode || text.starts_with('\u{feff}') || text.contains('\0') {
        let how = if text.starts_with('\u{feff}') && !is_no_unicode {
            "it begins with a byte order mark"
        } else {
            "it is no UTF-8"
        };
        return new(
            "not-unicode",
            Kind::Lasting,
            format!("{} with a body that is not JSON in UTF-8: {how}", answered_shortly(exchange)),
            "hub: encode JSON in UTF-8, without a byte order mark",
        );
    }
    None
}

/// Whether a refusal says that it is for the `Host`.
fn speaks_of_host(exchange: &Exchange<'_>) -> bool {
    let text = text_of(exchange).to_ascii_lowercase();
    HOST_WORDS.iter().any(|words| text.contains(words))
}

/// An answer that the hub gives only to the name by which it is called: shown by the experiment.
fn host_refused(exchange: &Exchange<'_>, own: &[&Exchange<'_>]) -> Option<Obstacle> {
    let status = exchange.status()?;
    let tried = own.iter().filter(|other| other.request.probe.as_deref() == Some(LOCAL_HOST));
    let served = tried.filter_map(|other| Some((other.request.header("host")?, other.status()?)));
    let is_let_in =
        |(_, other): &(&str, u16)| *other != status && !matches!(other, 400 | 401 | 403 | 421 | 500..);
    let (name, other) = served.into_iter().find(is_let_in)?;
    let host = host(exchange);
    Some(Obstacle::new(
        "host-refused",
        Kind::Lasting,
        exchange,
        format!(
            "{}: the hub refuses the Host `{host}` that it is called by (called `{name}`, it answers {other})",
            answered(exchange)
        ),
        format!(
            "hub: add `{host}` to its allowed hosts (Python SDK: `TransportSecuritySettings(allowed_hosts=[..])`; TypeScript SDK: \
             `allowedHosts`; Playwright: `--allowed-hosts`)"
        ),
    ))
}

/// What the hub says of the session that it had begun.
fn of_session(exchange: &Exchange<'_>, own: &[&Exchange<'_>], asked: Asked<'_>) -> Option<Obstacle> {
    let status = exchange.status()?;
    let begun = own.iter().rfind(|other| other.at < exchange.at && begins(other))?;
    if !matches!(status, 400 | 404 | 410) {
        return None;
    }
    let says_session = text_of(exchange).to_ascii_lowercase().contains("session");
    let gave_id = begun.head.and_then(|head| head.header("mcp-session-id")).is_some();
    if asked.transport == Transport::Streamable && !gave_id && says_session {
        return Some(
            Obstacle::new(
                "session-id-lost",
                Kind::Lasting,
                exchange,
                format!("{}; the answer to `initialize` had no `Mcp-Session-Id`", answered(exchange)),
                "hub: send `Mcp-Session-Id` with the answer to `initialize`; a proxy must let this header pass, in both directions",
            )
            .begun(),
        );
    }
    // Behind a URL the session may have reached another replica, which cells find out.
    if !asked.is_alone {
        return None;
    }
    if asked.transport == Transport::Sse && !says_session {
        let seen = format!("{}: nothing is served at the URI of the endpoint event", answered(exchange));
        let remedy =
            "hub: serve the endpoint at exactly the URI that the event says; a proxy must pass this path on";
        return Some(Obstacle::new("endpoint-not-served", Kind::Lasting, exchange, seen, remedy).begun());
    }
    (gave_id || asked.transport == Transport::Sse).then(|| forgotten(exchange))
}

/// The one replica does not know the session that it has just opened.
fn forgotten(exchange: &Exchange<'_>) -> Obstacle {
    Obstacle::new(
        FORGOTTEN,
        Kind::Lasting,
        exchange,
        format!("{}: the only pod forgot its own session between two requests", answered(exchange)),
        "hub: does one pod run several workers, each with its own sessions? Run one worker per pod (`--workers 1`), or keep sessions \
         where all workers find them",
    )
    .begun()
}

fn unauthorised(exchange: &Exchange<'_>) -> Obstacle {
    let challenge = exchange.head.and_then(|head| head.header("www-authenticate").map(quoted));
    let challenge = match challenge {
        Some(challenge) => format!(" (`WWW-Authenticate: {challenge}`)"),
        None => String::new(),
    };
    let seen = format!("{}{challenge}", answered(exchange));
    let (seen, remedy) = if has_authorization(exchange) {
        (
            format!("{seen}: the `Authorization` that was given is not accepted"),
            "`--header 'Authorization=..'`: check the token, its end included: a line break that was copied with it, its expiry, its \
             audience"
                .to_owned(),
        )
    } else {
        (
            format!("{seen}: the hub wants to know the caller"),
            "give `--header 'Authorization=Bearer TOKEN'`".to_owned(),
        )
    };
    Obstacle::new("unauthorised", Kind::Lasting, exchange, seen, remedy)
}

fn limited(exchange: &Exchange<'_>) -> Obstacle {
    let after = exchange.head.and_then(|head| head.header("retry-after")).map(str::trim);
    let seconds = after.and_then(|after| after.parse().ok());
    let after = after.map(|after| format!(", `Retry-After: {after}`")).unwrap_or_default();
    Obstacle::new(
        "rate-limited",
        Kind::Limited(seconds),
        exchange,
        format!("{}{after}: the hub limits requests", answered(exchange)),
        "hub or proxy: raise the rate limit for this check, or wait and run fewer cells at once (`--jobs 1`)",
    )
}

fn redirected(exchange: &Exchange<'_>, asked: Asked<'_>) -> Obstacle {
    let location = exchange.head.and_then(|head| head.header("location")).unwrap_or_default();
    let seen = format!("{} to `{}`", answered_shortly(exchange), quoted(location));
    let new = |id, seen: String, remedy: String| Obstacle::new(id, Kind::Lasting, exchange, seen, remedy);
    let own = exchange.request.url();
    let Some(to) = own.as_ref().and_then(|own| own.join(location).ok()).filter(|_| !location.is_empty())
    else {
        return new(
            "redirected",
            seen,
            "hub or proxy: answer at this path, or say the right one in `Location`".to_owned(),
        );
    };
    let lower = to.path().to_ascii_lowercase();
    if LOGIN_PATHS.iter().any(|word| lower.contains(word)) {
        let remedy = "log in as a client does: `--header 'Authorization=Bearer TOKEN'` or `--header 'Cookie=..'`; or check the hub \
                      behind the login";
        return new("login-page", format!("{seen}, a login page"), remedy.to_owned());
    }
    let Some(own) = own else { return new("redirected", seen, paths(asked)) };
    let is_slash =
        to.path() != own.path() && to.path().trim_end_matches('/') == own.path().trim_end_matches('/');
    let is_upgrade = own.scheme() == "http" && to.scheme() == "https" && own.host_str() == to.host_str();
    let is_downgrade = own.scheme() == "https" && to.scheme() == "http" && own.host_str() == to.host_str();
    let is_stream_url = exchange.request.method == "GET" || asked.transport != Transport::Sse;
    let path = to.path();
    let remedy = if !is_stream_url {
        "hub: name the endpoint as it is served, slashes included; clients follow no redirect of a POST"
            .to_owned()
    } else if is_upgrade {
        format!("give `--url {}`", to.origin().ascii_serialization() + path)
    } else if is_slash && is_downgrade {
        format!(
            "ask at `{path}`. The redirect also leaves https: tell the hub the scheme (`X-Forwarded-Proto`; uvicorn: \
             `--proxy-headers --forwarded-allow-ips '*'`)"
        )
    } else if to.origin() == own.origin() && asked.is_url {
        format!("give `--url {}`", to.origin().ascii_serialization() + path)
    } else if to.origin() == own.origin() {
        let flag = if asked.transport == Transport::Sse { "--sse-path" } else { "--mcp-path" };
        format!("give `{flag} {path}`")
    } else {
        format!(
            "hub or proxy: do not redirect; or check where it leads: `--url {}`",
            to.origin().ascii_serialization() + path
        )
    };
    new("redirected", seen, remedy)
}

// === helpers ===

/// What was asked and what was answered, with the body.
pub(super) fn answered(exchange: &Exchange<'_>) -> String {
    let text = text_of(exchange);
    let text = if is_html(exchange, &text) { "an HTML page".to_owned() } else { quoted(&text) };
    // Frameworks repeat the name of the status.
    let repeats = reason_of(exchange).is_some_and(|reason| reason.eq_ignore_ascii_case(&text));
    let text = if text.is_empty() || repeats { String::new() } else { format!(" {text}") };
    format!("{}{text}", answered_shortly(exchange))
}

fn answered_shortly(exchange: &Exchange<'_>) -> String {
    let status = exchange.status().unwrap_or_default();
    let reason = reason_of(exchange).map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("{} was answered {status}{reason}", named(exchange))
}

fn reason_of(exchange: &Exchange<'_>) -> Option<&'static str> {
    http::StatusCode::from_u16(exchange.status()?).ok()?.canonical_reason()
}

fn is_html(exchange: &Exchange<'_>, text: &str) -> bool {
    let beginning: String = text.trim_start().chars().take(15).collect::<String>().to_ascii_lowercase();
    exchange.media_type().as_deref() == Some("text/html")
        || beginning.starts_with("<!doctype html")
        || beginning.starts_with("<html")
}

/// The title of a page, for the eye.
fn title(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|from| {
        let from = from + "<title>".len();
        text.get(from..from + lower[from..].find("</title>")?)
    });
    title.map(|title| format!(" (`{}`)", quoted(title))).unwrap_or_default()
}

fn has_authorization(exchange: &Exchange<'_>) -> bool {
    exchange.request.header("authorization").is_some()
}

fn host(exchange: &Exchange<'_>) -> String {
    exchange.request.header("host").unwrap_or_default().to_owned()
}

fn paths(asked: Asked<'_>) -> String {
    let flag = if asked.transport == Transport::Sse { "--sse-path" } else { "--mcp-path" };
    format!("where the hub offers MCP at another path, give `{flag} PATH`")
}

/// Where a URI leads from a stream's URL.
pub(super) fn resolved(stream: &Exchange<'_>, said: &str) -> Option<(Url, Url)> {
    let own = stream.request.url()?;
    let to = own.join(said).ok()?;
    Some((own, to))
}
