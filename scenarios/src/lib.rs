//! The catalogue: every scenario of hubcheck, one module per family.

#[cfg(test)]
mod by_hand;
pub mod fuzz;
pub mod lifecycle;
mod probed;
mod quick;
pub mod routing;
pub mod session;
pub mod sse;
pub mod stateless;
pub mod streamable;
mod unchecked;
mod words;
mod work;

use harness::run::Scenario;

pub use quick::QUICK;
pub use unchecked::UNCHECKED;

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
    &lifecycle::secret::MISSING_SECRET_KEY,
    &lifecycle::secret::SECRET_APPEARS_LATE,
    &lifecycle::key::SECRET_ROTATED,
    &lifecycle::key::SECRET_DIFFERS,
    &lifecycle::image::IMAGE_MISSING,
    &lifecycle::start::CRASH_LOOP,
    &lifecycle::start::PORT_IN_USE,
    &lifecycle::start::SLOW_START,
    &lifecycle::rollout::STUCK_PROGRESSING,
    &lifecycle::probes::PROBES_AS_DEPLOYED,
    &lifecycle::serving::NOT_READY,
    &lifecycle::serving::READINESS_FLAPS,
    &lifecycle::serving::WEDGED_REPLICA,
    &lifecycle::serving::LIVENESS_RESTART,
    &lifecycle::memory::OOM_LIMIT,
    &lifecycle::memory::OOM_RAMP,
    &lifecycle::stopping::GRACEFUL_STOP,
    &lifecycle::stopping::ROLLOUT_WITH_PROBES,
    &lifecycle::stopping::SCALE_WITH_PROBES,
    &lifecycle::drain::NODE_DRAIN,
    &lifecycle::endpoint::WRONG_ENDPOINT,
    &lifecycle::nodes::SERVICE_REACHABLE,
    &lifecycle::nodes::AFFINITY_ACROSS_NODES,
    &lifecycle::nodes::AFFINITY_ACROSS_NODES_LOCAL,
    // The wire, era by era.
    &sse::opening::OPENING,
    &sse::messages::POSTING,
    &sse::messages::SESSION_IDS,
    &sse::messages::MALFORMED,
    &sse::messages::BEFORE_INITIALIZE,
    &streamable::messages::MESSAGES,
    &streamable::session_id::SESSION_ID,
    &streamable::version::VERSION_HEADER,
    &streamable::listening::GET_STREAM,
    &streamable::input::BAD_INPUT,
    &streamable::input::BATCHED,
    &streamable::disconnect::DISCONNECT,
    &streamable::resume::RESUME_ELSEWHERE,
    &stateless::discover::DISCOVERED,
    &stateless::headers::METADATA,
    &stateless::methods::METHODS,
    &stateless::streams::STREAMS,
    &stateless::cancel::CLOSE_CANCELS,
    &stateless::listen::LISTENING,
    &stateless::connection::CONNECTION,
    // What all eras share.
    &session::origin::ORIGIN,
    &session::requests::UNKNOWN_NAMES,
    &session::arguments::ARGUMENTS,
    &session::ping::PINGS,
    &session::requests::VERSIONS,
    &session::requests::STRING_IDS,
    &session::requests::CONCURRENT,
    &session::requests::SIZES,
    &session::headers::HEADERS,
    &session::spelling::HEADER_NAMES,
    &session::slash::TRAILING_SLASH,
    &session::token::UNAUTHORISED,
    &session::browser::BROWSERS,
    &session::idle::IDLE_STREAM,
    &session::cancel::CANCEL_RUNNING,
    &session::progress::PROGRESS,
    &session::compressed::COMPRESSED_STREAMS,
    &session::neighbour::NEIGHBOURS,
    &session::elsewhere::STRAYS_ALIKE,
    &session::elsewhere::CANCEL_ELSEWHERE,
    &session::answer::ANSWER_ELSEWHERE,
    &session::elsewhere::SAME_ID_IN_MANY,
    &session::elsewhere::TOOLS_ALIKE,
    &session::crowd::SLOW_READER,
    &session::crowd::VANISHING_CLIENTS,
    &session::crowd::ENDLESS_HEADS,
    &session::text::TEXT_AT_ANY_OFFSET,
    &session::blocking::TOOL_BLOCKS_OTHERS,
    &session::address::ONE_ADDRESS,
    &session::children::CHILDREN,
];
