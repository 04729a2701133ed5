//! Real hubs that nobody here wrote, given as a command line. One of the peers runs here: PyPI `fastmcp<3` over HTTP+SSE;
//! `just peers` runs them all.
//!
//! Installed with pip into a virtual environment below the target folder, once. Without Python, pip or network these
//! tests fail and say so: a hub that was not run has not passed.

#[expect(dead_code, reason = "`just peers` uses the rest")]
#[path = "../examples/peers/peer.rs"]
mod peer;
#[path = "../examples/peers/verdicts.rs"]
mod verdicts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use peer::{ALLOWED, PEERS, Peer};
use serde_json::Value;
use verdicts::{Differences, Verdicts};

#[test]
fn two_replicas_without_affinity_lose_sessions_and_every_other_verdict_is_as_listed() {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = hubcheck(&["--report", &format!("json={}", report.path().display())]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "the hub does not conform:\n{told}");
    let verdicts = Verdicts::read().expect("the table is readable");
    let ran = verdicts::cells(report.path()).expect("the report is whole");
    assert_eq!(verdicts.compare("fastmcp2", &ran), Differences::default(), "{told}");
    let cells = cells(report.path());
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

#[test]
fn the_table_names_only_peers_and_cells_that_there_are() {
    let verdicts = Verdicts::read().expect("the table is readable");
    let outlines: Vec<_> = scenarios::CATALOG.iter().map(|scenario| scenario.outline).collect();
    let every = harness::plan::Offers::every_cell();
    let planned =
        harness::plan::plan(&outlines, &harness::plan::Selection::default(), &every).expect("all cells");
    let known: Vec<String> = planned.iter().map(|planned| planned.cell.to_string()).collect();
    for deviation in &verdicts.deviation {
        for cell in &deviation.cells {
            assert!(known.contains(cell), "there is no cell `{cell}`");
        }
        for name in &deviation.peers {
            assert!(PEERS.iter().any(|peer| peer.name == name), "there is no peer `{name}`");
        }
    }
}

#[test]
fn the_summary_in_the_docs_is_the_table_s() {
    let verdicts = Verdicts::read().expect("the table is readable");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence.md");
    let text = std::fs::read_to_string(readme).expect("docs/evidence.md is there");
    for peer in PEERS {
        let row = text.lines().find(|line| line.starts_with(&format!("| {} |", peer.title)));
        let row: Vec<&str> = row.expect("every peer has a row").split('|').map(str::trim).collect();
        for (of_routing, first) in [(true, 3), (false, 8)] {
            let wanted = ["warn", "fail", "not-applicable"]
                .map(|verdict| listed(&verdicts, peer, verdict, of_routing));
            let told = [0, 1, 2].map(|idx| row[first + idx].parse::<usize>().expect("a number"));
            assert_eq!(
                told, wanted,
                "{}: `just peers --bless` writes the table of docs/evidence.md anew",
                peer.name
            );
        }
    }
}

/// How many cells of `routing`, or of the wire, the table lists with this verdict for this peer.
fn listed(verdicts: &Verdicts, peer: &Peer, verdict: &str, of_routing: bool) -> usize {
    let of_peer =
        verdicts.deviation.iter().filter(|deviation| deviation.peers.iter().any(|name| name == peer.name));
    let such = of_peer.filter(|deviation| deviation.verdict == verdict);
    such.flat_map(|deviation| &deviation.cells)
        .filter(|cell| cell.starts_with("routing/") == of_routing)
        .count()
}

/// Runs the routing cells over HTTP+SSE against FastMCP 2.
fn hubcheck(args: &[&str]) -> Output {
    let (peer, cache) = fastmcp();
    Command::new(env!("CARGO_BIN_EXE_hubcheck"))
        .args(["run", "-v", "--command", &peer.command(cache, "sse")])
        .args(["--transport", "sse", "--ready-path", "/healthz", "--ready-timeout", "180", "routing"])
        .args(ALLOWED)
        .args(["--evidence", &format!("{}/fastmcp", env!("CARGO_TARGET_TMPDIR"))])
        .args(args)
        .output()
        .expect("hubcheck starts")
}

/// Each cell's row of a JSON report.
fn cells(report: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(report).expect("the report was written");
    let document: Value = serde_json::from_str(&text).expect("the report is JSON");
    let rows = document["cells"].as_array().expect("the report has cells").iter();
    rows.map(|row| (row["cell"].as_str().unwrap_or("").to_owned(), row.clone())).collect()
}

/// FastMCP 2 and the cache that it is in, installed once.
fn fastmcp() -> (&'static Peer, &'static Path) {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let peer = PEERS.iter().find(|peer| peer.name == "fastmcp2").expect("FastMCP 2 is a peer");
    let cache = CACHE.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers");
        peer.install(&cache).unwrap_or_else(|why| panic!("{why}"));
        cache
    });
    (peer, cache)
}
