//! The defects of family `stateless`.

use super::Row;

pub(crate) const ROWS: &[Row] = &[
    ("no-discover", "stateless/discover@stateless", &["discover-answered"]),
    ("discovers-other-versions", "stateless/discover@stateless", &["discover-names-revision"]),
    ("no-caching-hints", "stateless/discover@stateless", &["caching-hinted", "valid-messages"]),
    ("no-server-info", "stateless/discover@stateless", &["server-named"]),
    ("no-result-type", "stateless/discover@stateless", &["result-typed", "valid-messages"]),
    ("mints-session-ids", "stateless/discover@stateless", &["no-session-minted"]),
    ("refuses-stale-ids", "stateless/discover@stateless", &["stale-id-ignored"]),
    ("refuses-event-ids", "stateless/discover@stateless", &["stale-event-id-ignored"]),
    ("hides-tools", "stateless/discover@stateless", &["tools-declared"]),
    ("serves-without-version", "stateless/metadata@stateless", &["absent-version-refused"]),
    ("ignores-headers", "stateless/metadata@stateless", &["header-mismatch-refused", "valid-messages"]),
    ("reads-headers-literally", "stateless/metadata@stateless", &["encoded-name-served"]),
    ("serves-any-version", "stateless/metadata@stateless", &["unknown-version-refused"]),
    ("demands-nothing", "stateless/metadata@stateless", &["incomplete-meta-refused"]),
    ("demands-client-info", "stateless/metadata@stateless", &["client-info-optional"]),
    ("unknown-method-is-200", "stateless/methods@stateless", &["unknown-method-is-404"]),
    ("streams-on-get", "stateless/methods@stateless", &["get-and-delete-are-405", "older-client-told"]),
    ("lets-proxies-buffer", "stateless/streams@stateless", &["buffering-off"]),
    ("asks-in-streams", "stateless/streams@stateless", &["no-server-requests"]),
    ("logs-unasked", "stateless/streams@stateless", &["nothing-unasked"]),
    ("ignores-disconnect", "stateless/close-cancels@stateless", &["close-stops-work"]),
    ("lets-proxies-buffer", "stateless/listen@stateless", &["buffering-off"]),
    ("unasks-first", "stateless/listen@stateless", &["listen-acknowledged", "listen-keeps-to-filter"]),
    ("tells-subscribers-all", "stateless/listen@stateless", &["listen-keeps-to-filter"]),
    ("cuts-subscriptions", "stateless/listen@stateless", &["listen-ends-well"]),
    ("lists-less-on-reuse", "stateless/connection@stateless", &["list-not-of-connection"]),
    ("remembers-connections", "stateless/connection@stateless", &["connection-forgets"]),
];
