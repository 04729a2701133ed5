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
    ("no-healthz", "probes-as-deployed", &["probes-pass"]),
    ("forgets-after-pause", "readiness-flaps@sse", &["sessions-outlive-a-pause"]),
    ("forgets-after-pause", "readiness-flaps@streamable", &["sessions-outlive-a-pause"]),
    ("waits-in-line", "wedged-replica@sse", &["no-hang", "hang-contained"]),
    ("waits-in-line", "wedged-replica@streamable", &["no-hang", "hang-contained", "ready-means-serving"]),
    ("ignores-sigterm", "graceful-stop@sse", &["exits-in-grace"]),
    ("ignores-sigterm", "graceful-stop@streamable", &["exits-in-grace"]),
    ("ignores-sigterm", "graceful-stop@stateless", &["exits-in-grace"]),
    ("drops-calls-on-stop", "graceful-stop@streamable", &["accepted-calls-kept"]),
    ("drops-calls-on-stop", "graceful-stop@stateless", &["accepted-calls-kept"]),
    ("ready-too-soon", "rollout-with-probes@sse", &["ready-means-serving"]),
    ("ready-too-soon", "rollout-with-probes@streamable", &["ready-means-serving"]),
    ("ready-too-soon", "scale-with-probes@stateless", &["ready-means-serving"]),
    ("unknown-path-is-503", "wrong-endpoint", &["wrong-endpoint-refused"]),
    ("unknown-path-is-bare", "wrong-endpoint", &["wrong-endpoint-told"]),
];
