//! The defects of family `lifecycle`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("starts-without-secret", "crash-loop", &["symptom-told", "ready-means-serving", "calls-answered"]),
    (
        "hangs-without-secret",
        "crash-loop",
        &["symptom-told", "no-hang", "ready-means-serving", "calls-answered"],
    ),
    ("dies-silently", "crash-loop", &["last-words"]),
    ("hides-unknown-key", "secret-differs-per-replica", &["foreign-key-told"]),
    ("never-ready", "secret-appears-late", &["recovers", "new-session-works"]),
];
