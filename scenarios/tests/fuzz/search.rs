//! Looks for a case that fails, and shrinks it: proptest's runner, on cells of the embedded cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::{Verdict, breached};
use harness::plan::{Cell, Outline, Transport};
use harness::run::{Rig, Scenario, Setup, run_cell};
use harness::timeouts::Timeouts;
use harness::transcript::Transcript;
use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::drive::drive;
use crate::step::{Case, noise, storms};
use crate::support;

/// How many cells a search runs at the same time: they wait much more than they work.
const WORKERS: u32 = 4;

/// How many smaller cases are tried at most. Each costs a cell.
const SHRINKS: u32 = 60;

/// What the seeds of the default cases are made from: the same cases in every run, unless PROPTEST_CASES asks for others.
const SEED: u64 = 0x6875_6263;

/// What is looked for, and how hard.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// What its files are called.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) era: Transport,
    /// A defect of the hub, or none.
    pub(crate) defect: Option<&'static str>,
    /// How many cases are tried.
    pub(crate) cases: u32,
    /// How long a case that fails is made smaller at most: one in which somebody waits in vain takes seconds.
    pub(crate) shrinking: Duration,
}

/// What cases are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Several replicas that come and go.
    Storm,
    /// Odd requests at one replica.
    Noise,
}

/// A case that fails, as small as it could be made.
pub(crate) struct Found {
    pub(crate) case: Case,
    /// The checks that it breaches.
    pub(crate) checks: Vec<String>,
    /// What its report says.
    pub(crate) told: String,
    transcript: Transcript,
}

tokio::task_local! {
    /// The case that the cell of this task is about: a scenario is a value, and has none.
    static CASE: Case;
}

/// The scenario of every case. Nobody can run it by name, so that it is in no catalogue.
const STORM: Scenario = Scenario {
    outline: Outline {
        id: scenarios::fuzz::SCENARIO,
        affinities: &[],
        transports: &Transport::ALL,
        needs: &[],
    },
    title: "whatever clients send and whichever replicas come and go, each request gets what the contract owes it",
    why: "what nobody thought of",
    spec: &[harness::check::HUB_CONTRACT],
    remedy: "read the transcript from its last step backwards",
    guide: None,
    setup: Setup::ORDINARY,
    checks: scenarios::fuzz::RULES.checks,
    drive: |stage| async move { drive(stage, &CASE.get()).await }.boxed(),
};

const NOISE: Scenario = Scenario { setup: Setup::ONE_REPLICA, ..STORM };

/// How many cases: as many as PROPTEST_CASES says, or else so many.
pub(crate) fn cases(default: u32) -> u32 {
    asked_for().unwrap_or(default)
}

fn asked_for() -> Option<u32> {
    std::env::var("PROPTEST_CASES").ok()?.parse().ok()
}

// === impl Search ===

impl Search {
    /// Runs the cases until one fails, and makes that one small.
    pub(crate) fn run(self) -> Option<Found> {
        let clean = runtime().block_on(clean_rig());
        let is_found = AtomicBool::new(false);
        let found: Mutex<Option<Found>> = Mutex::new(None);
        let workers = WORKERS.min(self.cases);
        thread::scope(|scope| {
            for worker in 0..workers {
                let cases = self.cases / workers + u32::from(worker < self.cases % workers);
                let (is_found, found) = (&is_found, &found);
                scope.spawn(move || {
                    let one = self.worker(&self.rig(clean, worker), worker, cases, is_found);
                    if let Some(one) = one {
                        *found.lock().expect("no worker panics") = Some(one);
                    }
                });
            }
        });
        let found = found.into_inner().expect("no worker panics")?;
        let file = self.file();
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).expect("the folder can be made");
        std::fs::write(file, found.transcript.to_jsonl()).expect("the transcript can be written");
        Some(found)
    }

    /// Where the transcript of what is found is written, for `hubcheck check`.
    pub(crate) fn file(self) -> PathBuf {
        support::workspace().join("target/hubcheck/fuzz").join(format!("{}.jsonl", self.name))
    }

    fn rig(self, clean: &Rig, worker: u32) -> Arc<Rig> {
        let env: Vec<(&str, &str)> = self.defect.iter().map(|defect| ("DEFECT", *defect)).collect();
        let rig = support::rig_like(clean, &env, Timeouts::default());
        let mut rig = Arc::into_inner(rig).expect("nobody else has it yet");
        // Each writes the transcript of the case that it is at.
        rig.evidence = rig.evidence.join(self.name).join(worker.to_string());
        Arc::new(rig)
    }

    /// The first of some cases that fails, as small as it gets.
    fn worker(self, rig: &Arc<Rig>, worker: u32, cases: u32, is_found: &AtomicBool) -> Option<Found> {
        let rng_seed = match asked_for() {
            None => RngSeed::Fixed(SEED + u64::from(worker)),
            // What PROPTEST_RNG_SEED says, for each worker another one; or a new one.
            Some(_) => match Config::default().rng_seed {
                RngSeed::Fixed(seed) => RngSeed::Fixed(seed + u64::from(worker)),
                RngSeed::Random => RngSeed::Random,
            },
        };
        let config = Config {
            cases,
            rng_seed,
            failure_persistence: None,
            max_shrink_iters: SHRINKS,
            max_shrink_time: u32::try_from(self.shrinking.as_millis()).unwrap_or(u32::MAX),
            ..Config::default()
        };
        let found: Mutex<Option<Found>> = Mutex::new(None);
        let tried = TestRunner::new(config).run(&self.strategy(), |case| {
            let own = found.lock().expect("not poisoned").is_some();
            if !own && is_found.load(Ordering::SeqCst) {
                return Ok(());
            }
            match runtime().block_on(self.try_out(rig, case)) {
                None => Ok(()),
                // One is enough.
                Some(_) if !own && is_found.swap(true, Ordering::SeqCst) => Ok(()),
                Some(failed) => {
                    let told = failed.told.clone();
                    // Proptest goes on from the last case that failed: that is the smallest one.
                    *found.lock().expect("not poisoned") = Some(failed);
                    Err(TestCaseError::fail(told))
                }
            }
        });
        let found = found.into_inner().expect("not poisoned");
        assert_eq!(tried.is_err(), found.is_some(), "{tried:?}");
        found
    }

    fn strategy(self) -> BoxedStrategy<Case> {
        match self.kind {
            Kind::Storm => storms(self.era, 14).boxed(),
            Kind::Noise => noise(self.era, 40).boxed(),
        }
    }

    /// What a case that fails comes to.
    async fn try_out(self, rig: &Arc<Rig>, case: Case) -> Option<Found> {
        let scenario = match self.kind {
            Kind::Storm => &STORM,
            Kind::Noise => &NOISE,
        };
        let cell = Cell { scenario: scenarios::fuzz::SCENARIO, affinity: None, transport: Some(case.era) };
        let (report, transcript) = CASE.scope(case.clone(), run_cell(rig, &[scenario], cell)).await;
        if report.verdict <= Verdict::Warn && breached(&report.findings).is_empty() {
            return None;
        }
        let checks = breached(&report.findings).into_iter().map(str::to_owned).collect();
        Some(Found { case, checks, told: support::told(&report), transcript })
    }
}

/// What the cells of all searches run on.
fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime can be made"));
    &RUNTIME
}

/// What the hub offers is looked up once, without a defect.
async fn clean_rig() -> &'static Rig {
    static RIG: OnceCell<Arc<Rig>> = OnceCell::const_new();
    RIG.get_or_init(|| support::rig(&[])).await
}
