//! The reference MCP hub: what a hub that survives several replicas, kills and rollouts looks like.
//!
//! A request comes in through [`serve`], is admitted by [`origin`] and [`guard`] ([`cors`] tells browsers), and goes by its path to [`sse`] (HTTP+SSE, 2024-11-05) or to
//! [`streamable`] (Streamable HTTP with a session, and 2026-07-28 without one). Both ask [`replica`] where the session lives,
//! which reads it from the [`session_id`] alone: here ([`session`], and [`replay`] for a client that lost a stream), or at
//! another replica, to which [`forward`] carries the request. [`tools`] are what a client can call, [`official`] what the
//! official conformance suite calls, [`drain`] is how the process stops, [`defect`] is what can be broken on purpose, of which
//! [`tamper`] is the part that concerns HTTP alone and [`spoil`] the part that concerns messages on `/mcp`.
//!
//! The hub knows nothing of the harness that tests it, and nothing of Kubernetes beyond three environment variables.

pub mod app;
pub mod batch;
pub mod body;
mod children;
pub mod cli;
pub mod cors;
mod crowd;
pub mod defect;
pub mod drain;
pub mod forward;
pub mod guard;
pub mod handler;
pub mod heads;
pub mod latest;
pub mod official;
pub mod origin;
pub mod replay;
pub mod replica;
pub mod reply;
pub mod serve;
pub mod session;
pub mod session_id;
pub mod sessions;
pub mod spelled;
pub mod spoil;
pub mod sse;
pub mod streamable;
pub mod tamper;
pub mod tools;

/// Writes one line to stderr, where `kubectl logs` and a terminal both find it.
///
/// Session ids and secrets never go through here. A reader that is gone takes the line with it, and nothing else: `eprintln!`
/// would panic.
#[macro_export]
macro_rules! log {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

/// Locks `mutex`; a panic elsewhere does not make its data unusable here.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
