//! Proves whether an MCP hub still works as several replicas behind a load balancer.
//!
//! ```text
//! CLI or cargo test -> plan -> cluster up -> drive (wire + faults) -> transcript -> checks -> verdict -> report
//! ```
//!
//! The modules stand in reading order. `plan`, `transcript`, `check` and `wire::frame` do no IO and are not async;
//! `wire` knows no cluster, `cluster` knows no MCP, and `run` is where they meet.

pub mod plan;
pub mod timeouts;
pub mod transcript;

pub mod check;

pub mod source;
pub mod wire;

pub mod cluster;

pub mod run;

pub mod report;

pub mod cli;
