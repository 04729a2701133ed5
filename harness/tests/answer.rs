//! The answer at the end of a run: one screen, the verdict first, one entry for each fault.

use std::time::Duration;

use harness::check::{Cause, Finding, Level, Verdict};
use harness::plan::{Affinity, Cell, Transport, WhatIf};
use harness::report::answer::answer;
use harness::report::{About, Summary};
use harness::run::CellReport;
use insta::assert_snapshot;

fn about(is_whole: bool) -> About {
    About {
        backend: "local".to_owned(),
        hub: "python server.py".to_owned(),
        replicas: 2,
        run: "3a2bb52b".to_owned(),
        notes: Vec::new(),
        rerun: "hubcheck run --command 'python server.py'".to_owned(),
        is_whole,
        ..About::default()
    }
}

fn report(scenario: &'static str, affinity: Option<Affinity>, findings: Vec<Finding>) -> CellReport {
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Pass);
    CellReport {
        cell: Cell { scenario, affinity, transport: Some(Transport::Sse) },
        verdict,
        findings,
        lacks: None,
        what_if: None,
        not_judged: Vec::new(),
        took: Duration::from_secs(1),
        notes: Vec::new(),
        transcript: Some("cell.jsonl".into()),
        evidence: None,
    }
}

fn finding(check: &str, verdict: Verdict, cause: Option<Cause>) -> Finding {
    Finding {
        check: check.to_owned(),
        verdict,
        level: Some(Level::Contract),
        requirement: "every request gets its answer".to_owned(),
        source: "hub contract".to_owned(),
        expected: "an answer".to_owned(),
        actual: "404 Could not find \u{1b}[31msession\r\n; the session is on `hub-a`".to_owned(),
        at: Some(9),
        remedy: "Service: `spec.sessionAffinity: ClientIP`, or Deployment: `spec.replicas: 1`".to_owned(),
        cause,
    }
}

fn told(is_whole: bool, reports: Vec<CellReport>) -> String {
    let summary = Summary { reports, took: Duration::from_secs(6), ..Summary::default() };
    let lines = answer(&about(is_whole), &summary);
    assert!(lines.len() <= 24, "{lines:?}");
    let is_wide = |line: &&String| line.chars().count() > 80 && !line.starts_with("  again: ");
    assert_eq!(lines.iter().find(is_wide), None);
    assert!(!lines.iter().any(|line| line.contains(char::is_control)), "{lines:?}");
    lines.join("\n")
}

#[test]
fn one_cause_behind_many_checks_is_told_once() {
    let cause = Some(Cause::SessionsInOneProcess);
    let fails = |check| vec![finding(check, Verdict::Fail, cause)];
    let reports = vec![
        report("routing/a", Some(Affinity::Off), fails("calls-answered")),
        report("routing/b", Some(Affinity::Off), fails("new-session-works")),
        report("routing/a", Some(Affinity::ClientIp), Vec::new()),
        report("session/c", None, vec![finding("origin-validated", Verdict::Warn, None)]),
    ];
    assert_snapshot!(told(true, reports), @r"
    python server.py on local, 2 replicas

      NOT SAFE with 2 replicas

      transport    affinity off          affinity client-ip    all other cells
      sse          fail [1]              pass                  warn [2]

      [1] 2 cells: Each replica keeps its sessions in its own memory; the others do
      not know them.
          404 Could not find \u{1b}[31msession ; the session is on `hub-a`
          Fix   Service: `spec.sessionAffinity: ClientIP`
          or    Deployment: `spec.replicas: 1`

      [2] warning session/c: every request gets its answer

      1 passed, 1 warned, 2 failed (6.0 s)
      again: hubcheck run --command 'python server.py' routing/a@off-sse
    ");
}

#[test]
fn a_good_hub_is_told_in_a_few_lines() {
    let what_if = Some(WhatIf::Affinity { here: Affinity::Off, deployed: Affinity::ClientIp });
    let off = CellReport {
        what_if,
        ..report("routing/a", Some(Affinity::Off), vec![finding("calls-answered", Verdict::Fail, None)])
    };
    let expires = CellReport {
        cell: Cell {
            scenario: "routing/b",
            affinity: Some(Affinity::ClientIp),
            transport: off.cell.transport,
        },
        what_if: Some(WhatIf::Path),
        ..off.clone()
    };
    let reports = vec![off, expires, report("routing/a", Some(Affinity::ClientIp), Vec::new())];
    assert_snapshot!(told(true, reports.clone()), @"
    python server.py on local, 2 replicas

      SAFE with 2 replicas

      transport    (affinity off)        affinity client-ip
      sse          (fail)                pass
      not deployed, when the affinity expires, or a client comes by another node: 1
      of 1 cell fail
      not deployed, with affinity `off`: 1 of 1 cell fail

      1 passed, 2 what if (6.0 s)
    ");
    assert!(told(false, reports).contains("NO FAULT in the cells that were chosen"));
}

#[test]
fn a_quick_run_says_so_and_how_to_run_everything() {
    let everything = Some("hubcheck run --command 'python server.py' --transport sse".to_owned());
    let about = About { everything, ..about(true) };
    let summary = |findings| Summary {
        reports: vec![report("routing/a", Some(Affinity::Off), findings)],
        took: Duration::from_secs(6),
        ..Summary::default()
    };
    assert_snapshot!(answer(&about, &summary(Vec::new())).join("\n"), @"
    python server.py on local, 2 replicas, quick profile

      SAFE with 2 replicas

      transport    affinity off
      sse          pass

      1 passed (6.0 s)
      every cell: hubcheck run --command 'python server.py' --transport sse
    ");
    let mut command = finding("calls-answered", Verdict::Fail, None);
    command.actual = "404\n::error title=x::y ##[error]z".to_owned();
    let told = answer(&about, &summary(vec![command])).join("\n");
    let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
    assert!(told.contains("NOT SAFE") && !told.lines().any(is_command), "{told}");
}

#[test]
fn what_works_is_told_below_the_faults() {
    let sessions =
        |affinity, findings| report("routing/session-survives-any-replica", Some(affinity), findings);
    let fails = vec![finding("calls-answered", Verdict::Fail, Some(Cause::SessionsInOneProcess))];
    let reports = vec![
        sessions(Affinity::Off, fails),
        sessions(Affinity::ClientIp, Vec::new()),
        report("session/progress", None, Vec::new()),
    ];
    let told = told(true, reports);
    let works = "works: sessions on any replica (only with ClientIP), progress";
    let (faults, rest) = told.split_once(works).expect("it is told");
    assert!(faults.contains("[1] 1 cell") && rest.contains("2 passed, 1 failed"), "{told}");
}

#[test]
fn of_a_url_nobody_knows_enough_to_call_it_safe() {
    let summary = Summary { reports: vec![report("session/a", None, Vec::new())], ..Summary::default() };
    let about = About { backend: "url".to_owned(), ..about(true) };
    let told = answer(&about, &summary).join("\n");
    assert!(told.contains("NO FAULT through this address") && !told.contains("replica"), "{told}");
}

#[test]
fn long_names_texts_and_remedies_are_cut() {
    let mut long = finding("calls-answered", Verdict::Fail, None);
    long.actual = "much text ".repeat(1000);
    long.requirement = "a long rule ".repeat(100);
    long.remedy = "do a lot ".repeat(500);
    let summary = Summary { reports: vec![report("routing/a", None, vec![long])], ..Summary::default() };
    let about = About { hub: "python server.py --flag ".repeat(50), ..about(true) };
    let lines = answer(&about, &summary);
    assert!(lines.len() <= 24, "{lines:?}");
}

#[test]
fn what_could_not_be_told_is_not_safe() {
    let reports = vec![
        report("routing/a", None, Vec::new()),
        report("routing/b", None, vec![finding("could-not-tell", Verdict::Inconclusive, None)]),
    ];
    assert!(told(true, reports).contains("NOT DECIDED for 1 of 2 cells"));
}

#[test]
fn a_hub_that_cannot_be_reached_is_not_called_unsafe() {
    let survey = report("survey/ready", None, vec![finding("keeps-ending", Verdict::Fail, None)]);
    assert!(told(true, vec![survey]).contains("CANNOT BE USED this way"));
}

#[test]
fn however_many_faults_there_are_they_fit_on_one_screen() {
    let checks: Vec<String> = (0..20).map(|number| format!("check-{number}")).collect();
    let reports =
        checks.iter().map(|check| report("routing/a", None, vec![finding(check, Verdict::Fail, None)]));
    assert!(told(true, reports.collect()).contains(" more faults: `-v` tells all"));
}
