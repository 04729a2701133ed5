//! Every check catches something: each defect of the reference hub breaches exactly the checks that it is meant for.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::check::{self, ambient};
use harness::run::Rig;
use tokio::sync::OnceCell;

/// A defect, a cell that shows it, and the checks that it breaches there: these and no others.
const TABLE: &[(&str, &str, &[&str])] = &[
    ("loses-sessions", "session-survives-any-replica@client-ip-sse", &["calls-answered"]),
    ("loses-sessions", "session-survives-any-replica@client-ip-streamable", &["calls-answered"]),
    ("swallows-strays", "wrong-replica-answers-fast@sse", &["strays-answered-fast"]),
    ("swallows-strays", "wrong-replica-answers-fast@streamable", &["strays-answered-fast"]),
    ("hangs-on-strays", "wrong-replica-answers-fast@sse", &["strays-answered-fast"]),
    ("hangs-on-strays", "wrong-replica-answers-fast@streamable", &["strays-answered-fast"]),
    ("waits-for-stopped-owner", "owner-stopped@off-sse", &["strays-answered-fast"]),
    ("waits-for-stopped-owner", "owner-stopped@off-streamable", &["strays-answered-fast"]),
    ("accepts-unknown", "unknown-session@sse", &["unknown-refused"]),
    ("accepts-unknown", "unknown-session@streamable", &["unknown-refused", "terminated-is-404"]),
    ("unknown-is-503", "unknown-session@sse", &["never-issued-is-404"]),
    ("unknown-is-503", "unknown-session@streamable", &["never-issued-is-404"]),
    ("cuts-idle-streams", "scale-up@client-ip-streamable", &["streams-untouched"]),
    ("keeps-dead-streams", "owner-killed@off-streamable", &["orphans-told"]),
    ("refuses-second-session", "owner-killed@off-sse", &["new-session-works"]),
    ("executes-twice", "scale-down@off-sse", &["executed-once"]),
    ("executes-twice", "scale-down@off-streamable", &["executed-once"]),
    ("drops-calls-on-stop", "scale-down@off-sse", &["accepted-calls-kept"]),
    ("drops-calls-on-stop", "rolling-update@off-stateless", &["accepted-calls-kept"]),
    ("crosses-streams", "isolation@sse", &["isolated"]),
    ("crosses-streams", "isolation@streamable", &["isolated"]),
    ("refuses-sessions-at-odd-address", "balance@off-sse", &["every-replica-serves"]),
    ("replica-dependent-tools", "stateless-any-replica@stateless", &["answers-alike"]),
    ("replica-dependent-answers", "stateless-any-replica@stateless", &["answers-alike"]),
    ("answers-twice", "session-survives-any-replica@client-ip-sse", &["one-answer"]),
    ("answers-twice", "session-survives-any-replica@client-ip-streamable", &["one-answer"]),
    ("renumbers-answers", "session-survives-any-replica@client-ip-sse", &["own-stream", "calls-answered"]),
    ("speaks-garbage", "reconnecting-client@client-ip-sse", &["valid-http", "calls-answered"]),
    (
        "crashes-on-call",
        "session-survives-any-replica@client-ip-sse",
        &["no-unexplained-restart", "calls-answered"],
    ),
    ("shows-secrets", "wrong-replica-answers-fast@sse", &["no-secret-shown"]),
];

/// How many cells run at once.
const JOBS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn each_defect_breaches_exactly_its_checks() {
    let rows = futures_util::stream::iter(TABLE.iter().map(|row| async move { (row, breached(row).await) }));
    let wrong: Vec<String> =
        futures_util::StreamExt::collect::<Vec<_>>(futures_util::StreamExt::buffer_unordered(rows, JOBS))
            .await
            .into_iter()
            .filter_map(|((defect, cell, wanted), (found, told))| {
                let wanted: BTreeSet<String> = wanted.iter().map(|check| (*check).to_owned()).collect();
                (found != wanted)
                    .then(|| format!("{defect} on {cell}: wanted {wanted:?}, found {found:?}\n{told}"))
            })
            .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_check_has_a_defect() {
    let caught: BTreeSet<&str> = TABLE.iter().flat_map(|(_, _, checks)| checks.iter().copied()).collect();
    let of_scenarios = scenarios::CATALOG.iter().flat_map(|scenario| scenario.checks.iter());
    let all: BTreeSet<&str> = of_scenarios.chain(ambient::CHECKS).map(|check| check.id).collect();
    assert_eq!(caught, all, "each check needs a defect that it catches, and each row a check that there is");
}

/// The checks that one defect breaches in one cell, and what the cell's report says.
async fn breached((defect, filter, _): &(&str, &str, &[&str])) -> (BTreeSet<String>, String) {
    let rig = support::rig_like(clean_rig().await, &[("DEFECT", defect)]);
    let planned = support::planned(&rig, &[filter]);
    let (report, _) = support::cell(&rig, planned[0].cell).await;
    let found = check::breached(&report.findings).into_iter().map(str::to_owned).collect();
    (found, support::told(&report))
}

/// What the hub offers is looked up without a defect: some defects would hide it.
async fn clean_rig() -> &'static Rig {
    static RIG: OnceCell<Arc<Rig>> = OnceCell::const_new();
    RIG.get_or_init(|| support::rig(&[])).await
}
