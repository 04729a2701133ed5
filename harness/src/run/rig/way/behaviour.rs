//! What hangs although the hub lives: each cell that meets it would wait for nothing.

use super::{Asked, Kind, Obstacle, Rule, begins, has_answer, named};
use crate::check::{HUB_CONTRACT, Level};
use crate::plan::Transport;
use crate::transcript::End;
use crate::transcript::history::{Exchange, History};

/// The name of a request beside the GET stream.
pub(crate) const BESIDE: &str = "beside the GET";

/// The name of a request before `initialize`.
pub(crate) const EARLY: &str = "before initialize";

/// The name of a request on another session after something hung.
pub(crate) const AFTER: &str = "after the hang";

/// The GET of the MCP endpoint is answered.
const GET_ANSWERED: Rule = Rule {
    scenario: "survey/get-answered",
    sentence: "The server MUST either return `Content-Type: text/event-stream` in response to this HTTP GET, or else return HTTP 405 \
               Method Not Allowed",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server",
    level: Level::Must,
};

/// An open GET stream holds nothing else up.
const POSTS_BESIDE_GET: Rule = Rule {
    scenario: "survey/get-answered",
    sentence: "A request must be answered within 5 s while the session's GET stream is open.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// A request before `initialize` is answered, if only by an error.
const EARLY_ANSWERED: Rule = Rule {
    scenario: "survey/early-request",
    sentence: "A request before `initialize` must be answered within 5 s, at least by an error.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// The DELETE of a session is answered.
const DELETE_ANSWERED: Rule = Rule {
    scenario: "survey/delete-answered",
    sentence: "The DELETE of a session must be answered within 5 s, if only by 405.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// What hung in the survey's experiments, while the hub answered others.
pub(crate) fn hangs(history: &History<'_>, asked: Asked<'_>) -> Option<Obstacle> {
    let own = super::own(history, asked);
    match asked.transport {
        Transport::Streamable => get_hangs(&own),
        Transport::Sse => early_hangs(&own),
        Transport::Stateless => None,
    }
}

fn get_hangs(own: &[&Exchange<'_>]) -> Option<Obstacle> {
    let get = own.iter().find(|exchange| exchange.request.method == "GET")?;
    let beside = probe(own, BESIDE)?;
    if is_answered(own, beside) {
        let seconds = waited(get)?;
        let found = Obstacle::new(
            "get-hangs",
            Kind::Lasting,
            get,
            format!(
                "{} got neither an event stream nor 405 within {seconds} s, and a POST beside it was answered",
                named(get)
            ),
            "hub: answer the GET of the MCP endpoint at once: with the head of an event stream, or with 405",
        );
        return Some(Obstacle {
            rule: &GET_ANSWERED,
            expected: "200 with an event stream, or 405".to_owned(),
            ..found
        });
    }
    let seconds = waited(beside)?;
    is_answered(own, probe(own, AFTER)?).then(|| {
        let found = Obstacle::new(
            "get-locks",
            Kind::Lasting,
            beside,
            format!(
                "{} was not answered within {seconds} s while the GET stream was open, and was answered when it was closed",
                named(beside)
            ),
            "hub: hold no lock for as long as the GET stream lasts (one lock per request, or per session state)",
        );
        Obstacle { rule: &POSTS_BESIDE_GET, expected: "an answer beside the open GET stream".to_owned(), ..found }
    })
}

/// Whether the DELETE of a session got no answer.
pub(crate) fn delete_is_silent(history: &History<'_>, asked: Asked<'_>) -> bool {
    silent_delete(history, asked).is_some()
}

/// A DELETE that hung while the hub answered what came later.
pub(crate) fn delete_hangs(history: &History<'_>, asked: Asked<'_>) -> Option<Obstacle> {
    let (delete, seconds) = silent_delete(history, asked)?;
    let own = super::own(history, asked);
    let later = |exchange: &&&Exchange<'_>| exchange.at > delete.at && is_answered(&own, exchange);
    own.iter().find(later)?;
    let found = Obstacle::new(
        "delete-hangs",
        Kind::Lasting,
        delete,
        format!("{} was not answered within {seconds} s, and what came after it was", named(delete)),
        "hub: answer the DELETE of the MCP endpoint at once: 2xx when the session has ended, or 405 where clients cannot end it",
    );
    Some(Obstacle { rule: &DELETE_ANSWERED, expected: "2xx, or 405".to_owned(), ..found })
}

fn silent_delete<'h, 't>(history: &'h History<'t>, asked: Asked<'_>) -> Option<(&'h Exchange<'t>, f64)> {
    let is_own = |exchange: &&Exchange<'_>| {
        exchange.request.client == asked.client
            && exchange.at.seq > asked.since
            && exchange.request.method == "DELETE"
    };
    history.exchanges.values().filter(is_own).find_map(|delete| Some((delete, waited(delete)?)))
}

fn early_hangs(own: &[&Exchange<'_>]) -> Option<Obstacle> {
    let early = probe(own, EARLY)?;
    let seconds = waited(early)?;
    is_answered(own, probe(own, AFTER)?).then(|| {
        let found = Obstacle::new(
            "early-request-hangs",
            Kind::Lasting,
            early,
            format!(
                "{} on a session without `initialize` was not answered within {seconds} s, and another session was served",
                named(early)
            ),
            "hub: answer a request before `initialize` with a JSON-RPC error; wait for nothing that the client may never send",
        );
        Obstacle { rule: &EARLY_ANSWERED, expected: "an error, or the result".to_owned(), has_begun: true, ..found }
    })
}

// === helpers ===

fn probe<'h, 't>(own: &[&'h Exchange<'t>], name: &str) -> Option<&'h Exchange<'t>> {
    own.iter().copied().find(|exchange| exchange.request.probe.as_deref() == Some(name))
}

/// How many seconds the head of an answer was waited for in vain.
fn waited(exchange: &Exchange<'_>) -> Option<f64> {
    match exchange.end {
        Some((_, End::TimedOut { waiting_for, limit_ms }))
            if exchange.head.is_none() && waiting_for == "head" =>
        {
            Some(*limit_ms as f64 / 1000.0)
        }
        _ => None,
    }
}

fn is_answered(own: &[&Exchange<'_>], exchange: &Exchange<'_>) -> bool {
    let id = exchange.request.message().and_then(|message| message.get("id"));
    let is_carrier =
        |other: &&&Exchange<'_>| other.id == exchange.id || (begins(other) && other.request.method == "GET");
    id.is_some_and(|id| own.iter().filter(is_carrier).any(|other| has_answer(other, id, exchange.at.seq)))
}
