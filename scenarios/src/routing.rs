//! Family `routing`: requests of one client reach different replicas, and replicas come and go.

pub mod change;
pub mod checks;
pub mod owner;
pub mod session;
pub mod spread;
pub mod stray;

use harness::plan::{Affinity, Transport};

/// Both affinities.
const EVERY_AFFINITY: &[Affinity] = &[Affinity::Off, Affinity::ClientIp];

/// The transports that have sessions.
pub(crate) const SESSIONS: &[Transport] = &[Transport::Sse, Transport::Streamable];

/// All transports.
pub(crate) const EVERY_TRANSPORT: &[Transport] =
    &[Transport::Sse, Transport::Streamable, Transport::Stateless];

/// Where the specification ties a session to an id that the client sends with every request.
const SPEC_SESSION: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management";

/// Where HTTP+SSE is specified.
const SPEC_HTTP_SSE: &str =
    "https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse";

/// Where 2026-07-28 says that every request stands alone.
const SPEC_STATELESS: &str = "https://modelcontextprotocol.io/specification/2026-07-28/basic#statelessness";

/// The guide's cure for in-memory sessions: the Service sends a client's connections to one replica.
const REMEDY_CLIENT_IP: &str = "Service: `spec.sessionAffinity: ClientIP` (and \
    `spec.sessionAffinityConfig.clientIP.timeoutSeconds: 10800`), or Ingress: \
    `nginx.ingress.kubernetes.io/upstream-hash-by: $binary_remote_addr`, or a hub that finds a session from every replica, or \
    Deployment: `spec.replicas: 1`";
