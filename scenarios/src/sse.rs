//! Family `sse`: the rules of HTTP+SSE, revision 2024-11-05, which only concern that transport.

pub mod checks;
pub mod messages;
pub mod opening;

use harness::plan::Transport;

/// The transport of this family.
const SSE: &[Transport] = &[Transport::Sse];

/// Where HTTP+SSE is specified.
const SPEC: &str = "https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse";
