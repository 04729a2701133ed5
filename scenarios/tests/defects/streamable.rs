//! The defects of family `streamable`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("notifications-are-200", "streamable/messages@streamable", &["notification-is-202"]),
    ("notifications-are-200", "streamable/messages@stateless", &["notification-is-202"]),
    ("accepts-with-body", "streamable/messages@streamable", &["accepted-without-body"]),
    ("accepts-with-body", "streamable/messages@stateless", &["accepted-without-body"]),
    ("answers-as-text", "streamable/messages@streamable", &["request-answer-type"]),
    ("answers-as-text", "streamable/messages@stateless", &["request-answer-type"]),
    ("ends-streams-early", "streamable/messages@streamable", &["request-answered"]),
    ("ends-streams-early", "streamable/messages@stateless", &["request-answered"]),
    ("holds-answered-streams", "streamable/messages@streamable", &["stream-ends-after-answer"]),
    ("holds-answered-streams", "streamable/messages@stateless", &["stream-ends-after-answer"]),
    ("spaced-session-ids", "streamable/session-id@streamable", &["session-id-visible"]),
    ("repeats-session-ids", "streamable/session-id@streamable", &["session-id-unique"]),
    ("missing-id-is-404", "streamable/session-id@streamable", &["missing-id-is-400"]),
    ("accepts-unknown", "streamable/session-id@streamable", &["terminated-is-404"]),
    (
        "delete-is-500",
        "streamable/session-id@streamable",
        &["delete-answered", "no-server-error", "client-error-is-4xx"],
    ),
    ("accepts-any-version", "version-header@streamable", &["invalid-version-is-400"]),
    ("demands-version", "version-header@streamable", &["absent-version-served"]),
    ("get-is-404", "get-stream@streamable", &["get-is-stream-or-405"]),
    ("resumes-late", "resume-elsewhere@streamable", &["resume-loses-nothing"]),
    ("resumes-early", "resume-elsewhere@streamable", &["resume-repeats-nothing"]),
    ("resumes-all-streams", "resume-elsewhere@streamable", &["resume-keeps-to-its-stream"]),
    ("repeats-event-ids", "resume-elsewhere@streamable", &["event-ids-unique"]),
    ("primes-nothing", "resume-elsewhere@streamable", &["stream-primed"]),
    ("broadcasts-answers", "get-stream@streamable", &["no-answers-on-get", "own-stream"]),
    ("asks-for-roots", "get-stream@streamable", &["asks-what-is-declared"]),
    ("accepts-bad-json", "bad-input@streamable", &["unreadable-refused"]),
    ("accepts-bad-json", "bad-input@stateless", &["unreadable-refused"]),
    ("bad-json-ends-session", "bad-input@streamable", &["serves-after-unreadable"]),
    ("refuses-batches", "streamable/batch@streamable", &["batch-answered"]),
    (
        "disconnect-ends-session",
        "streamable/disconnect@streamable",
        &["disconnect-is-no-cancel", "session-survives-disconnect"],
    ),
];
