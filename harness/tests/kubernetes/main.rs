//! The backends `kind` and `kube` against an API server that is as old, or as new, as a test wants it: over HTTP, with the
//! answers of those versions. What cannot be shown on the one real cluster that tests have is shown here.

#![expect(clippy::unwrap_used, reason = "clippy sees no tests in the functions that tests share")]

mod ages;
mod api;
mod cell;
mod companions;
mod endpoints;
mod evictions;
mod forwarded;
mod objects;
mod observed;
mod refusals;
mod watches;
