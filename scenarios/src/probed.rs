//! What scenarios that send probes share, and checks that look at them by their name.

use harness::check::Judgement;
use harness::transcript::history::History;
use harness::wire::Raw;
use serde_json::Value;

use crate::words::reply_text;

/// Why a scenario does not list the tools.
pub(crate) const LONG_LIST: &str = "the list of tools is long: hubcheck reads it once, in the survey";

/// Why a scenario ends no session of Streamable HTTP.
pub(crate) const NO_GOODBYE: &str = "the hub does not answer a DELETE: see survey/delete-answered@streamable";

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

/// The same request with another message.
pub(crate) fn edited(mut raw: Raw, edit: impl FnOnce(&mut Value)) -> Raw {
    let mut message = serde_json::from_slice(&raw.body).unwrap_or_default();
    edit(&mut message);
    raw.body = message.to_string().into();
    raw
}
