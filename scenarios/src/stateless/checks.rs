//! What the scenarios of 2026-07-28 are judged by. Every check has a defect of the reference hub that it catches.

mod request;
mod result;
mod stream;

pub use request::{
    ABSENT_VERSION_REFUSED, CLIENT_INFO_OPTIONAL, CONNECTION_FORGETS, ENCODED_NAME_SERVED,
    INCOMPLETE_META_REFUSED, LIST_NOT_OF_CONNECTION, MISMATCH_REFUSED, OLDER_CLIENT_TOLD,
    REMOVED_METHODS_ARE_405, STALE_EVENT_ID_IGNORED, STALE_ID_IGNORED, UNKNOWN_METHOD_IS_404,
    UNKNOWN_VERSION_REFUSED,
};
pub use result::{
    CACHING_HINTED, DISCOVER_ANSWERED, DISCOVER_NAMES_REVISION, NO_SESSION_MINTED, RESULT_TYPED, SERVER_NAMED,
};
pub use stream::{
    BUFFERING_OFF, CLOSE_STOPS_WORK, LISTEN_ACKNOWLEDGED, LISTEN_ENDS_WELL, LISTEN_KEEPS_TO_FILTER,
    NO_SERVER_REQUESTS, NOTHING_UNASKED,
};

use harness::check::Judgement;
use harness::transcript::history::{Exchange, History};

/// The code of a JSON-RPC error in the answer to an exchange.
fn error_code(exchange: &Exchange<'_>) -> Option<i64> {
    exchange.messages().iter().find_map(|(_, message)| message.pointer("/error/code")?.as_i64())
}

/// Judges that each of these requests was refused with this status and this code.
fn refused_with(history: &History<'_>, probe: &str, status: u16, code: i64) -> Judgement {
    let mut judgement = Judgement::default();
    for exchange in history.probes(probe) {
        judgement.judged();
        let found = error_code(exchange);
        if exchange.status() != Some(status) || found != Some(code) {
            let answer = exchange.status().map_or("no answer".to_owned(), |status| status.to_string());
            let error = found.map_or("no JSON-RPC error".to_owned(), |code| format!("error {code}"));
            let request = &exchange.request;
            let said: Vec<String> = ["mcp-protocol-version", "mcp-method", "mcp-name"]
                .into_iter()
                .filter_map(|name| Some(format!("{name}: {}", request.header(name)?)))
                .collect();
            let expected = format!("{status} with error {code} to a request with {}", said.join(", "));
            judgement.breach(expected, format!("{answer} with {error}"), exchange.at);
        }
    }
    judgement
}
