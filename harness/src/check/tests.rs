//! What verdicts come to.

use super::*;
use crate::transcript::{Symptom, What};

pub(super) fn judged(checks: &[&Check], entries: Vec<What>) -> Judged {
    judge(&transcript(entries), checks, &Offers::default(), Strictness::Ordinary)
}

pub(super) fn transcript(entries: Vec<What>) -> Transcript {
    let header = crate::transcript::Header::made_by_hand("local", None);
    let entry = |(idx, what): (usize, What)| {
        let seq = u32::try_from(idx + 1).unwrap();
        crate::transcript::Entry { seq, at_us: u64::from(seq), what }
    };
    let entries = entries.into_iter().enumerate().map(entry).collect();
    Transcript { header, entries }
}

const PLAIN: Check = Check {
    id: "plain",
    level: Level::Must,
    sentence: "a sentence",
    source: HUB_CONTRACT,
    remedy: "a remedy",
    transports: &[],
    needs: &[],
    judge: |_| Judgement { judged: 1, ..Judgement::default() },
};
const IDLE: Check = Check { id: "idle", judge: |_| Judgement::default(), ..PLAIN };
const WARNS: Check = Check {
    id: "warns",
    level: Level::Should,
    judge: |_| {
        let breach = Breach { expected: String::new(), actual: String::new(), at: None };
        Judgement { judged: 1, breaches: vec![breach], ..Judgement::default() }
    },
    ..PLAIN
};
pub(super) const FAILS: Check = Check { id: "fails", level: Level::Must, ..WARNS };

const OPTIONAL: Check = Check {
    id: "optional",
    judge: |_| {
        let mut judgement = Judgement::default();
        judgement.idle_because("the hub sent none");
        judgement
    },
    ..PLAIN
};

#[test]
fn what_a_hub_may_leave_out_is_not_judged_and_alone_it_makes_the_cell_not_applicable() {
    let not_judged =
        |judged: &Judged| judged.not_judged.iter().map(|not| not.why.to_string()).collect::<Vec<_>>();
    let rest = judged(&[&PLAIN, &OPTIONAL], Vec::new());
    assert_eq!((rest.verdict, not_judged(&rest)), (Verdict::Pass, vec!["the hub sent none".to_owned()]));
    let alone = judged(&[&OPTIONAL], Vec::new());
    assert_eq!(alone.verdict, Verdict::NotApplicable);
    assert_eq!(alone.lacks, Some(Lack::Reason("the hub sent none".to_owned())));
    let broken = What::Broken { reason: "no Docker".to_owned() };
    assert_eq!(judged(&[&OPTIONAL], vec![broken]).verdict, Verdict::Inconclusive);
    assert_eq!(
        judged(&[&OPTIONAL, &IDLE], Vec::new()).verdict,
        Verdict::Inconclusive,
        "the other has no reason"
    );
}

#[test]
fn what_a_scenario_could_not_bring_about_is_the_reason_of_every_check_that_had_nothing_to_look_at() {
    let why = || vec![What::NotBroughtAbout { reason: "no session had a stream".to_owned() }];
    assert_eq!(judged(&[&IDLE], why()).verdict, Verdict::NotApplicable);
    assert_eq!(judged(&[&IDLE, &PLAIN], why()).verdict, Verdict::Pass);
    assert_eq!(judged(&[&IDLE, &FAILS], why()).verdict, Verdict::Fail, "a finding stays one");
}

/// Found by the fuzzer: a pod that was told to go before its container ran.
#[test]
fn a_pod_that_was_told_to_go_may_run_and_end_and_one_that_was_killed_must_not_end_again() {
    use crate::transcript::{Fault, PodChange};
    let pod = |change| What::Pod { pod: "a".to_owned(), change };
    let runs = || pod(PodChange::Running { restarts: 0 });
    let ends = || pod(PodChange::Terminated { reason: "Error".to_owned(), exit_code: 143, by: None });
    let killed = What::Fault(Fault::Kill { replica: "a".to_owned() });
    let verdict = |entries| judged(&[&PLAIN], entries).verdict;
    assert_eq!(verdict(vec![pod(PodChange::Terminating), runs(), ends()]), Verdict::Pass);
    assert_eq!(verdict(vec![runs(), killed.clone(), ends(), runs()]), Verdict::Pass);
    assert_eq!(verdict(vec![runs(), killed, ends(), runs(), ends()]), Verdict::Fail);
}

/// As a busy node told it, whose runtime had lost the kernel's event; where the event comes after all, the reason is
/// another in the end than when the process was seen to end.
#[test]
fn a_kill_for_memory_explains_an_end_that_does_not_say_so_and_no_crash() {
    use crate::transcript::{PodChange, Told};
    let verdict = |exit_code, reason: &str| {
        let ended = PodChange::Terminated { reason: "Error".to_owned(), exit_code, by: None };
        let told = Told {
            pod: Some("a".to_owned()),
            reason: reason.to_owned(),
            message: "exit code 137".to_owned(),
        };
        let symptom = What::Symptom {
            symptom: Symptom::OutOfMemory,
            naming: Vec::new(),
            took_ms: 1,
            told: Some(told),
            instead: None,
        };
        judged(&[&PLAIN], vec![What::Pod { pod: "a".to_owned(), change: ended }, symptom]).verdict
    };
    assert_eq!(verdict(137, "Error"), Verdict::Pass);
    assert_eq!(verdict(137, "OOMKilled"), Verdict::Pass);
    assert_eq!(verdict(101, "OOMKilled"), Verdict::Fail, "a panic is none");
}

#[test]
fn a_check_with_nothing_to_judge_is_no_pass_in_any_order() {
    assert_eq!(judged(&[&PLAIN], Vec::new()).verdict, Verdict::Pass);
    for checks in [[&IDLE, &PLAIN], [&PLAIN, &IDLE], [&IDLE, &WARNS], [&WARNS, &IDLE]] {
        assert_eq!(judged(&checks, Vec::new()).verdict, Verdict::Inconclusive, "{checks:?}");
    }
    for checks in [[&IDLE, &FAILS], [&FAILS, &IDLE]] {
        let judged = judged(&checks, Vec::new());
        assert_eq!(
            (judged.verdict, judged.findings.len()),
            (Verdict::Fail, 1),
            "what failed is why: {checks:?}"
        );
    }
}

#[test]
fn a_run_that_broke_off_says_so_once() {
    let judged = judged(&[&IDLE, &IDLE], vec![What::Broken { reason: "no cluster".to_owned() }]);
    assert_eq!((judged.verdict, judged.findings.len()), (Verdict::Inconclusive, 1));
}

#[test]
fn a_check_is_not_applied_without_what_it_needs() {
    const NEEDY: Check = Check { needs: &[Need::Replicas(2)], ..FAILS };
    let judged = judged(&[&NEEDY], Vec::new());
    assert_eq!(judged.verdict, Verdict::Pass);
    let why = Lack::Need(Need::Replicas(2));
    assert_eq!(judged.not_judged, [NotJudged { check: "fails", why }]);
}

#[test]
fn an_event_that_does_not_come_proves_nothing() {
    let untold = |symptom| {
        let instead = Some("nothing".to_owned());
        vec![What::Symptom { symptom, naming: Vec::new(), took_ms: 1, told: None, instead }]
    };
    assert_eq!(judged(&[&PLAIN], untold(Symptom::NotLive)).verdict, Verdict::Inconclusive);
    assert_eq!(judged(&[&PLAIN], untold(Symptom::NotReady)).verdict, Verdict::Pass, "for checks to judge");
}

#[test]
fn a_pass_that_may_be_luck_is_none() {
    let luck = |probability| vec![What::Luck { of: "two requests".to_owned(), probability }];
    assert_eq!(judged(&[&PLAIN], luck(9e-7)).verdict, Verdict::Pass);
    assert_eq!(judged(&[&PLAIN], luck(0.25)).verdict, Verdict::Inconclusive);
}

#[test]
fn strictness_changes_what_the_field_ignores_and_nothing_else() {
    const BROKEN: Check = Check {
        id: "broken",
        level: Level::Must,
        sentence: "a sentence",
        source: HUB_CONTRACT,
        remedy: "a remedy",
        transports: &[],
        needs: &[],
        judge: |_| Judgement::default(),
    };
    let verdict = |level, strictness| {
        let breach = Breach { expected: String::new(), actual: String::new(), at: None };
        Check { level, ..BROKEN }.finding(breach, strictness).verdict
    };
    for (level, ordinary, strict) in [
        (Level::Must, Verdict::Fail, Verdict::Fail),
        (Level::Contract, Verdict::Fail, Verdict::Fail),
        (Level::Should, Verdict::Warn, Verdict::Warn),
        (Level::IgnoredMust, Verdict::Warn, Verdict::Fail),
    ] {
        assert_eq!(verdict(level, Strictness::Ordinary), ordinary, "{level}");
        assert_eq!(verdict(level, Strictness::Strict), strict, "{level}");
    }
}
