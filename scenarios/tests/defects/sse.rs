//! The defects of family `sse`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("mistyped-stream", "sse/opening@sse", &["sse-stream-media-type"]),
    ("endpoint-second", "sse/opening@sse", &["endpoint-first"]),
    ("endpoint-elsewhere", "sse/opening@sse", &["endpoint-same-origin"]),
];
