//! Family `session`: the rules that all eras share, written once for every transport.

pub mod checks;
pub mod elsewhere;
pub mod origin;
pub mod progress;
pub mod requests;

use harness::plan::Transport;

/// All transports.
const EVERY_TRANSPORT: &[Transport] = &[Transport::Sse, Transport::Streamable, Transport::Stateless];

/// The transports that have sessions.
const SESSIONS: &[Transport] = &[Transport::Sse, Transport::Streamable];
