//! What a hub asks its client.

use serde_json::Value;

use crate::check::{Check, Judgement, Level};
use crate::plan::Transport;
use crate::transcript::history::{At, Exchange, History};

/// "Both parties MUST: .. Only use capabilities that were successfully negotiated":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#operation>. Revisions before 2025-06-18 say SHOULD,
/// so HTTP+SSE is left out.
pub(super) const ASKS_WHAT_IS_DECLARED: Check = Check {
    id: "asks-what-is-declared",
    level: Level::Must,
    sentence: "Both parties MUST: .. Only use capabilities that were successfully negotiated (a server asks for sampling, \
               elicitation or roots only what the client has declared)",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#operation",
    remedy: "look at the capabilities of `initialize` before the client is asked",
    transports: &[Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if history.transport() != Some(Transport::Streamable) {
            return judgement;
        }
        for (exchange, at, method) in questions(history) {
            let Some((_, capability)) = ASKED_FOR.iter().find(|(asks, _)| *asks == method) else { continue };
            judgement.judged();
            let client = &exchange.request.client;
            let mut initialized =
                history.calls.iter().filter(|call| call.client == client && call.method == "initialize");
            if !initialized.any(|call| call.params["capabilities"].get(capability).is_some()) {
                let expected = format!("no {method} to a client without the capability `{capability}`");
                judgement.breach(expected, "one", at);
            }
        }
        judgement
    },
};

/// "The server SHOULD NOT send requests other than pings and logging before receiving the initialized notification.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#initialization>; every revision with sessions says it.
pub(super) const QUIET_BEFORE_INITIALIZED: Check = Check {
    id: "quiet-before-initialized",
    level: Level::Should,
    sentence: "The server SHOULD NOT send requests other than pings and logging before receiving the initialized notification",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#initialization",
    remedy: "ask the client nothing before `notifications/initialized` has come",
    transports: &[Transport::Sse, Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if history.transport() == Some(Transport::Stateless) {
            return judgement;
        }
        for (exchange, at, method) in questions(history).filter(|(_, _, method)| method != "ping") {
            judgement.judged();
            let is_initialized = history.exchanges.values().any(|other| {
                other.request.client == exchange.request.client
                    && other.at < at
                    && other
                        .request
                        .messages()
                        .any(|message| message["method"] == "notifications/initialized")
            });
            if !is_initialized {
                judgement.breach("no request before `notifications/initialized`", method, at);
            }
        }
        judgement
    },
};

/// What a server asks for, and the capability of a client that can give it.
const ASKED_FOR: [(&str, &str); 3] =
    [("sampling/createMessage", "sampling"), ("elicitation/create", "elicitation"), ("roots/list", "roots")];

// === helpers ===

/// The requests of the server, each with the exchange that it came on and its method.
fn questions<'h, 't>(history: &'h History<'t>) -> impl Iterator<Item = (&'h Exchange<'t>, At, String)> {
    history.exchanges.values().flat_map(|exchange| {
        let asked = move |(at, message): (At, Value)| {
            message.get("id")?;
            Some((exchange, at, message.get("method")?.as_str()?.to_owned()))
        };
        exchange.messages().into_iter().filter_map(asked)
    })
}
