//! The `hubcheck` command: the catalogue, handed to the harness.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main(scenarios::CATALOG, scenarios::UNCHECKED)
}
