//! Every check catches something: each defect of the reference hub breaches exactly the checks that it is meant for.

#[path = "defects/lifecycle.rs"]
mod lifecycle;
#[path = "defects/routing.rs"]
mod routing;
#[path = "defects/session.rs"]
mod session;
#[path = "defects/sse.rs"]
mod sse;
#[path = "defects/stateless.rs"]
mod stateless;
#[path = "defects/streamable.rs"]
mod streamable;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use harness::check::{self, ambient};
use harness::run::Rig;
use harness::timeouts::Timeouts;
use tokio::sync::OnceCell;

/// A defect, a cell that shows it, and the checks that it breaches there: these and no others.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// Every row, family by family.
fn table() -> impl Iterator<Item = &'static Row> {
    [routing::ROWS, lifecycle::ROWS, sse::ROWS, streamable::ROWS, stateless::ROWS, session::ROWS]
        .into_iter()
        .flatten()
}

/// Defects that keep a cluster from ever becoming what its scenario waits for.
const NEVER_SETTLES: &[&str] = &["starts-without-secret", "hangs-without-secret", "never-ready"];

/// How long such a cluster is waited for.
const IN_VAIN: Duration = Duration::from_secs(15);

/// How many cells run at once.
const JOBS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn each_defect_breaches_exactly_its_checks() {
    let rows = futures_util::stream::iter(table().map(|row| async move { (row, breached(row).await) }));
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
    let caught: BTreeSet<&str> = table().flat_map(|(_, _, checks)| checks.iter().copied()).collect();
    let of_scenarios = scenarios::CATALOG.iter().flat_map(|scenario| scenario.checks.iter());
    let all: BTreeSet<&str> = of_scenarios.chain(ambient::CHECKS).map(|check| check.id).collect();
    assert_eq!(caught, all, "each check needs a defect that it catches, and each row a check that there is");
}

/// The checks that one defect breaches in one cell, and what the cell's report says.
async fn breached((defect, filter, _): &Row) -> (BTreeSet<String>, String) {
    let mut timeouts = Timeouts::default();
    if NEVER_SETTLES.contains(defect) {
        timeouts.settle = IN_VAIN;
    }
    let rig = support::rig_like(clean_rig().await, &[("DEFECT", defect)], timeouts);
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
