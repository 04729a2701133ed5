//! The wire client against small servers that say exactly what a test wants, byte for byte.

#![expect(clippy::unwrap_used, reason = "clippy sees no tests in the functions that tests share")]

mod exchanges;
mod fake;
mod frames;
mod heads;
mod http_sse;
mod https;
mod kept;
mod streamable;
