//! Whether a hub has room for more than one client.

use crate::check::{Check, HUB_CONTRACT, Judgement, Level};
use crate::plan::Transport;

/// Hub contract: SDKs bind one protocol object to one transport. A hub that makes one per process, and not one per session, serves the
/// first client and refuses all others.
pub const SECOND_CLIENT_SERVED: Check = Check {
    id: "second-client-served",
    level: Level::Contract,
    sentence: "A second client must get a session while another client has one.",
    source: HUB_CONTRACT,
    remedy: "hub: create one server object and one transport object per session, not one per process",
    transports: &[Transport::Sse, Transport::Streamable],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        history.sessions.iter().for_each(|_| judgement.judged());
        let refused = history.second_refused();
        // One finding says it for all: the next client fares no better.
        if let Some(first) = refused.first() {
            judgement.judged();
            let at = first.replica.map(|replica| format!(" at `{replica}`")).unwrap_or_default();
            let clients = history.sessions.len() + refused.len();
            let expected =
                format!("a session for client `{}`{at} beside {} other(s)", first.client, first.given);
            let actual = format!("{}; {} of {clients} sessions were refused", first.why, refused.len());
            judgement.breach(expected, actual, first.at);
        }
        judgement
    },
};
