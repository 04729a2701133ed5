//! Family `stateless`: the rules of revision 2026-07-28, in which every request stands alone.

pub mod cancel;
pub mod checks;
pub mod connection;
pub mod discover;
pub mod headers;
pub mod listen;
pub mod methods;
mod older;
pub mod streams;

use harness::plan::Transport;

/// The transport of this family.
const STATELESS: &[Transport] = &[Transport::Stateless];

/// The revision.
const REVISION: &str = "2026-07-28";

/// Where headers and body are compared.
const SPEC_VALIDATION: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#server-validation";

/// Where the version of a request is specified.
const SPEC_VERSION: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#protocol-version-header";

/// Where answers on a stream are specified.
const SPEC_RECEIVING: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#receiving-messages";

/// Where what a request says of itself is specified.
const SPEC_META: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic#meta";

/// Where results are specified.
const SPEC_RESULT: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic#result-responses";

/// Where 2026-07-28 says that every request stands alone.
const SPEC_STATELESS: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic#statelessness";

/// What a server of this revision alone makes of what older clients send.
const SPEC_EARLIER: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#earlier-streamable-http-revisions";
