//! Sessions whose owner went: who must be told, and by when.

use std::time::Duration;

use harness::check::Judgement;
use harness::timeouts::{ORPHAN_NOTICED, SLACK};
use harness::transcript::End;
use harness::transcript::history::{At, Departure, History, Session};

use super::scope::left_during;
use crate::words::{call_text, is_served, outcome_text};

/// A session whose owner went for good while it was open: the owner, when it began to go, when it was gone.
pub(super) fn went_under<'t>(history: &History<'t>, session: &Session<'t>) -> Option<(&'t str, At, At)> {
    let owner = session.owner?;
    let (left, how) = left_during(history, session, owner)?;
    let gone = match how {
        // From being asked for to being done takes a cluster its time.
        Departure::Killed => history.surely_ended(owner, left).unwrap_or(left),
        Departure::Graceful | Departure::Starved => history.surely_ended(owner, left)?,
        // A stopped process holds its connections: only the client can bound those.
        Departure::Stopped => return None,
    };
    // A client that left before it had to be told waited for nothing.
    if session.ended.is_some_and(|ended| ended < left || gone.until(ended) <= limit(history)) {
        return None;
    }
    Some((owner, left, gone))
}

/// How long a stream may go on that had its owner's process behind it, or a call that was in flight.
fn limit(history: &History<'_>) -> Duration {
    history.stretched(ORPHAN_NOTICED + SLACK) + history.end_late()
}

pub(super) fn judge_orphan(
    history: &History<'_>,
    session: &Session<'_>,
    owner: &str,
    left: At,
    gone: At,
    judgement: &mut Judgement,
) {
    let limit = limit(history);
    // A session that another process serves has not lost its owner: its streams need not end.
    let is_served_on = lives_on(history, session, gone);
    for stream in history.streams_of(session).filter(|stream| stream.at < left) {
        if stream.end.is_some_and(|(at, _)| at < left) {
            continue;
        }
        judgement.judged();
        let is_elsewhere = stream.replica.is_some_and(|replica| replica != owner);
        if is_served_on && is_elsewhere {
            continue;
        }
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
        // What was in flight had come to the hub already.
        let limit = if call.sent > gone {
            history.stretched(ORPHAN_NOTICED + SLACK) + history.way_late()
        } else {
            limit
        };
        let told = call.outcome.at().is_some_and(|at| since.until(at) <= limit);
        if !told {
            let expected =
                format!("an answer or an error to {} within 2 s of `{owner}` going", call_text(call));
            judgement.breach(expected, outcome_text(history, call), call.outcome.at().unwrap_or(call.sent));
        }
    }
}

/// Whether a session was served after its owner's process had ended: then any replica serves it.
fn lives_on(history: &History<'_>, session: &Session<'_>, gone: At) -> bool {
    history.calls.iter().any(|call| {
        call.sent > gone
            && is_served(call)
            && history.session_of(call).is_some_and(|other| std::ptr::eq(other, session))
    })
}

#[cfg(test)]
mod tests {
    use harness::check::Verdict;
    use harness::plan::Transport;
    use harness::transcript::{Body, End, ExchangeId, Fault, Path, PodChange, Request, What};
    use serde_json::json;

    use crate::by_hand::{judged, judged_over, request};
    use crate::routing::checks::ORPHANS_TOLD;

    /// A call of the session that `mcp-hub-a` owns.
    fn call(replica: &str) -> What {
        let body = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" });
        let mut call = request(ExchangeId(7), "POST", "/messages?session_id=s");
        call.path = Path::Replica(replica.to_owned());
        call.body = serde_json::from_value(json!({ "json": body })).unwrap();
        What::Request(call)
    }

    fn opened() -> What {
        let owner = Some("mcp-hub-a".to_owned());
        What::Session { client: "client".to_owned(), id: Some("s".to_owned()), owner }
    }

    fn pod(change: PodChange) -> What {
        What::Pod { pod: "mcp-hub-a".to_owned(), change }
    }

    /// What is made of a 404 that comes so long after it was asked for, at another replica than the session's, whose process
    /// had ended a second before.
    fn told_after(backend: &str, ms: u64) -> Verdict {
        let ended = PodChange::Terminated { reason: "Completed".to_owned(), exit_code: 0, by: None };
        let entries = [
            (0, opened()),
            (1_000, pod(PodChange::Terminating)),
            (2_000, pod(ended)),
            (3_000, call("mcp-hub-b")),
            (3_000 + ms, What::Head { exchange: ExchangeId(7), status: 404, headers: Vec::new() }),
        ];
        judged(backend, &ORPHANS_TOLD, entries).verdict
    }

    /// What is made of a call that breaks so long after the record of its session's owner went, which was deleted without grace.
    fn cut_after(backend: &str, exited: Option<What>, ms: u64) -> Verdict {
        let delete = Fault::Delete { replica: "mcp-hub-a".to_owned(), grace_s: 0 };
        let cut = End::Cut { why: "unexpected EOF".to_owned() };
        let mut entries = vec![
            (0, opened()),
            (500, call("mcp-hub-a")),
            (1_000, What::Fault(delete)),
            (1_000, pod(PodChange::Deleted)),
            (1_000 + ms, What::End { exchange: ExchangeId(7), how: cut }),
        ];
        entries.extend(exited.map(|exited| (9_000, exited)));
        judged(backend, &ORPHANS_TOLD, entries).verdict
    }

    #[test]
    fn the_record_of_a_pod_may_go_before_its_process_does() {
        let exited = |ms: u64| Some(What::Exited { pod: "mcp-hub-a".to_owned(), at_us: ms * 1_000 });
        assert_eq!(
            cut_after("kube", None, 2_608),
            Verdict::Pass,
            "a kubelet gives it 2 s, and nobody tells of its end"
        );
        assert_eq!(
            cut_after("kube", None, 9_600),
            Verdict::Fail,
            "an API server is slow to tell, and not that slow"
        );
        assert_eq!(cut_after("kind", exited(1_050), 2_608), Verdict::Fail, "its node told of the end");
        assert_eq!(cut_after("kind", exited(1_200), 2_608), Verdict::Pass);
        assert_eq!(
            cut_after("local", None, 2_608),
            Verdict::Fail,
            "the embedded cluster keeps the record until it ends"
        );
    }

    /// What is made of a stream at another replica that stays open when its session's owner is killed, and the session's next request
    /// gets this status.
    fn kept_open(status: u16) -> Verdict {
        let named = |mut request: Request| {
            request.path = Path::Replica("mcp-hub-b".to_owned());
            request.headers.push(("mcp-session-id".to_owned(), "s".to_owned()));
            request
        };
        let stream = named(request(ExchangeId(6), "GET", "/mcp"));
        let What::Request(later) = call("mcp-hub-b") else { unreachable!() };
        let event_stream = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        let ended = PodChange::Terminated { reason: "Error".to_owned(), exit_code: 137, by: None };
        let result = json!({ "jsonrpc": "2.0", "id": 3, "result": { "tools": [] } });
        let entries = [
            (0, opened()),
            (1, What::Request(stream)),
            (2, What::Head { exchange: ExchangeId(6), status: 200, headers: event_stream }),
            (1_000, What::Fault(Fault::Kill { replica: "mcp-hub-a".to_owned() })),
            (1_050, pod(ended)),
            (4_500, What::Request(named(later))),
            (4_510, What::Head { exchange: ExchangeId(7), status, headers: Vec::new() }),
            (4_520, What::Body { exchange: ExchangeId(7), body: Body::Json(result) }),
        ];
        judged_over(Transport::Streamable, "local", &ORPHANS_TOLD, entries).verdict
    }

    #[test]
    fn a_session_that_any_replica_serves_keeps_its_stream_at_one_that_lives() {
        assert_eq!(kept_open(200), Verdict::Pass);
        assert_eq!(kept_open(404), Verdict::Fail, "its owner is gone, and the client waits");
    }

    #[test]
    fn a_hub_has_its_two_seconds_and_our_own_way_on_a_real_cluster_is_none_of_them() {
        assert_eq!(told_after("local", 1_100), Verdict::Pass);
        assert_eq!(told_after("local", 3_300), Verdict::Fail);
        assert_eq!(told_after("kind", 3_300), Verdict::Pass, "so it came on a busy machine");
        assert_eq!(told_after("kind", 4_900), Verdict::Fail);
    }
}
