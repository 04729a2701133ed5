//! What the scenarios of Streamable HTTP are judged by. Every check has a defect of the reference hub that it catches.

mod message;
mod session;

pub use message::{
    ACCEPTED_WITHOUT_BODY, BATCH_ANSWERED, NOTIFICATION_IS_202, REQUEST_ANSWER_TYPE, REQUEST_ANSWERED,
    SERVES_AFTER_UNREADABLE, STREAM_ENDS_AFTER_ANSWER, UNREADABLE_REFUSED,
};
pub use session::{
    ABSENT_VERSION_SERVED, DELETE_ANSWERED, DISCONNECT_IS_NO_CANCEL, GET_IS_STREAM_OR_405,
    INVALID_VERSION_IS_400, MISSING_ID_IS_400, NO_ANSWERS_ON_GET, SESSION_ID_UNIQUE, SESSION_ID_VISIBLE,
    SESSION_SURVIVES_DISCONNECT,
};

use harness::transcript::history::{Call, Exchange};

/// What an exchange came to, for findings.
pub(crate) fn answer_text(exchange: &Exchange<'_>) -> String {
    match (exchange.status(), exchange.media_type()) {
        (Some(status), Some(media)) => format!("{status} with {media}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "no answer".to_owned(),
    }
}

/// Whether a call was answered with a result.
pub(crate) fn has_result(call: &Call<'_>) -> bool {
    crate::words::is_served(call)
}
