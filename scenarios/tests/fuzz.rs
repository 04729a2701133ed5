//! Sequences of steps that chance picked, against a model of what must happen.
//!
//! A case is a few steps over one era: clients open sessions, call, post what they should not, cancel and leave, while replicas
//! are killed and come and go. It runs as a cell of the embedded cluster, and what judges it is the cell's transcript alone: the
//! model's word on each request is a note in it. A case that fails is shrunk by proptest; its transcript is
//! in `target/hubcheck/fuzz/`, for `hubcheck check`.
//!
//! The default cases are the same in every run. PROPTEST_CASES asks for so many others, PROPTEST_RNG_SEED for the same others again.

#[path = "fuzz/drive.rs"]
mod drive;
#[path = "fuzz/model.rs"]
mod model;
#[path = "fuzz/post.rs"]
mod post;
#[path = "fuzz/search.rs"]
mod search;
#[path = "fuzz/step.rs"]
mod step;
mod support;
#[path = "fuzz/twist.rs"]
mod twist;

use std::process::Command;
use std::time::Duration;

use harness::cli::exit;
use harness::plan::Transport;
use rstest::rstest;
use search::{Kind, Search, cases};

/// How many cases of each era have replicas that come and go: each costs seconds.
const STORMS: u32 = 32;

/// How many cases of each era are odd requests at one replica.
const NOISES: u32 = 16;

/// How many cases may be needed to find a defect: one that takes a rare sequence of steps is not for every run.
const DEFECT_CASES: u32 = 60;

#[rstest]
#[case::sse("storm-sse", Transport::Sse)]
#[case::streamable("storm-streamable", Transport::Streamable)]
#[case::stateless("storm-stateless", Transport::Stateless)]
fn replicas_come_and_go(#[case] name: &'static str, #[case] era: Transport) {
    nothing_is_found(Search { cases: cases(STORMS), ..sound(name, Kind::Storm, era) });
}

#[rstest]
#[case::sse("noise-sse", Transport::Sse)]
#[case::streamable("noise-streamable", Transport::Streamable)]
#[case::stateless("noise-stateless", Transport::Stateless)]
fn clients_send_what_they_should_not(#[case] name: &'static str, #[case] era: Transport) {
    nothing_is_found(Search { cases: cases(NOISES), ..sound(name, Kind::Noise, era) });
}

/// Each of these defects is found, in a case that `hubcheck check` fails for the same reason when it has the transcript alone.
#[rstest]
#[case::executes_twice("executes-twice", Kind::Noise, Transport::Sse, &["executed-once"])]
#[case::crosses_streams("crosses-streams", Kind::Noise, Transport::Streamable, &["isolated"])]
#[case::crashes_on_call("crashes-on-call", Kind::Noise, Transport::Stateless, &["no-unexplained-restart"])]
#[case::accepts_unknown("accepts-unknown", Kind::Noise, Transport::Streamable, &["model"])]
#[case::bad_json_ends_session("bad-json-ends-session", Kind::Noise, Transport::Streamable, &["model"])]
#[case::fails_on_garbage("fails-on-garbage", Kind::Noise, Transport::Sse, &["model"])]
#[case::swallows_strays("swallows-strays", Kind::Storm, Transport::Sse, &["model"])]
#[case::keeps_dead_streams("keeps-dead-streams", Kind::Storm, Transport::Streamable, &["model", "orphans-told"])]
#[case::drops_calls_on_stop("drops-calls-on-stop", Kind::Storm, Transport::Streamable, &["model"])]
fn a_defect_is_found(
    #[case] defect: &'static str,
    #[case] kind: Kind,
    #[case] era: Transport,
    #[case] checks: &[&str],
) {
    let search = Search {
        defect: Some(defect),
        cases: DEFECT_CASES,
        shrinking: Duration::from_secs(10),
        ..sound(defect, kind, era)
    };
    let found = search.run().unwrap_or_else(|| panic!("{DEFECT_CASES} cases do not find `{defect}`"));
    // Which case is found first is chance.
    let is_meant = found.checks.iter().any(|breached| checks.contains(&breached.as_str()));
    assert!(is_meant, "{}\n{}", found.case, found.told);
    let judged = Command::new(support::HUBCHECK).arg("check").arg(search.file()).output();
    let judged = judged.expect("hubcheck can be started");
    let told = String::from_utf8_lossy(&judged.stdout);
    assert_eq!(judged.status.code(), Some(i32::from(exit::DOES_NOT_CONFORM)), "{told}");
    for breached in &found.checks {
        assert!(told.contains(&format!(" {breached}: ")), "`{breached}` is not in:\n{told}");
    }
}

/// A search in a hub without defects.
fn sound(name: &'static str, kind: Kind, era: Transport) -> Search {
    Search { name, kind, era, defect: None, cases: 0, shrinking: Duration::from_secs(30) }
}

fn nothing_is_found(search: Search) {
    if let Some(found) = search.run() {
        let file = search.file();
        panic!("{}\n{}\njudge it again: hubcheck check {}", found.case, found.told, file.display());
    }
}
