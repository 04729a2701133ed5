//! The catalogue: every scenario of hubcheck, one module per family.

pub mod lifecycle;
pub mod routing;
pub mod session;
pub mod sse;

use harness::run::Scenario;

/// Every scenario, in the order of reports. Listed by hand: a test holds it against the families' own lists.
pub const CATALOG: &[&Scenario] = &[
    &routing::session::SESSION_SURVIVES_ANY_REPLICA,
    &routing::session::RECONNECTING_CLIENT,
    &routing::session::AFFINITY_EXPIRES,
    &routing::stray::WRONG_REPLICA_ANSWERS_FAST,
    &routing::stray::UNKNOWN_SESSION,
    &routing::stray::ISOLATION,
    &routing::owner::OWNER_KILLED,
    &routing::owner::OWNER_DELETED,
    &routing::owner::OWNER_STOPPED,
    &routing::change::SCALE_UP,
    &routing::change::SCALE_DOWN,
    &routing::change::ROLLING_UPDATE,
    &routing::spread::BALANCE,
    &routing::spread::STATELESS_ANY_REPLICA,
    &lifecycle::secret::MISSING_SECRET,
    &lifecycle::secret::SECRET_APPEARS_LATE,
    &lifecycle::start::CRASH_LOOP,
    // The wire, era by era.
    &sse::opening::OPENING,
    &sse::messages::POSTING,
    &sse::messages::SESSION_IDS,
    &sse::messages::MALFORMED,
    &sse::messages::BEFORE_INITIALIZE,
    // What all eras share.
    &session::origin::ORIGIN,
    &session::requests::UNKNOWN_NAMES,
    &session::requests::PINGS,
    &session::requests::VERSIONS,
    &session::requests::CONCURRENT,
    &session::requests::SIZES,
];
