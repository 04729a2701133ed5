//! Endpoint events that lead a client away from the address that it was given.

use super::{Asked, Kind, Obstacle, PREFIXED, answer, has_answer, named};
use crate::plan::Transport;
use crate::transcript::history::Exchange;

/// What is wrong with the endpoint event of an HTTP+SSE stream: another origin, or a path without the proxy's prefix.
pub(super) fn endpoint(own: &[&Exchange<'_>], asked: Asked<'_>) -> Option<Obstacle> {
    foreign(own, asked).or_else(|| prefix_lost(own, asked))
}

/// The endpoint has another origin than the stream.
pub(super) fn foreign(own: &[&Exchange<'_>], asked: Asked<'_>) -> Option<Obstacle> {
    let (stream, said) = said(own, asked)?;
    let (from, to) = answer::resolved(stream, said)?;
    if from.origin() == to.origin() {
        return None;
    }
    let (here, there) = (from.origin().ascii_serialization(), to.origin().ascii_serialization());
    let is_scheme_alone =
        from.host_str() == to.host_str() && from.scheme() == "https" && to.scheme() == "http";
    let (why, remedy) = if is_scheme_alone {
        (
            "http behind a proxy that speaks https",
            "hub: say the endpoint as a path (`/messages?..`), or trust the proxy's `X-Forwarded-Proto` (uvicorn: `--proxy-headers \
             --forwarded-allow-ips '*'`)",
        )
    } else {
        (
            "the hub calls itself by another name than its clients do",
            "hub: say the endpoint as a path (`/messages?..`), or set its public URL to the address that clients use",
        )
    };
    let found = Obstacle::new(
        "foreign-endpoint",
        Kind::Lasting,
        stream,
        format!(
            "the endpoint event of {} leads to {there}, another origin than {here}: {why}",
            named(stream)
        ),
        remedy,
    );
    Some(Obstacle {
        expected: format!("an endpoint on {here}: clients send messages nowhere else"),
        has_begun: true,
        ..found
    })
}

/// The endpoint stands below the prefix of the stream's path, and the event does not say so: shown by the experiment.
fn prefix_lost(own: &[&Exchange<'_>], asked: Asked<'_>) -> Option<Obstacle> {
    let (stream, said) = said(own, asked)?;
    let proven = own.iter().find(|exchange| {
        exchange.request.probe.as_deref() == Some(PREFIXED)
            && exchange.request.message().and_then(|message| message.get("id")).is_some_and(|id| {
                own.iter()
                    .any(|stream| stream.endpoint().is_some() && has_answer(stream, id, exchange.at.seq))
            })
    })?;
    let (_, to) = answer::resolved(stream, said)?;
    let right = proven.request.target.split('?').next().unwrap_or_default();
    let prefix = right.strip_suffix(to.path()).unwrap_or_default();
    let found = Obstacle::new(
        "prefix-lost",
        Kind::Lasting,
        stream,
        format!(
            "the endpoint event left the prefix `{prefix}`: it says `{}`, and messages are served at `{right}`",
            to.path()
        ),
        format!(
            "hub: set its root path to `{prefix}` (ASGI: `--root-path {prefix}`; FastMCP: mount it below `{prefix}`), or proxy: pass the \
             path on as it came (Caddy: `handle` instead of `handle_path`)"
        ),
    );
    Some(Obstacle { expected: format!("an endpoint below `{prefix}`"), has_begun: true, ..found })
}

/// The paths above the last segment of a path: `/a/b` and `/a` of `/a/b/sse`, the longest first.
pub(crate) fn prefixes(path: &str) -> Vec<String> {
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let mut prefixes = Vec::new();
    let mut rest = path;
    while let Some(slash) = rest.rfind('/').filter(|slash| *slash > 0) {
        rest = &rest[..slash];
        prefixes.push(rest.to_owned());
    }
    prefixes
}

fn said<'h, 't>(own: &[&'h Exchange<'t>], asked: Asked<'_>) -> Option<(&'h Exchange<'t>, &'t str)> {
    if asked.transport != Transport::Sse {
        return None;
    }
    own.iter().find_map(|exchange| Some((*exchange, exchange.endpoint()?)))
}
