//! What tests run as `hubcheck supervise`: the harness itself has no binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The first argument is the subcommand's name.
    harness::cluster::supervisor::main(std::env::args_os().skip(2))
}
