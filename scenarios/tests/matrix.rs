//! Every cell, on the embedded cluster or (HUBCHECK_BACKEND=kind) on a real one: the reference hub passes, and what happened equals the cell's snapshot.
//!
//! Run one: `cargo test --test matrix owner_killed`. After a change that is meant to change what happens:
//! `just bless`, then read `git diff snapshots/`.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use harness::check::Verdict;
use harness::plan::{Affinity, Cell, Transport};
use harness::run::{Rig, Scenario};
use harness::transcript::normal::normalise;
use rstest::rstest;
use scenarios::lifecycle::{
    drain, endpoint, image, key, memory, nodes, rollout, secret, serving, start, stopping,
};
use scenarios::routing::{change, owner, session, spread, stray};
use scenarios::session::requests;
use scenarios::{sse, stateless, streamable};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use A::{ClientIp, Off};
use T::{Sse, Stateless, Streamable};

/// A value of the affinity axis; `Any` where the scenario does not vary with it.
#[derive(Clone, Copy, Debug)]
enum A {
    Off,
    ClientIp,
    Any,
}

/// A value of the transport axis; `Any` where the scenario does not vary with it.
#[derive(Clone, Copy, Debug)]
enum T {
    Sse,
    Streamable,
    Stateless,
    Any,
}

/// One line per scenario; each expands to a test per cell.
macro_rules! matrix {
    ($($name:ident => $scenario:expr, [$($affinity:expr),+] x [$($transport:expr),+];)+) => {
        $(
            #[rstest]
            fn $name(
                #[values($($affinity),+)] affinity: A,
                #[values($($transport),+)] transport: T,
            ) {
                RUNTIME.block_on(conforms($scenario, affinity, transport));
            }
        )+

        /// Every cell that has a test here.
        fn listed() -> BTreeSet<String> {
            let mut cells = BTreeSet::new();
            $(
                for affinity in [$($affinity),+] {
                    for transport in [$($transport),+] {
                        cells.insert(the_cell($scenario, affinity, transport).to_string());
                    }
                }
            )+
            cells
        }
    };
}

matrix! {
    session_survives_any_replica => &session::SESSION_SURVIVES_ANY_REPLICA, [Off, ClientIp] x [Sse, Streamable];
    reconnecting_client => &session::RECONNECTING_CLIENT, [Off, ClientIp] x [Sse, Streamable, Stateless];
    affinity_expires => &session::AFFINITY_EXPIRES, [ClientIp] x [Sse, Streamable];
    wrong_replica_answers_fast => &stray::WRONG_REPLICA_ANSWERS_FAST, [A::Any] x [Sse, Streamable];
    unknown_session => &stray::UNKNOWN_SESSION, [A::Any] x [Sse, Streamable];
    isolation => &stray::ISOLATION, [A::Any] x [Sse, Streamable];
    owner_killed => &owner::OWNER_KILLED, [Off, ClientIp] x [Sse, Streamable];
    owner_deleted => &owner::OWNER_DELETED, [Off, ClientIp] x [Sse, Streamable];
    owner_stopped => &owner::OWNER_STOPPED, [Off, ClientIp] x [Sse, Streamable];
    scale_up => &change::SCALE_UP, [Off, ClientIp] x [Sse, Streamable, Stateless];
    scale_down => &change::SCALE_DOWN, [Off, ClientIp] x [Sse, Streamable, Stateless];
    rolling_update => &change::ROLLING_UPDATE, [Off, ClientIp] x [Sse, Streamable, Stateless];
    balance => &spread::BALANCE, [Off, ClientIp] x [Sse, Streamable, Stateless];
    stateless_any_replica => &spread::STATELESS_ANY_REPLICA, [A::Any] x [Stateless];
    // The wire, era by era.
    sse_opening => &sse::opening::OPENING, [A::Any] x [Sse];
    sse_posting => &sse::messages::POSTING, [A::Any] x [Sse];
    sse_session_ids => &sse::messages::SESSION_IDS, [A::Any] x [Sse];
    sse_malformed => &sse::messages::MALFORMED, [A::Any] x [Sse];
    sse_before_initialize => &sse::messages::BEFORE_INITIALIZE, [A::Any] x [Sse];
    streamable_messages => &streamable::messages::MESSAGES, [A::Any] x [Streamable, Stateless];
    streamable_session_id => &streamable::session_id::SESSION_ID, [A::Any] x [Streamable];
    streamable_version_header => &streamable::version::VERSION_HEADER, [A::Any] x [Streamable];
    streamable_get_stream => &streamable::listening::GET_STREAM, [A::Any] x [Streamable];
    streamable_bad_input => &streamable::input::BAD_INPUT, [A::Any] x [Streamable, Stateless];
    streamable_batch => &streamable::input::BATCHED, [A::Any] x [Streamable];
    streamable_disconnect => &streamable::disconnect::DISCONNECT, [A::Any] x [Streamable];
    streamable_resume_elsewhere => &streamable::resume::RESUME_ELSEWHERE, [A::Any] x [Streamable];
    stateless_discover => &stateless::discover::DISCOVERED, [A::Any] x [Stateless];
    stateless_metadata => &stateless::headers::METADATA, [A::Any] x [Stateless];
    stateless_methods => &stateless::methods::METHODS, [A::Any] x [Stateless];
    stateless_streams => &stateless::streams::STREAMS, [A::Any] x [Stateless];
    stateless_close_cancels => &stateless::cancel::CLOSE_CANCELS, [A::Any] x [Stateless];
    stateless_listen => &stateless::listen::LISTENING, [A::Any] x [Stateless];
    stateless_connection => &stateless::connection::CONNECTION, [A::Any] x [Stateless];
    // What all eras share.
    session_origin => &scenarios::session::origin::ORIGIN, [A::Any] x [Sse, Streamable, Stateless];
    session_unknown_names => &requests::UNKNOWN_NAMES, [A::Any] x [Sse, Streamable, Stateless];
    session_arguments => &scenarios::session::arguments::ARGUMENTS, [A::Any] x [Sse, Streamable, Stateless];
    session_ping => &scenarios::session::ping::PINGS, [A::Any] x [Sse, Streamable];
    session_versions => &requests::VERSIONS, [A::Any] x [Sse, Streamable];
    session_string_ids => &requests::STRING_IDS, [A::Any] x [Sse, Streamable, Stateless];
    session_concurrent => &requests::CONCURRENT, [A::Any] x [Sse, Streamable, Stateless];
    session_sizes => &requests::SIZES, [A::Any] x [Sse, Streamable, Stateless];
    session_headers => &scenarios::session::headers::HEADERS, [A::Any] x [Sse, Streamable, Stateless];
    session_header_names => &scenarios::session::spelling::HEADER_NAMES, [A::Any] x [Sse, Streamable, Stateless];
    session_trailing_slash => &scenarios::session::slash::TRAILING_SLASH, [A::Any] x [Sse, Streamable, Stateless];
    session_unauthorised_refused => &scenarios::session::token::UNAUTHORISED, [A::Any] x [Sse, Streamable, Stateless];
    session_browser => &scenarios::session::browser::BROWSERS, [A::Any] x [Sse, Streamable, Stateless];
    session_idle_stream => &scenarios::session::idle::IDLE_STREAM, [A::Any] x [Sse, Streamable];
    session_cancel => &scenarios::session::cancel::CANCEL_RUNNING, [A::Any] x [Sse, Streamable];
    session_progress => &scenarios::session::progress::PROGRESS, [A::Any] x [Sse, Streamable, Stateless];
    session_compressed_streams => &scenarios::session::compressed::COMPRESSED_STREAMS, [A::Any] x [Sse, Streamable, Stateless];
    session_neighbours => &scenarios::session::neighbour::NEIGHBOURS, [A::Any] x [Sse, Streamable];
    session_strays_alike => &scenarios::session::elsewhere::STRAYS_ALIKE, [A::Any] x [Sse, Streamable];
    session_cancel_elsewhere => &scenarios::session::elsewhere::CANCEL_ELSEWHERE, [A::Any] x [Sse, Streamable];
    session_answer_elsewhere => &scenarios::session::answer::ANSWER_ELSEWHERE, [A::Any] x [Sse, Streamable];
    session_same_id_in_many => &scenarios::session::elsewhere::SAME_ID_IN_MANY, [A::Any] x [Sse, Streamable];
    session_tools_alike => &scenarios::session::elsewhere::TOOLS_ALIKE, [A::Any] x [Sse, Streamable, Stateless];
    session_slow_reader => &scenarios::session::crowd::SLOW_READER, [A::Any] x [Sse, Streamable, Stateless];
    session_vanishing_clients => &scenarios::session::crowd::VANISHING_CLIENTS, [A::Any] x [Sse, Streamable, Stateless];
    session_endless_heads => &scenarios::session::crowd::ENDLESS_HEADS, [A::Any] x [Sse, Streamable, Stateless];
    session_text_at_any_offset => &scenarios::session::text::TEXT_AT_ANY_OFFSET, [A::Any] x [Sse, Streamable, Stateless];
    session_tool_blocks_others => &scenarios::session::blocking::TOOL_BLOCKS_OTHERS, [A::Any] x [Sse, Streamable, Stateless];
    session_one_address => &scenarios::session::address::ONE_ADDRESS, [A::Any] x [Sse, Streamable, Stateless];
    session_children => &scenarios::session::children::CHILDREN, [A::Any] x [Sse, Streamable];
    missing_secret => &secret::MISSING_SECRET, [A::Any] x [T::Any];
    missing_secret_key => &secret::MISSING_SECRET_KEY, [A::Any] x [T::Any];
    secret_appears_late => &secret::SECRET_APPEARS_LATE, [A::Any] x [T::Any];
    secret_rotated => &key::SECRET_ROTATED, [A::Any] x [T::Any];
    secret_differs_per_replica => &key::SECRET_DIFFERS, [A::Any] x [T::Any];
    image_missing => &image::IMAGE_MISSING, [A::Any] x [T::Any];
    crash_loop => &start::CRASH_LOOP, [A::Any] x [T::Any];
    port_in_use => &start::PORT_IN_USE, [A::Any] x [T::Any];
    slow_start => &start::SLOW_START, [A::Any] x [T::Any];
    stuck_progressing => &rollout::STUCK_PROGRESSING, [A::Any] x [T::Any];
    probes_as_deployed => &scenarios::lifecycle::probes::PROBES_AS_DEPLOYED, [A::Any] x [T::Any];
    not_ready => &serving::NOT_READY, [A::Any] x [T::Any];
    readiness_flaps => &serving::READINESS_FLAPS, [A::Any] x [Sse, Streamable];
    wedged_replica => &serving::WEDGED_REPLICA, [A::Any] x [Sse, Streamable];
    liveness_restart => &serving::LIVENESS_RESTART, [A::Any] x [Sse, Streamable];
    oom_limit => &memory::OOM_LIMIT, [A::Any] x [Sse, Streamable];
    oom_ramp => &memory::OOM_RAMP, [A::Any] x [Sse, Streamable];
    graceful_stop => &stopping::GRACEFUL_STOP, [A::Any] x [Sse, Streamable, Stateless];
    rollout_with_probes => &stopping::ROLLOUT_WITH_PROBES, [A::Any] x [Sse, Streamable, Stateless];
    scale_with_probes => &stopping::SCALE_WITH_PROBES, [A::Any] x [Sse, Streamable, Stateless];
    node_drain => &drain::NODE_DRAIN, [A::Any] x [Sse, Streamable, Stateless];
    wrong_endpoint => &endpoint::WRONG_ENDPOINT, [A::Any] x [T::Any];
    service_reachable => &nodes::SERVICE_REACHABLE, [A::Any] x [T::Any];
    affinity_across_nodes => &nodes::AFFINITY_ACROSS_NODES, [ClientIp] x [Sse, Streamable];
    affinity_across_nodes_local => &nodes::AFFINITY_ACROSS_NODES_LOCAL, [ClientIp] x [Sse, Streamable];
}

#[test]
fn every_cell_has_a_test_and_the_plan_is_as_committed() {
    let rig = RUNTIME.block_on(rig());
    let planned = support::planned(&rig, &[]);
    let cells: BTreeSet<String> = planned.iter().map(|plan| plan.cell.to_string()).collect();
    assert_eq!(listed(), cells, "the tests of this file must be the cells of the catalogue");
    if support::is_on_kind() {
        let lacking: Vec<_> = planned.iter().filter(|plan| plan.lacks.is_some()).collect();
        assert!(lacking.is_empty(), "a real cluster has everything: {lacking:?}");
        return;
    }
    let lines = planned.iter().map(|plan| match plan.lacks {
        Some(need) => format!("{} needs {need}\n", plan.cell),
        None => format!("{}\n", plan.cell),
    });
    snapshot("", "plan", &lines.collect::<String>());
}

#[test]
fn every_snapshot_belongs_to_a_cell() {
    let mut known = listed();
    known.insert("plan".to_owned());
    let mut folders = vec![support::workspace().join("snapshots")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the snapshots are there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "snap") {
                let family = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                found.insert(if family == "snapshots" {
                    stem.to_owned()
                } else {
                    format!("{family}/{stem}")
                });
            }
        }
    }
    assert_eq!(found, known, "one snapshot per cell, and the plan");
}

/// Runs the cell; it must pass, and its transcript must be the committed one. Pass says that nothing warns either: so it passes under
/// `--strict`, which turns some warnings into failures and judges nothing else.
async fn conforms(scenario: &'static Scenario, affinity: A, transport: T) {
    let cell = the_cell(scenario, affinity, transport);
    let rig = rig().await;
    let plan = support::planned(&rig, &[&cell.to_string()]);
    if plan.iter().any(|plan| plan.lacks.is_some()) {
        // That this backend cannot run it is in the plan's snapshot; its own is of a backend that can.
        assert!(!support::is_on_kind(), "{plan:?}");
        return;
    }
    let (report, transcript) = support::cell(&rig, cell).await;
    assert_eq!(report.verdict, Verdict::Pass, "{}", support::told(&report));
    snapshot(
        cell.family(),
        &cell.to_string().replace(&format!("{}/", cell.family()), ""),
        &normalise(&transcript),
    );
}

fn the_cell(scenario: &'static Scenario, affinity: A, transport: T) -> Cell {
    let affinity = match affinity {
        A::Off => Some(Affinity::Off),
        A::ClientIp => Some(Affinity::ClientIp),
        A::Any => None,
    };
    let transport = match transport {
        T::Sse => Some(Transport::Sse),
        T::Streamable => Some(Transport::Streamable),
        T::Stateless => Some(Transport::Stateless),
        T::Any => None,
    };
    Cell { scenario: scenario.outline.id, affinity, transport }
}

fn snapshot(family: &str, name: &str, content: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(support::workspace().join("snapshots").join(family));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, content));
}

/// One runtime for all tests: connections to a real cluster are shared, and end with the runtime that made them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made")
});

/// One survey for all cells of this executable.
async fn rig() -> Arc<Rig> {
    static RIG: OnceCell<Arc<Rig>> = OnceCell::const_new();
    Arc::clone(RIG.get_or_init(support::rig_on_backend).await)
}
