//! What checks that look at probes by their name share.

use harness::check::Judgement;
use harness::transcript::history::History;

use crate::words::reply_text;

/// Every call that was probed under this name has a result, which the words describe.
pub(crate) fn each_has_result(history: &History<'_>, name: &str, expected: &str) -> Judgement {
    let mut judgement = Judgement::default();
    for call in history.probed_calls(name) {
        judgement.judged();
        if call.result().is_none() {
            judgement.breach(expected, reply_text(history, call), call.sent);
        }
    }
    judgement
}
