//! A real hub that nobody here wrote, given as a command line: PyPI `fastmcp<3` over HTTP+SSE.
//!
//! Installed with pip into a virtual environment below the target folder, once. Without Python, pip or network these
//! tests fail and say so: a hub that was not run has not passed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// What is installed.
const REQUIREMENT: &str = "fastmcp<3";

#[test]
fn two_replicas_without_affinity_lose_sessions_and_every_other_verdict_is_as_listed() {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = hubcheck(&["--report", &format!("json={}", report.path().display())]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "the hub does not conform:\n{told}");
    let cells = cells(report.path());
    let verdicts: BTreeMap<String, String> = cells
        .iter()
        .map(|(cell, row)| (cell.clone(), row["verdict"].as_str().unwrap_or("").to_owned()))
        .collect();
    assert_eq!(verdicts, listed(), "{told}");
    for scenario in ["session-survives-any-replica", "reconnecting-client"] {
        let row = &cells[&format!("routing/{scenario}@off-sse")];
        let actual = row["findings"][0]["actual"].as_str().unwrap_or("");
        let expected = row["findings"][0]["expected"].as_str().unwrap_or("");
        assert!(actual.contains("404 Could not find session"), "{actual}");
        let named: std::collections::BTreeSet<&str> = expected
            .split('`')
            .chain(actual.split('`'))
            .filter(|word| word.starts_with("mcp-hub-"))
            .collect();
        assert_eq!(named.len(), 2, "both replicas are named: {expected}; {actual}");
    }
}

#[test]
fn one_replica_fails_nothing() {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = hubcheck(&["--replicas", "1", "--report", &format!("json={}", report.path().display())]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let cells = cells(report.path());
    let with = |verdict: &str| cells.values().filter(|row| row["verdict"] == verdict).count();
    assert!(with("pass") >= 5, "cells that need one replica only do run:\n{told}");
    assert_eq!(with("fail") + with("inconclusive"), 0, "{told}");
}

/// Runs all cells over HTTP+SSE against FastMCP.
fn hubcheck(args: &[&str]) -> Output {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/fastmcp2.py");
    let command = format!("{} {} --host {{host}} --port {{port}}", python().display(), server.display());
    Command::new(env!("CARGO_BIN_EXE_hubcheck"))
        .args(["run", "--command", &command, "--transport", "sse"])
        .args(["--evidence", &format!("{}/fastmcp", env!("CARGO_TARGET_TMPDIR"))])
        .args(args)
        .output()
        .expect("hubcheck starts")
}

/// Each cell's row of a JSON report.
fn cells(report: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(report).expect("the report was written");
    let document: Value = serde_json::from_str(&text).expect("the report is JSON");
    assert_eq!(document["schema"], 1);
    let rows = document["cells"].as_array().expect("the report has cells").iter();
    rows.map(|row| (row["cell"].as_str().unwrap_or("").to_owned(), row.clone())).collect()
}

/// The committed verdicts.
fn listed() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/fastmcp2-sse.toml");
    let text = std::fs::read_to_string(path).expect("the table is there");
    let table: toml::Table = text.parse().expect("the table is TOML");
    let rows = table["verdict"].as_array().expect("it holds verdicts").iter();
    let field = |row: &toml::Value, name: &str| row[name].as_str().unwrap_or("").to_owned();
    rows.map(|row| (field(row, "cell"), field(row, "verdict"))).collect()
}

/// The virtual environment's interpreter, installed once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-fastmcp2");
        let python = venv.join("bin/python");
        let complete = venv.join("complete");
        if !complete.is_file() {
            install(&venv, &python);
            std::fs::write(&complete, REQUIREMENT).expect("the virtual environment can be marked");
        }
        python
    })
}

fn install(venv: &Path, python: &Path) {
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv).output();
    must(made, "`python3 -m venv` (Debian: apt-get install python3-venv)");
    let installed = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT])
        .output();
    must(installed, "`pip install 'fastmcp<3'`, which needs PyPI");
}

fn must(done: std::io::Result<Output>, what: &str) {
    let why = match done {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("FastMCP WAS NOT TESTED: this test needs {what}, and it failed: {why}");
}
