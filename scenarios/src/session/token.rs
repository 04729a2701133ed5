//! Requests without the user's token, and with a wrong one.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Outline, Transport};
use harness::run::stage::client_name;
use harness::run::{Scenario, Setup, Stage, Told};
use harness::transcript::history::{Exchange, History};
use harness::wire::initialize_asking;
use serde_json::json;

use super::EVERY_TRANSPORT;

/// The name of requests without a token that would open a session.
const WITHOUT: &str = "without a token";

/// The name of the same requests with a wrong one.
const WRONG: &str = "with a wrong token";

/// The name of requests on the user's session without the user's token.
const TAKEN_OVER: &str = "session of another user";

/// Where it is specified what a server makes of tokens.
const SPEC_TOKENS: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#token-handling";

/// Where it is specified what a 401 says.
const SPEC_CHALLENGE: &str = "https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1";

/// The header that carries the token.
const AUTHORIZATION: &str = "authorization";

/// Nobody gets in without the token.
pub const UNAUTHORISED: Scenario = Scenario {
    outline: Outline {
        id: "session/unauthorised-refused",
        affinities: &[],
        transports: EVERY_TRANSPORT,
        needs: &[Need::Token],
    },
    title: "every replica answers 401 with a challenge to a request without the token or with a wrong one",
    why: "One replica that was started without its token check is open to everyone. Clients begin their login only when a 401 says \
          how (`WWW-Authenticate`).",
    spec: &[SPEC_TOKENS, SPEC_CHALLENGE],
    remedy: "hub: check the token of every request before anything else, and answer 401 with `WWW-Authenticate: Bearer ..`; \
             proxy: let that header through",
    guide: None,
    setup: Setup { reference: Told { token: Some("hubcheck-token"), origin: None }, ..Setup::ORDINARY },
    checks: &[&UNAUTHORISED_IS_401, &STRANGERS_REFUSED, &CHALLENGE_TOLD, &CHALLENGE_ONCE],
    drive: |stage| intrude(stage).boxed(),
};

async fn intrude(stage: &Stage) -> anyhow::Result<()> {
    let wrong = stage.wrong_credentials().unwrap_or_default();
    for (idx, target) in stage.everywhere()?.iter().enumerate() {
        let role = format!("stranger-{}", idx + 1);
        let (client, opening) = match stage.transport() {
            Transport::Sse => {
                let client = stage.client(&role).await;
                let get = client.get(Transport::Sse);
                (client, get)
            }
            transport => {
                let Some(stranger) = stage.begin(&role, target, |get| get).await else { continue };
                let opening = match transport {
                    Transport::Stateless => stranger.session.raw(stage.small(), json!({})),
                    _ => stranger.session.raw("initialize", initialize_asking("2025-11-25")),
                };
                (stranger.client, opening)
            }
        };
        client.exchange(target, opening.clone().withholding(AUTHORIZATION).named(WITHOUT)).await;
        client.exchange(target, opening.with(AUTHORIZATION, &wrong).named(WRONG)).await;
        if stage.transport() == Transport::Stateless {
            continue;
        }
        let Some(holder) = stage.open(&client_name(idx), target).await else { continue };
        // Nothing here with a wrong token: some hubs lock out who guesses too often.
        let list = holder.session.raw(stage.small(), json!({})).withholding(AUTHORIZATION);
        holder.client.exchange(target, list.named(TAKEN_OVER)).await;
        holder.session.end(target).await;
    }
    Ok(())
}

// === checks ===

/// "Invalid or expired tokens MUST receive a HTTP 401 response.":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#token-handling>. On a session that a replica does not
/// know, another refusal is right too. "Authorization is OPTIONAL for MCP implementations.": a hub that serves requests without a token
/// at every replica, and with a wrong one, asks for none; [`STRANGERS_REFUSED`] tells of it.
pub const UNAUTHORISED_IS_401: Check = Check {
    id: "unauthorised-is-401",
    level: Level::Must,
    sentence: "Invalid or expired tokens MUST receive a HTTP 401 response (and no session, at every replica)",
    source: SPEC_TOKENS,
    remedy: "hub: check the token of every request before anything else, and give every replica the same settings",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let is_open = serves_strangers(history);
        let is_left_alone = |exchange: &&Exchange<'_>| {
            is_open && (exchange.request.probe.as_deref() == Some(WITHOUT) || is_served(exchange))
        };
        if is_open {
            judgement.idle_because("the hub serves requests without the token, too");
        }
        let asked = [WITHOUT, WRONG].into_iter().flat_map(|name| history.probes(name));
        for exchange in asked.filter(|exchange| !is_left_alone(exchange)) {
            judgement.judged();
            let session =
                exchange.head.and_then(|head| head.header("mcp-session-id").map(|_| " with a session"));
            if exchange.status() != Some(401) || session.is_some() {
                let actual = format!("{}{}", status_text(exchange), session.unwrap_or_default());
                judgement.breach(format!("401 to {}", what(exchange)), actual, exchange.at);
            }
        }
        for exchange in history.probes(TAKEN_OVER).filter(|_| !is_open) {
            judgement.judged();
            if exchange.status().is_none_or(|status| status < 400) {
                judgement.breach(format!("401 to {}", what(exchange)), status_text(exchange), exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: who gives a token expects that it is asked for. Authorization is optional, so it warns.
pub const STRANGERS_REFUSED: Check = Check {
    id: "strangers-refused",
    level: Level::Should,
    sentence: "A hub whose clients have a token should refuse a request without it.",
    source: HUB_CONTRACT,
    remedy: "hub: ask every request for its token; where everybody may call, leave out `--header Authorization=..`",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let is_open = serves_strangers(history);
        for exchange in history.probes(WITHOUT) {
            judgement.judged();
            if is_open {
                let actual = status_text(exchange);
                judgement.breach(format!("a refusal of {}", what(exchange)), actual, exchange.at);
            }
        }
        judgement
    },
};

/// "A server generating a 401 (Unauthorized) response MUST send a WWW-Authenticate header field containing at least one
/// challenge.": <https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1>. Clients find the authorization server by it.
pub const CHALLENGE_TOLD: Check = Check {
    id: "challenge-told",
    level: Level::Must,
    sentence: "A server generating a 401 (Unauthorized) response MUST send a WWW-Authenticate header field containing at least \
               one challenge",
    source: SPEC_CHALLENGE,
    remedy: "hub: send `WWW-Authenticate: Bearer ..` with each 401; gateway: let that header through under its own name",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if serves_strangers(history) {
            judgement.idle_because("the hub serves requests without the token, too");
        }
        for exchange in history.exchanges.values().filter(|exchange| exchange.status() == Some(401)) {
            judgement.judged();
            let challenge = exchange.head.and_then(|head| head.header("www-authenticate").map(str::to_owned));
            if challenge.is_none_or(|challenge| challenge.trim().is_empty()) {
                let expected = format!("`WWW-Authenticate` in the 401 to {}", what(exchange));
                judgement.breach(expected, "none", exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: HTTP has a list of challenges there, so the same one may come twice. Clients that look for one parameter in the
/// whole value then find two.
pub const CHALLENGE_ONCE: Check = Check {
    id: "challenge-once",
    level: Level::Contract,
    sentence: "a 401 does not send the same challenge twice",
    source: HUB_CONTRACT,
    remedy: "set `WWW-Authenticate` in one place only: hub or gateway; a gateway that copies headers must compare their names without case",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        if serves_strangers(history) {
            judgement.idle_because("the hub serves requests without the token, too");
        }
        for exchange in history.exchanges.values().filter(|exchange| exchange.status() == Some(401)) {
            judgement.judged();
            let headers = exchange.head.map_or(&[] as &[_], |head| head.headers);
            let challenges = headers.iter().filter(|(name, _)| name == "www-authenticate");
            let challenges: Vec<&str> = challenges.map(|(_, value)| value.trim()).collect();
            if let Some(challenge) = repeated(&challenges) {
                let expected = format!("one such challenge in the 401 to {}", what(exchange));
                judgement.breach(expected, format!("`{challenge}` twice"), exchange.at);
            }
        }
        judgement
    },
};

// === helpers ===

/// A challenge that comes on two lines, or that something on the way joined with itself.
fn repeated<'c>(lines: &[&'c str]) -> Option<&'c str> {
    let joined = |line: &&'c str| {
        let (first, second) = line.split_at_checked(line.len().saturating_sub(2) / 2)?;
        (!first.is_empty() && second.strip_prefix(", ") == Some(first)).then_some(first)
    };
    let on_lines = lines.iter().enumerate().find(|(idx, line)| lines[..*idx].contains(line));
    on_lines.map(|(_, line)| *line).or_else(|| lines.iter().find_map(joined))
}

/// Whether every replica serves requests without a token.
fn serves_strangers(history: &History<'_>) -> bool {
    history.probes(WITHOUT).next().is_some() && history.probes(WITHOUT).all(is_served)
}

fn is_served(exchange: &Exchange<'_>) -> bool {
    exchange.status().is_some_and(|status| status < 300)
}

/// What an exchange asked for, and of whom.
fn what(exchange: &Exchange<'_>) -> String {
    let request = exchange.request;
    let method = request.message().and_then(|message| message["method"].as_str());
    let method =
        method.map_or_else(|| request.method.clone(), |method| format!("{} {method}", request.method));
    let replica = exchange.replica.map(|replica| format!(" at replica `{replica}`")).unwrap_or_default();
    let probe = request.probe.as_deref().map(|probe| format!(" ({probe})")).unwrap_or_default();
    format!("{method}{replica}{probe}")
}

fn status_text(exchange: &Exchange<'_>) -> String {
    exchange.status().map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_challenges_are_no_repetition() {
        assert_eq!(repeated(&["Bearer a=\"b\"", "Bearer a=\"b\""]), Some("Bearer a=\"b\""));
        assert_eq!(repeated(&["Bearer a=\"b\", Bearer a=\"b\""]), Some("Bearer a=\"b\""));
        assert_eq!(repeated(&["Bearer a=\"b\", c=\"b\"", "Basic a=\"b\""]), None);
        assert_eq!(repeated(&["", "Bearer"]), None);
        assert_eq!(repeated(&[]), None);
    }
}
