//! What the fuzzer's transcripts are judged by.

use std::collections::BTreeMap;

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::timeouts::{ANSWER, ORPHAN_NOTICED, SLACK};
use harness::transcript::history::{At, Call, Exchange, History, Outcome};
use harness::transcript::{End, What};

use super::{Must, Note};
use crate::routing::checks::{EXECUTED_ONCE, ISOLATED, ORPHANS_TOLD, STREAMS_UNTOUCHED};
use crate::words::{end_text, outcome_text};

/// What comes after each fault and each odd request is what the model of the contract says.
pub const MODEL: Check = Check {
    id: "model",
    level: Level::Contract,
    sentence: "whatever clients send and whichever replicas come and go: each request gets what the contract owes it",
    source: HUB_CONTRACT,
    remedy: "read the transcript from its last step backwards: each step says what it did, and each note what must come of it",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (of, (at, must)) in notes(history) {
            judgement.judged();
            if let Err(actual) = kept(history, &of, &must) {
                judgement.breach(format!("{of} must {must}"), actual, at);
            }
        }
        judgement
    },
};

/// A task that panicked may have left a lock, a session or a client behind.
pub const NO_PANIC: Check = Check {
    id: "no-panic",
    level: Level::Contract,
    sentence: "no replica panics, whatever it is sent",
    source: HUB_CONTRACT,
    remedy: "the line names the place in the source",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.judged();
        for entry in history.entries() {
            if let What::Log { pod, line } = &entry.what
                && line.contains("panicked at")
            {
                judgement.breach("no panic", format!("`{pod}`: {line}"), entry.place());
            }
        }
        judgement
    },
};

/// [`EXECUTED_ONCE`], which has nothing to judge where chance sent no call that is counted.
pub const STILL_EXECUTED_ONCE: Check =
    Check { judge: |history| if_there(&EXECUTED_ONCE, history), ..EXECUTED_ONCE };

/// [`ORPHANS_TOLD`], which has nothing to judge where chance killed no owner.
pub const STILL_ORPHANS_TOLD: Check =
    Check { judge: |history| if_there(&ORPHANS_TOLD, history), ..ORPHANS_TOLD };

/// [`STREAMS_UNTOUCHED`], which has nothing to judge where chance opened no session.
pub const STILL_STREAMS_UNTOUCHED: Check =
    Check { judge: |history| if_there(&STREAMS_UNTOUCHED, history), ..STREAMS_UNTOUCHED };

/// [`ISOLATED`], which has nothing to judge where chance called no `echo`.
pub const STILL_ISOLATED: Check = Check { judge: |history| if_there(&ISOLATED, history), ..ISOLATED };

/// What a check finds; where it has nothing to judge, its rule was kept.
fn if_there(check: &Check, history: &History<'_>) -> Judgement {
    let mut judgement = (check.judge)(history);
    judgement.judged();
    judgement
}

/// The latest note about each thing.
fn notes(history: &History<'_>) -> BTreeMap<String, (At, Must)> {
    let noted = history.entries().iter().filter_map(|entry| match &entry.what {
        What::Step { name } => Note::parse(name).map(|note| (note.of, (entry.place(), note.must))),
        _ => None,
    });
    noted.collect()
}

/// Whether what was noted is what happened; else what did.
fn kept(history: &History<'_>, of: &str, must: &Must) -> Result<(), String> {
    match must {
        Must::Open => has_session(history, of),
        Must::Close => {
            let delete = history.exchanges.values().find(|exchange| {
                let request = exchange.request;
                request.client == of && request.method == "DELETE" && request.probe.is_none()
            });
            has_status(delete, 200..300)
        }
        Must::Accept => has_status(history.probes(of).next(), 200..300),
        Must::Refuse => has_status(history.probes(of).next(), 400..500),
        Must::Handle => has_status(history.probes(of).next(), 200..500),
        Must::Stop => has_ended(history.probes(of).next()),
        Must::Answer(_) | Must::Lose | Must::Tell(_) | Must::End => {
            let call = history.probed_calls(of).next().ok_or("it was never sent")?;
            call_kept(history, call, must)
        }
    }
}

fn has_session(history: &History<'_>, wanted: &str) -> Result<(), String> {
    if history.sessions.iter().any(|session| session.client == wanted) {
        return Ok(());
    }
    let instead = history.entries().iter().find_map(|entry| match &entry.what {
        What::NoSession { client, why } if client == wanted => Some(why.clone()),
        _ => None,
    });
    Err(instead.unwrap_or_else(|| "no session".to_owned()))
}

fn has_status(exchange: Option<&Exchange<'_>>, wanted: std::ops::Range<u16>) -> Result<(), String> {
    has_ended(exchange)?;
    let Some(exchange) = exchange else { return Ok(()) };
    match (exchange.status(), exchange.end) {
        (Some(status), _) if !wanted.contains(&status) => Err(status.to_string()),
        (Some(_), Some((_, End::Complete | End::ClosedByClient))) => Ok(()),
        (_, end) => Err(end.map_or_else(|| "no end".to_owned(), |(_, end)| end_text(end))),
    }
}

/// Whether an exchange came to an end that its client did not have to bring about.
fn has_ended(exchange: Option<&Exchange<'_>>) -> Result<(), String> {
    let exchange = exchange.ok_or("it was never sent")?;
    match exchange.end {
        None => Err("no end".to_owned()),
        Some((_, how @ End::TimedOut { .. })) => Err(end_text(how)),
        Some((_, _)) => Ok(()),
    }
}

fn call_kept(history: &History<'_>, call: &Call<'_>, must: &Must) -> Result<(), String> {
    let actual = || outcome_text(history, call);
    let is_in_time =
        || call.took().is_some_and(|took| took <= history.stretched(ANSWER + SLACK) + call.held());
    let is_kept = match must {
        Must::Answer(text) => match call.text() {
            Some(told) if told != text => return Err(format!("the answer `{told}`")),
            Some(_) => is_in_time(),
            None => match call.answers.first() {
                Some((_, answer)) => return Err(format!("the answer {answer}")),
                None => false,
            },
        },
        Must::Lose => matches!(call.outcome, Outcome::Refused { .. } | Outcome::Ended { .. }) && is_in_time(),
        Must::Tell(replica) => {
            let gone = history.surely_ended(replica, call.sent).unwrap_or(call.sent);
            call.outcome.at().is_some_and(|at| gone.until(at) <= history.stretched(ORPHAN_NOTICED + SLACK))
        }
        _ => is_in_time(),
    };
    if is_kept { Ok(()) } else { Err(actual()) }
}
