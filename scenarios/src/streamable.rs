//! Family `streamable`: the rules of Streamable HTTP, revisions 2025-03-26 to 2025-11-25. Those that 2026-07-28 took over are
//! judged there too.

pub mod checks;
pub mod disconnect;
pub mod input;
pub mod listening;
pub mod messages;
pub mod resume;
pub mod session_id;
pub mod version;

use harness::plan::Transport;

/// The transport of this family.
const STREAMABLE: &[Transport] = &[Transport::Streamable];

/// Where 2026-07-28 says the same.
const BOTH: &[Transport] = &[Transport::Streamable, Transport::Stateless];

/// Where messages of clients are specified.
const SPEC_SENDING: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server";

/// Where the stream that a GET opens is specified.
const SPEC_LISTENING: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server";

/// Where sessions are specified.
const SPEC_SESSION: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management";

/// Where `MCP-Protocol-Version` is specified.
const SPEC_VERSION: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#protocol-version-header";
