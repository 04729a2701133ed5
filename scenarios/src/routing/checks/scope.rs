//! Which calls a rule speaks of: what was promised, to whom, and for how long.

use harness::plan::Transport;
use harness::transcript::history::{At, Call, Departure, Exchange, History, Session};
use harness::transcript::probed::kills;
use harness::transcript::{PodChange, What};

/// Whether an answer to this call was promised: its session is open, its owner and the replica it reached stay.
pub(super) fn is_promised(history: &History<'_>, call: &Call<'_>) -> bool {
    let until = call.outcome.at().unwrap_or(history.end());
    // A crash excuses nothing, whether the stream's end or the process's is told first.
    let crashed = |replica: &str| ended_by_itself(history, replica, call.sent, until);
    let reached_stayed =
        call.replica.is_none_or(|replica| crashed(replica) || !history.was_away(replica, call.sent, until));
    if history.transport() == Some(Transport::Stateless) {
        return reached_stayed;
    }
    let Some(session) = history.session_of(call) else {
        return false;
    };
    let open = session.ended.is_none_or(|ended| ended.seq > call.sent.seq);
    let owner_stayed = session
        .owner
        .filter(|owner| !crashed(owner))
        .and_then(|owner| left_during(history, session, owner))
        .is_none_or(|(left, _)| left > until);
    open && owner_stayed && reached_stayed
}

/// Whether a replica's process ended between two places although nothing had been done to the cluster and no probe had failed.
fn ended_by_itself(history: &History<'_>, replica: &str, from: At, until: At) -> bool {
    let is_brought_about = history.entries().iter().take_while(|entry| entry.seq <= until.seq).any(|entry| {
        matches!(
            &entry.what,
            What::Fault(_) | What::Symptom { .. } | What::Pod { change: PodChange::Terminating, .. }
        )
    });
    let is_killed_by_probe = || kills(history.entries()).iter().any(|kill| kill.pod == replica);
    let ended = history.entries().iter().any(|entry| {
        entry.seq > from.seq
            && entry.seq <= until.seq
            && matches!(&entry.what, What::Pod { pod, change: PodChange::Terminated { .. } } if pod == replica)
    });
    ended && !is_brought_about && !is_killed_by_probe()
}

/// When and how the owner of a session went, after the session was opened.
pub(super) fn left_during(
    history: &History<'_>,
    session: &Session<'_>,
    owner: &str,
) -> Option<(At, Departure)> {
    history.departure(owner).filter(|(left, _)| *left > session.opened)
}

/// Whether a replica took the call on: it reported progress, or answered the POST.
pub(super) fn was_accepted(history: &History<'_>, call: &Call<'_>) -> bool {
    let head = history.exchanges.get(&call.exchange).and_then(|exchange| exchange.head);
    head.is_some_and(|head| head.status < 300) || !call.progress.is_empty()
}

/// Whether the call names a session id that was made up.
pub(super) fn is_unknown(history: &History<'_>, call: &Call<'_>) -> bool {
    let made_up = history.entries().iter().filter_map(|entry| match &entry.what {
        What::UnknownId { id, .. } => Some(id.as_str()),
        _ => None,
    });
    let Some(exchange) = history.exchanges.get(&call.exchange) else {
        return false;
    };
    let request = exchange.request;
    made_up.into_iter().any(|id| request.target.contains(id) || request.header("mcp-session-id") == Some(id))
}

/// Whether the call names a session that its client has ended.
pub(super) fn is_ended(history: &History<'_>, call: &Call<'_>) -> bool {
    let ended = history.session_of(call).and_then(|session| session.ended);
    // Where ending was refused (405 to DELETE) the session goes on.
    let refused = history.exchanges.values().any(|exchange| {
        exchange.request.method == "DELETE"
            && exchange.request.client == call.client
            && exchange.head.is_some_and(|head| head.status >= 300)
    });
    ended.is_some_and(|ended| ended < call.sent) && !refused
}

/// Whether the client had ended a session before this place: what comes after its DELETE comes before that is answered.
pub(super) fn was_ended_before(history: &History<'_>, session: &Session<'_>, at: At) -> bool {
    let deletes = |exchange: &Exchange<'_>| {
        let request = exchange.request;
        request.method == "DELETE"
            && request.client == session.client
            && request.header("mcp-session-id") == session.id
    };
    session.ended.is_some_and(|ended| ended < at)
        || history.exchanges.values().any(|exchange| deletes(exchange) && exchange.at < at)
}

/// Whether an exchange is the first of a session, or a request of the stateless era.
pub(super) fn is_opening(history: &History<'_>, exchange: &Exchange<'_>) -> bool {
    let initialize = exchange.request.message().is_some_and(|message| message["method"] == "initialize");
    match history.transport() {
        Some(Transport::Sse) => exchange.request.method == "GET",
        Some(Transport::Stateless) => exchange.request.method == "POST",
        Some(Transport::Streamable) | None => initialize,
    }
}
