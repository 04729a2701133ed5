//! The `local` backend, driven with a tiny server in place of a hub.

#![cfg(target_os = "linux")]

mod companions;
mod deployment;
mod network;
mod pods;
mod processes;
mod service;
mod support;
