//! What the test files share: a rig for the reference hub, built once per test executable.

#![expect(dead_code, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use harness::cluster::kind::CLUSTER;
use harness::cluster::manifest::Manifests;
use harness::plan::{Cell, Planned, Selection, Transport, plan};
use harness::report::Silence;
use harness::run::kind_hub::{Keep, KindHub};
use harness::run::rig::{Hub, LocalHub};
use harness::run::{CellReport, Rig, reference, run_cell, run_cells};
use harness::timeouts::Timeouts;
use harness::transcript::Transcript;
use harness::wire::Dialect;

/// The `hubcheck` binary, which supervises replicas.
pub(crate) const HUBCHECK: &str = env!("CARGO_BIN_EXE_hubcheck");

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

/// The reference hub's binary, built once.
pub(crate) fn hub_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| reference::build(reference::Messages::Quiet).expect("the reference hub must build"))
}

/// Two replicas of the reference hub with these environment variables, surveyed.
pub(crate) async fn rig(env: &[(&str, &str)]) -> Arc<Rig> {
    let mut rig = unsurveyed(env);
    rig.survey(&Transport::ALL, true).await.expect("the reference hub speaks every transport");
    Arc::new(rig)
}

/// The same with these environment variables and limits, and with what another rig's survey found.
pub(crate) fn rig_like(other: &Rig, env: &[(&str, &str)], timeouts: Timeouts) -> Arc<Rig> {
    let mut rig = unsurveyed(env);
    rig.timeouts = Arc::new(timeouts);
    rig.offers = other.offers.clone();
    Arc::new(rig)
}

/// The same with manifests that differ from those of `kind/` by this edit of the Deployment's text.
pub(crate) fn rig_deploying(other: &Rig, edit: impl FnOnce(&str) -> String) -> Arc<Rig> {
    let read = |name: &str| {
        let file = workspace().join("kind").join(name);
        std::fs::read_to_string(file).expect("our manifests are readable")
    };
    let (deployment, service, secret) =
        (edit(&read("deployment.yaml")), read("service.yaml"), read("secret.yaml"));
    let files = [("deployment.yaml", &*deployment), ("service.yaml", &*service), ("secret.yaml", &*secret)];
    let manifests = Manifests::parse(&files).expect("they are manifests");
    let hub = LocalHub::new(Some(manifests), None, Vec::new(), None, Vec::new(), PathBuf::from(HUBCHECK))
        .and_then(|hub| hub.with_reference(|| Ok(hub_binary().to_owned()), |error| error))
        .expect("the reference hub runs with them");
    let hub = Hub::Local(Box::new(hub));
    let mut rig = Rig::new(hub, 2, Dialect::default(), Timeouts::default(), Vec::new(), evidence())
        .expect("a local rig needs no address");
    rig.offers = other.offers.clone();
    Arc::new(rig)
}

/// Whether HUBCHECK_BACKEND names the real cluster.
pub(crate) fn is_on_kind() -> bool {
    std::env::var("HUBCHECK_BACKEND").is_ok_and(|backend| backend == "kind")
}

/// Two replicas of the reference hub on the backend that HUBCHECK_BACKEND names: `local` unless it says `kind`.
pub(crate) async fn rig_on_backend() -> Arc<Rig> {
    let mut rig = match std::env::var("HUBCHECK_BACKEND").as_deref() {
        Err(_) | Ok("local") => unsurveyed(&[]),
        Ok("kind") => {
            let run = format!("test{}", std::process::id());
            let hub = KindHub::new(None, None, None, Vec::new(), run, Keep::Cluster);
            let cluster = std::env::var("HUBCHECK_CLUSTER").unwrap_or_else(|_| CLUSTER.to_owned());
            let hub = Hub::Kind(Box::new(hub.expect("our manifests are readable").on(&cluster)));
            Rig::new(hub, 2, Dialect::default(), Timeouts::default(), Vec::new(), evidence())
                .expect("a rig on KIND needs no address")
        }
        Ok(other) => panic!("HUBCHECK_BACKEND is `{other}`: this matrix runs on `local` and `kind`"),
    };
    rig.survey(&Transport::ALL, true).await.expect("the reference hub speaks every transport");
    Arc::new(rig)
}

fn unsurveyed(env: &[(&str, &str)]) -> Rig {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let hub =
        LocalHub::reference(hub_binary(), env, PathBuf::from(HUBCHECK)).expect("our manifests are readable");
    let hub = Hub::Local(Box::new(hub));
    Rig::new(hub, 2, Dialect::default(), Timeouts::default(), Vec::new(), evidence())
        .expect("a local rig needs no address")
}

/// Runs one cell on this rig.
pub(crate) async fn cell(rig: &Arc<Rig>, cell: Cell) -> (CellReport, Transcript) {
    run_cell(rig, scenarios::CATALOG, cell).await
}

/// Runs every cell that these filters name, so many at once.
pub(crate) async fn cells(rig: &Arc<Rig>, filters: &[&str], jobs: usize) -> Vec<CellReport> {
    let mut reports = Vec::new();
    run_cells(rig, scenarios::CATALOG, &planned(rig, filters), jobs, &mut Silence, &mut reports).await;
    reports
}

/// The cells that these filters name, and whether they apply on this rig.
pub(crate) fn planned(rig: &Rig, filters: &[&str]) -> Vec<Planned> {
    let outlines: Vec<_> = scenarios::CATALOG.iter().map(|scenario| scenario.outline).collect();
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let selection = Selection { filters, ..Selection::default() };
    plan(&outlines, &selection, &rig.offers).expect("the filters name cells")
}

/// What a cell's report says, for the message of an assertion.
pub(crate) fn told(report: &CellReport) -> String {
    let findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| {
            let at = finding.at.map(|at| format!(" at #{at}")).unwrap_or_default();
            format!("  {}: expected {}, but {}{at}", finding.check, finding.expected, finding.actual)
        })
        .collect();
    let transcript = report.transcript.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    format!("{} {}\n{}\n  transcript: {transcript}", report.verdict, report.cell, findings.join("\n"))
}

fn evidence() -> PathBuf {
    workspace().join("target/hubcheck/tests").join(std::process::id().to_string())
}
