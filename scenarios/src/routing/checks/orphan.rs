//! Sessions whose owner went: who must be told, and by when.

use harness::check::Judgement;
use harness::timeouts::{ORPHAN_NOTICED, SLACK};
use harness::transcript::End;
use harness::transcript::history::{At, Departure, History, Session};

use super::scope::left_during;
use crate::words::{call_text, outcome_text};

/// A session whose owner went for good while it was open: the owner, when it began to go, when it was gone.
pub(super) fn went_under<'t>(history: &History<'t>, session: &Session<'t>) -> Option<(&'t str, At, At)> {
    let owner = session.owner?;
    let (left, how) = left_during(history, session, owner)?;
    let gone = match how {
        // From being asked for to being done takes a cluster its time.
        Departure::Killed => history.process_ended(owner, left).unwrap_or(left),
        Departure::Graceful | Departure::Starved => history.process_ended(owner, left)?,
        // A stopped process holds its connections: only the client can bound those.
        Departure::Stopped => return None,
    };
    // A client that left before it had to be told waited for nothing.
    if session.ended.is_some_and(|ended| ended < left || gone.until(ended) <= ORPHAN_NOTICED + SLACK) {
        return None;
    }
    Some((owner, left, gone))
}

pub(super) fn judge_orphan(
    history: &History<'_>,
    session: &Session<'_>,
    owner: &str,
    left: At,
    gone: At,
    judgement: &mut Judgement,
) {
    let limit = ORPHAN_NOTICED + SLACK;
    for stream in history.streams_of(session).filter(|stream| stream.at < left) {
        if stream.end.is_some_and(|(at, _)| at < left) {
            continue;
        }
        judgement.judged();
        // A stream that the client had to close was not ended by anyone who knew that its owner is gone.
        let ended = stream.end.filter(|(_, how)| **how != End::ClosedByClient);
        let told = ended.is_some_and(|(at, _)| gone.until(at) <= limit);
        if !told {
            let expected = format!("the stream of client `{}` ends within 2 s of `{owner}`", session.client);
            let actual = match ended {
                Some((at, _)) => format!("it ended after {} ms", gone.until(at).as_millis()),
                None => "it stayed open".to_owned(),
            };
            judgement.breach(expected, actual, ended.map_or(history.end(), |(at, _)| at));
        }
    }
    let own = history.calls.iter().filter(|call| {
        history.session_of(call).is_some_and(|other| std::ptr::eq(other, session))
            && call.outcome.at().is_none_or(|at| at > left)
    });
    for call in own {
        judgement.judged();
        let since = std::cmp::max_by_key(gone, call.sent, |at| at.us);
        let told = call.outcome.at().is_some_and(|at| since.until(at) <= limit);
        if !told {
            let expected =
                format!("an answer or an error to {} within 2 s of `{owner}` going", call_text(call));
            judgement.breach(expected, outcome_text(history, call), call.outcome.at().unwrap_or(call.sent));
        }
    }
}
