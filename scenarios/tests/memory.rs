//! The fault that started it all: with sessions in one process's memory exactly the listed cells fail.

mod support;

use std::collections::BTreeSet;

use harness::check::Verdict;
use harness::cli::Expected;

/// How many cells run at once.
const JOBS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_sessions_fail_exactly_the_listed_cells() {
    let list = support::workspace().join("scenarios/expected/memory.toml");
    let expected = Expected::read(&list).expect("the list is readable");
    let rig = support::rig(&[("SESSIONS", "memory")]).await;
    let reports = support::cells(&rig, &[], JOBS).await;
    let known: BTreeSet<String> = reports.iter().map(|report| report.cell.to_string()).collect();
    let listed: BTreeSet<String> = expected.failure.iter().map(|failure| failure.cell.clone()).collect();
    assert!(listed.is_subset(&known), "the list names only cells that there are");
    // What the backend lacks says nothing of the sessions.
    for report in reports.iter().filter(|report| report.lacks.is_none()) {
        let wanted = if listed.contains(&report.cell.to_string()) { Verdict::Fail } else { Verdict::Pass };
        assert_eq!(report.verdict, wanted, "{}", support::told(report));
    }
}
