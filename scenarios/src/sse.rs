//! Family `sse`: the rules of HTTP+SSE, revision 2024-11-05, which only concern that transport.

pub mod checks;
pub mod messages;
pub mod opening;

use std::time::Duration;

use harness::plan::Transport;

/// The transport of this family.
const SSE: &[Transport] = &[Transport::Sse];

/// How long a hub has to notice that the client closed its stream.
const CLOSING: Duration = Duration::from_secs(1);

/// Where HTTP+SSE is specified.
const SPEC: &str = "https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse";
