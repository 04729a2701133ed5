//! The defects of family `sse`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("mistyped-stream", "sse/opening@sse", &["sse-stream-media-type", "every-request-ends"]),
    ("endpoint-second", "sse/opening@sse", &["endpoint-first"]),
    ("endpoint-elsewhere", "sse/opening@sse", &["endpoint-same-origin"]),
    ("redirects-messages", "sse/posting@sse", &["post-accepted"]),
    ("misnames-events", "sse/posting@sse", &["reply-on-stream"]),
    ("accepts-unknown", "sse/session-ids@sse", &["strange-id-refused"]),
    ("accepts-garbage", "sse/malformed@sse", &["garbage-refused"]),
    ("garbage-ends-session", "sse/malformed@sse", &["garbage-survived"]),
    ("fails-on-garbage", "sse/malformed@sse", &["client-error-is-4xx"]),
    ("drops-first-message", "sse/before-initialize@sse", &["early-ping-answered"]),
    ("asks-for-roots", "sse/before-initialize@sse", &["quiet-before-initialized"]),
    ("early-list-ends-session", "sse/before-initialize@sse", &["early-request-harmless"]),
];
