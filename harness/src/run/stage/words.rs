//! What became of a request, for messages.

use crate::transcript::{Body, End};
use crate::wire::Outcome;

/// How many characters of a body are told in one phrase.
const BODY_TOLD: usize = 120;

/// What became of a request, in one phrase.
pub fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Result(_) => "a result".to_owned(),
        Outcome::Error { code, message } => format!("error {code}: {message}"),
        Outcome::Http { status, body, .. } => {
            format!("{} {}", status_text(*status), body_text(body)).trim_end().to_owned()
        }
        Outcome::Accepted => "accepted without an answer".to_owned(),
        Outcome::Ended(end) => format!("the connection ended: {}", end_text(end)),
        Outcome::Silent => "silence".to_owned(),
    }
}

/// A status; one that says less than its name, with that: a limit is neither silence nor a lost session.
pub fn status_text(status: u16) -> String {
    match status {
        429 => "429 Too Many Requests".to_owned(),
        other => other.to_string(),
    }
}

/// A body in one line of bearable length.
pub(super) fn body_text(body: &Body) -> String {
    let text = match body {
        Body::Json(value) => value.to_string(),
        Body::Text(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Body::Long { length, .. } => format!("({length} bytes)"),
    };
    match text.char_indices().nth(BODY_TOLD) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

fn end_text(end: &End) -> String {
    match end {
        End::Complete => "complete".to_owned(),
        End::ClosedByClient => "closed by the client".to_owned(),
        End::Refused { why } | End::Cut { why } | End::Malformed { why } => why.clone(),
        End::TimedOut { waiting_for, limit_ms } => format!("no {waiting_for} within {limit_ms} ms"),
    }
}
