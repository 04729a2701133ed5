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
];
