//! The defects of family `session`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("ignores-origin", "session/origin@sse", &["origin-validated"]),
    ("ignores-origin", "session/origin@streamable", &["origin-validated"]),
    ("ignores-origin", "session/origin@stateless", &["origin-validated"]),
    ("demands-origin", "session/origin@sse", &["no-origin-served"]),
    ("answers-unknown-methods", "session/unknown-names@sse", &["unknown-method-is-error"]),
    ("answers-unknown-methods", "session/unknown-names@streamable", &["unknown-method-is-error"]),
    ("mislabels-unknown-methods", "session/unknown-names@sse", &["unknown-method-code"]),
    ("runs-unknown-tools", "session/unknown-names@sse", &["unknown-tool-is-error"]),
    ("runs-unknown-tools", "session/unknown-names@stateless", &["unknown-tool-is-error"]),
    ("fails-pings", "session/ping@sse", &["ping-answered"]),
    ("fails-pings", "session/ping@streamable", &["ping-answered"]),
    ("echoes-any-version", "session/versions@sse", &["version-negotiated"]),
    ("drops-in-crowd", "session/concurrent@sse", &["at-once-answered"]),
    ("small-bodies-only", "session/sizes@sse", &["small-body-served"]),
    ("drops-big-bodies", "session/sizes@sse", &["big-body-told"]),
    ("big-body-ends-session", "session/sizes@sse", &["big-body-survived"]),
    ("progress-falls", "session/progress@sse", &["progress-grows"]),
    ("progress-falls", "session/progress@stateless", &["progress-grows"]),
    ("progress-of-others", "session/progress@stateless", &["progress-tokens-known"]),
    ("refuses-stray-deletes", "strays-alike@streamable", &["strays-treated-alike"]),
    ("drops-stray-notifications", "cancel-elsewhere@streamable", &["cancel-reaches-owner"]),
    ("crosses-streams", "same-id-in-50-sessions@sse", &["isolated", "one-answer"]),
    ("crosses-streams", "same-id-in-50-sessions@streamable", &["isolated"]),
    ("first-list-is-short", "tools-alike@sse", &["tools-listed-alike"]),
    ("first-list-is-short", "tools-alike@stateless", &["tools-listed-alike"]),
];
