//! Family `session`: the rules that all eras share, written once for every transport.

pub mod checks;
pub mod origin;

use harness::plan::Transport;

/// All transports.
const EVERY_TRANSPORT: &[Transport] = &[Transport::Sse, Transport::Streamable, Transport::Stateless];
