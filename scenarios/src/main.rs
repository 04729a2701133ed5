//! The `hubcheck` command: the catalogue, its quick profile, and what judges the fuzzer's transcripts, handed to the harness.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main(scenarios::CATALOG, scenarios::QUICK, scenarios::UNCHECKED, &[scenarios::fuzz::RULES])
}
