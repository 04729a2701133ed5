//! What the command line says of the catalogue.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use super::told;

#[test]
fn list_names_every_scenario_and_cell() {
    let scenarios = told(&["list"]);
    for scenario in scenarios::CATALOG {
        assert!(scenarios.contains(scenario.outline.id), "{scenarios}");
    }
    let cells = told(&["list", "--cells", "owner-killed"]);
    assert_snapshot!(cells, @"
    exit code: 0
    ----- stdout -----
    routing/owner-killed@off-sse
    routing/owner-killed@off-streamable
    routing/owner-killed@client-ip-sse
    routing/owner-killed@client-ip-streamable
    ----- stderr -----
    ");
}

#[test]
fn list_of_a_family_says_what_each_check_enforces() {
    let listed = told(&["list", "--family", "sse"]);
    assert!(listed.contains("sse/opening"), "{listed}");
    for part in [
        "endpoint-first  must\n",
        "  rule: When a client connects, the server MUST send an `endpoint` event",
        "  source: https://modelcontextprotocol.io/specification/2024-11-05/",
        "  scenarios: sse/opening\n",
        "  remedy: hub: send `event: endpoint`",
    ] {
        assert!(listed.contains(part), "{part} is missing in {listed}");
    }
    assert!(!listed.contains("calls-answered"), "a check of another family: {listed}");
}

#[test]
fn the_table_of_the_catalogue_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFORMANCE.md");
    let committed = std::fs::read_to_string(path).expect("docs/CONFORMANCE.md is there");
    let output = Command::new(env!("CARGO_BIN_EXE_hubcheck")).args(["list", "--markdown"]).output();
    let printed = String::from_utf8(output.expect("hubcheck runs").stdout).expect("UTF-8");
    assert!(
        committed == printed,
        "docs/CONFORMANCE.md is not what the catalogue says: run `just conformance`"
    );
}

#[test]
fn what_is_not_checked_names_checks_that_there_are() {
    let of_scenarios = scenarios::CATALOG.iter().flat_map(|scenario| scenario.checks.iter());
    let known: Vec<&str> =
        of_scenarios.chain(harness::check::ambient::CHECKS).map(|check| check.id).collect();
    for unchecked in scenarios::UNCHECKED {
        for id in unchecked.nearest {
            assert!(known.contains(id), "there is no check `{id}`: {}", unchecked.rule);
        }
    }
}

#[test]
fn explain_takes_the_cause_of_a_finding() {
    for cause in harness::check::Cause::ALL {
        let told = told(&["explain", cause.id()]);
        assert!(told.starts_with("exit code: 0") && told.contains(&cause.to_string()), "{told}");
        for (_, remedy) in cause.remedies() {
            assert!(told.contains(remedy), "{remedy} in {told}");
        }
    }
}

#[test]
fn explain_says_what_why_which_rule_and_what_mends_it() {
    for scenario in scenarios::CATALOG {
        let told = told(&["explain", scenario.outline.id]);
        assert!(told.starts_with("exit code: 0"), "{told}");
        for part in [scenario.title, scenario.why, scenario.remedy, scenario.spec[0]] {
            assert!(told.contains(part), "{part} in {told}");
        }
        for check in scenario.checks {
            assert!(told.contains(check.id) && told.contains(check.sentence), "{told}");
        }
    }
}
