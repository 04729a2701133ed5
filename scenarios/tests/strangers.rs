//! The table of `just strangers`, and what makes one of its rows wrong.

#[path = "../examples/strangers/row.rs"]
mod row;

use std::io::Write;
use std::time::Duration;

use row::{Ran, Row, found, read};

fn row() -> Row {
    Row {
        name: "a fault".to_owned(),
        quick: true,
        beside: Vec::new(),
        run: "--command server".to_owned(),
        exit: 1,
        found: vec!["single-headers".to_owned()],
        causes: Some(["one-cause".to_owned()].into()),
        findings: Some(1),
        says: vec!["Mcp-Session-Id".to_owned()],
        never: vec!["ClientIP".to_owned(), "calls-answered".to_owned()],
        longest_s: 60,
    }
}

fn ran() -> Ran {
    let found = vec!["single-headers".to_owned()];
    let causes = ["one-cause".to_owned()].into();
    let said = "mcp-session-id comes twice".to_owned();
    Ran { code: Some(1), took: Duration::from_secs(5), found, causes, said }
}

#[test]
fn a_row_is_right_when_code_checks_words_and_time_are() {
    assert_eq!(row().wrong(&ran()), Vec::<String>::new());
    let wrong = |ran: Ran| row().wrong(&ran).len();
    assert_eq!(wrong(Ran { code: Some(0), ..ran() }), 1);
    assert_eq!(wrong(Ran { code: None, ..ran() }), 1);
    assert_eq!(wrong(Ran { said: String::new(), ..ran() }), 1);
    assert_eq!(wrong(Ran { said: "mcp-session-id; remedy: ClientIP".to_owned(), ..ran() }), 1);
    assert_eq!(wrong(Ran { took: Duration::from_secs(61), ..ran() }), 1);
    assert_eq!(wrong(Ran { found: vec!["calls-answered".to_owned()], ..ran() }), 2);
    assert_eq!(wrong(Ran { found: vec!["single-headers".to_owned(); 2], ..ran() }), 1);
    assert_eq!(wrong(Ran { causes: ["one-cause".to_owned(), "another".to_owned()].into(), ..ran() }), 1);
    assert_eq!(wrong(Ran { causes: Default::default(), ..ran() }), 1);
}

#[test]
fn only_cells_that_count_have_findings_and_a_run_without_report_has_none() {
    let mut report = tempfile::NamedTempFile::new().expect("a temporary file");
    let cells = r#"{"cells": [{"findings": [{"check": "a"}]}, {"what_if": "2 replicas", "findings": [{"check": "b"}]}]}"#;
    report.write_all(cells.as_bytes()).expect("it can be written");
    assert_eq!(found(report.path(), "check"), Ok(vec!["a".to_owned()]));
    assert_eq!(found(std::path::Path::new("no-such-report.json"), "check"), Ok(Vec::new()));
}

#[test]
fn the_committed_table_is_readable_and_its_quick_part_is_quick() {
    let rows = read().expect("the table is readable");
    let quick = rows.iter().filter(|row| row.quick);
    assert!(quick.count() > 10, "CI runs a part of it");
    for row in &rows {
        for line in row.lines() {
            assert!(shell_words::split(line).is_ok(), "{}: {line}", row.name);
        }
        assert!(
            row.exit == 0 || !row.says.is_empty() || !row.found.is_empty(),
            "{}: right words are missing",
            row.name
        );
    }
}
