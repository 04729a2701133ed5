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
#[path = "defects/without_row.rs"]
mod without_row;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use harness::check::{self, Check, ambient};
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

/// The defect that is none of the hub: its Deployment takes every replica away before it starts new ones.
const DEPLOYS_RECREATE: &str = "deploys-recreate";

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

/// A check that judges several transports passes through other code of a hub over each: a defect has to show it there, too.
#[test]
fn every_check_has_a_defect_over_each_transport_or_a_reason() {
    let mut wanted: BTreeSet<(&str, String)> = BTreeSet::new();
    for scenario in scenarios::CATALOG {
        for transport in scenario.outline.transports {
            let judges =
                |check: &&&Check| check.transports.is_empty() || check.transports.contains(transport);
            let checks = scenario.checks.iter().filter(judges);
            wanted.extend(checks.map(|check| (check.id, transport.to_string())));
        }
    }
    let rows: BTreeSet<(&str, String)> = table()
        .flat_map(|(_, cell, checks)| checks.iter().map(|check| (*check, transport_of(cell).to_owned())))
        .collect();
    let excused: BTreeSet<(&str, String)> = without_row::REASONS
        .iter()
        .flat_map(|(_, pairs)| pairs.iter().map(|(check, transport)| (*check, (*transport).to_owned())))
        .collect();
    let missing: BTreeSet<_> = wanted.difference(&rows).cloned().collect();
    assert_eq!(missing, excused, "what has no row needs a reason, and what has one needs none");
}

/// The transport of a row's cell: `sse` of `scale-down@off-sse`.
fn transport_of(cell: &str) -> &str {
    cell.rsplit(['@', '-']).next().unwrap_or_default()
}

/// The checks that one defect breaches in one cell, and what the cell's report says.
async fn breached((defect, filter, _): &Row) -> (BTreeSet<String>, String) {
    let mut timeouts = Timeouts::default();
    if NEVER_SETTLES.contains(defect) {
        timeouts.settle = IN_VAIN;
    }
    let rig = if *defect == DEPLOYS_RECREATE {
        support::rig_deploying(clean_rig().await, recreating)
    } else {
        support::rig_like(clean_rig().await, &[("DEFECT", defect)], timeouts)
    };
    let planned = support::planned(&rig, &[filter]);
    let (report, _) = support::cell(&rig, planned[0].cell).await;
    let found = check::breached(&report.findings).into_iter().map(str::to_owned).collect();
    (found, support::told(&report))
}

/// The Deployment with the strategy `Recreate`.
fn recreating(deployment: &str) -> String {
    let begin = deployment.find("  strategy:").expect("it has a strategy");
    let end = begin + deployment[begin..].find("  template:").expect("and a template after it");
    format!("{}  strategy: {{type: Recreate}}\n{}", &deployment[..begin], &deployment[end..])
}

/// What the hub offers is looked up without a defect: some defects would hide it.
async fn clean_rig() -> &'static Rig {
    static RIG: OnceCell<Arc<Rig>> = OnceCell::const_new();
    RIG.get_or_init(|| support::rig(&[])).await
}
