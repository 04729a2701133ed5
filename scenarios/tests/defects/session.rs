//! The defects of family `session`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("ignores-origin", "session/origin@sse", &["origin-validated"]),
    ("ignores-origin", "session/origin@streamable", &["origin-validated"]),
    ("ignores-origin", "session/origin@stateless", &["origin-validated"]),
    ("demands-origin", "session/origin@sse", &["no-origin-served"]),
];
