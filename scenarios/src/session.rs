//! Family `session`: the rules that all eras share, written once for every transport.

pub mod address;
pub mod answer;
pub mod arguments;
pub mod blocking;
pub mod browser;
pub mod cancel;
pub mod checks;
pub mod children;
pub mod compressed;
pub mod crowd;
pub mod elsewhere;
pub mod headers;
pub mod idle;
pub mod neighbour;
pub mod origin;
pub mod ping;
pub mod progress;
pub mod requests;
pub mod slash;
pub mod spelling;
pub mod text;
pub mod token;

use harness::plan::Transport;

/// All transports.
const EVERY_TRANSPORT: &[Transport] = &[Transport::Sse, Transport::Streamable, Transport::Stateless];

/// The transports that have sessions.
const SESSIONS: &[Transport] = &[Transport::Sse, Transport::Streamable];
