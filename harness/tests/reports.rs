//! Every format of a report, over every verdict.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::check::{Finding, HUB_CONTRACT, Lack, Level, NotJudged, Verdict};
use harness::plan::{Affinity, Cell, Need, Planned, Transport};
use harness::report::json::Json;
use harness::report::junit::JUnit;
use harness::report::terminal::Terminal;
use harness::report::{About, RunEvent, Sink, Summary, WriteErrors};
use harness::run::CellReport;
use insta::assert_snapshot;

#[test]
fn the_terminal_tells_every_verdict() {
    let kept = Kept::default();
    tell(&mut Terminal::on(Box::new(kept.clone())));
    let text = String::from_utf8(kept.0.lock().expect("a writer").clone()).expect("text");
    assert_snapshot!(text, @"
       Surveying python server.py
        Starting 8 cells (8 scenarios) on local, 2 replicas of python server.py, run 3a2bb52b
            note not simulated on local: `hostPort`
            PASS [   0.500s] (1/8) routing/passes      off        sse
                 told: OOMKilled after 0.6 s
                 not judged: executed-once needs tool tally or sleep
                 not judged: orphans-told: no session had a stream
            FAIL [   0.500s] (2/8) routing/fails       off        sse
                 must: every request gets its answer (calls-answered, hub contract)
                 expected: an answer to `echo`
                   actual: 404 <Could not find session> at #90
                 remedy: Service: `spec.sessionAffinity: ClientIP`
                 transcript: target/x.jsonl
                 evidence: target/x
                 rerun: hubcheck run routing/fails@off-sse
            WARN [   0.500s] (3/8) routing/warns       off        sse
                 should: every request gets its answer (calls-answered, hub contract)
                 expected: an answer to `echo`
                   actual: 404 <Could not find session> at #90
                 must (most servers ignore it): every request gets its answer (calls-answered, hub contract)
                 expected: an answer to `echo`
                   actual: 404 <Could not find session> at #90
                 remedy: Service: `spec.sessionAffinity: ClientIP`
                 rerun: hubcheck run routing/warns@off-sse
          UNSURE [   0.500s] (4/8) session/breaks-off  off        sse
                 unsure: every request gets its answer (calls-answered, hub contract)
                 expected: an answer to `echo`
                   actual: 404 <Could not find session> at #90
                 remedy: Service: `spec.sessionAffinity: ClientIP`
                 rerun: hubcheck run session/breaks-off@off-sse
             N/A [         ] (5/8) session/lacks       off        sse         needs 2 replicas
             N/A [   0.500s] (6/8) session/idle        off        sse         sent 0 of 4 progress notifications
            FAIL [   0.500s] (7/8) session/known       off        sse
                 must: every request gets its answer (calls-answered, hub contract)
                 expected: an answer to `echo`
                   actual: 404 <Could not find session> at #90
                 remedy: Service: `spec.sessionAffinity: ClientIP`
                 transcript: target/x.jsonl
                 evidence: target/x
                 rerun: hubcheck run session/known@off-sse
            PASS [   0.500s] (8/8) session/mended      off        sse
    ────────────
        expected to fail: session/known@off-sse (sessions are in memory)
           stale: session/mended@off-sse is listed as an expected failure, and it did not fail
         Summary [   4.500s] 8 cells: 2 passed, 1 warned, 2 failed (1 as expected), 2 not applicable, 1 inconclusive
    ");
}

#[test]
fn json_tells_every_verdict() {
    let text = written("report.json", |path, errors| Box::new(Json::new(path.to_owned(), errors)));
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_snapshot!(text, @r#"
    {
      "schema": 1,
      "hubcheck": "VERSION",
      "backend": "local",
      "hub": "python server.py",
      "replicas": 2,
      "run": "3a2bb52b",
      "complete": true,
      "duration_s": 4.5,
      "cells": [
        {
          "cell": "routing/fails@off-sse",
          "scenario": "routing/fails",
          "affinity": "off",
          "transport": "sse",
          "verdict": "fail",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "not_judged": [],
          "findings": [
            {
              "check": "calls-answered",
              "verdict": "fail",
              "level": "contract",
              "requirement": "every request gets its answer",
              "source": "hub contract",
              "expected": "an answer to `echo`",
              "actual": "404 <Could not find session>",
              "at": 90,
              "remedy": "Service: `spec.sessionAffinity: ClientIP`"
            }
          ],
          "notes": [],
          "duration_s": 0.5,
          "transcript": "target/x.jsonl",
          "evidence": "target/x"
        },
        {
          "cell": "routing/passes@off-sse",
          "scenario": "routing/passes",
          "affinity": "off",
          "transport": "sse",
          "verdict": "pass",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "not_judged": [
            {
              "check": "executed-once",
              "needs": "tool tally or sleep"
            },
            {
              "check": "orphans-told",
              "reason": "no session had a stream"
            }
          ],
          "findings": [],
          "notes": [
            "OOMKilled after 0.6 s"
          ],
          "duration_s": 0.5,
          "transcript": null,
          "evidence": null
        },
        {
          "cell": "routing/warns@off-sse",
          "scenario": "routing/warns",
          "affinity": "off",
          "transport": "sse",
          "verdict": "warn",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "not_judged": [],
          "findings": [
            {
              "check": "calls-answered",
              "verdict": "warn",
              "level": "should",
              "requirement": "every request gets its answer",
              "source": "hub contract",
              "expected": "an answer to `echo`",
              "actual": "404 <Could not find session>",
              "at": 90,
              "remedy": "Service: `spec.sessionAffinity: ClientIP`"
            },
            {
              "check": "calls-answered",
              "verdict": "warn",
              "level": "ignored-must",
              "requirement": "every request gets its answer",
              "source": "hub contract",
              "expected": "an answer to `echo`",
              "actual": "404 <Could not find session>",
              "at": 90,
              "remedy": "Service: `spec.sessionAffinity: ClientIP`"
            }
          ],
          "notes": [],
          "duration_s": 0.5,
          "transcript": null,
          "evidence": null
        },
        {
          "cell": "session/breaks-off@off-sse",
          "scenario": "session/breaks-off",
          "affinity": "off",
          "transport": "sse",
          "verdict": "inconclusive",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "not_judged": [],
          "findings": [
            {
              "check": "calls-answered",
              "verdict": "inconclusive",
              "level": null,
              "requirement": "every request gets its answer",
              "source": "hub contract",
              "expected": "an answer to `echo`",
              "actual": "404 <Could not find session>",
              "at": 90,
              "remedy": "Service: `spec.sessionAffinity: ClientIP`"
            }
          ],
          "notes": [],
          "duration_s": 0.5,
          "transcript": null,
          "evidence": null
        },
        {
          "cell": "session/idle@off-sse",
          "scenario": "session/idle",
          "affinity": "off",
          "transport": "sse",
          "verdict": "not-applicable",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "reason": "sent 0 of 4 progress notifications",
          "not_judged": [],
          "findings": [],
          "notes": [],
          "duration_s": 0.5,
          "transcript": "target/y.jsonl",
          "evidence": null
        },
        {
          "cell": "session/known@off-sse",
          "scenario": "session/known",
          "affinity": "off",
          "transport": "sse",
          "verdict": "fail",
          "expected": true,
          "expected_reason": "sessions are in memory",
          "needs": null,
          "not_judged": [],
          "findings": [
            {
              "check": "calls-answered",
              "verdict": "fail",
              "level": "contract",
              "requirement": "every request gets its answer",
              "source": "hub contract",
              "expected": "an answer to `echo`",
              "actual": "404 <Could not find session>",
              "at": 90,
              "remedy": "Service: `spec.sessionAffinity: ClientIP`"
            }
          ],
          "notes": [],
          "duration_s": 0.5,
          "transcript": "target/x.jsonl",
          "evidence": "target/x"
        },
        {
          "cell": "session/lacks@off-sse",
          "scenario": "session/lacks",
          "affinity": "off",
          "transport": "sse",
          "verdict": "not-applicable",
          "expected": false,
          "expected_reason": null,
          "needs": "2 replicas",
          "not_judged": [],
          "findings": [],
          "notes": [],
          "duration_s": 0.0,
          "transcript": null,
          "evidence": null
        },
        {
          "cell": "session/mended@off-sse",
          "scenario": "session/mended",
          "affinity": "off",
          "transport": "sse",
          "verdict": "pass",
          "expected": false,
          "expected_reason": null,
          "needs": null,
          "not_judged": [],
          "findings": [],
          "notes": [],
          "duration_s": 0.5,
          "transcript": null,
          "evidence": null
        }
      ],
      "stale": [
        "session/mended@off-sse"
      ]
    }
    "#);
}

#[test]
fn junit_tells_every_verdict() {
    let text = written("report.xml", |path, errors| Box::new(JUnit::new(path.to_owned(), errors)));
    assert_snapshot!(text, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="hubcheck of python server.py on local" tests="8" skipped="3" failures="2" errors="1" time="4.500">
        <testsuite name="routing" tests="3" skipped="0" errors="0" failures="1" time="1.500">
            <properties>
                <property name="run" value="3a2bb52b"/>
            </properties>
            <testcase name="routing/fails@off-sse" classname="routing" time="0.500">
                <failure message="calls-answered: 404 &lt;Could not find session&gt;" type="fail">must: every request gets its answer (calls-answered, hub contract)
    expected: an answer to `echo`
      actual: 404 &lt;Could not find session&gt; at #90
    remedy: Service: `spec.sessionAffinity: ClientIP`
    transcript: target/x.jsonl
    evidence: target/x
    rerun: hubcheck run routing/fails@off-sse</failure>
            </testcase>
            <testcase name="routing/passes@off-sse" classname="routing" time="0.500">
                <system-out>told: OOMKilled after 0.6 s
    not judged: executed-once needs tool tally or sleep
    not judged: orphans-told: no session had a stream</system-out>
            </testcase>
            <testcase name="routing/warns@off-sse" classname="routing" time="0.500">
                <system-out>should: every request gets its answer (calls-answered, hub contract)
    expected: an answer to `echo`
      actual: 404 &lt;Could not find session&gt; at #90
    remedy: Service: `spec.sessionAffinity: ClientIP`
    must (most servers ignore it): every request gets its answer (calls-answered, hub contract)
    expected: an answer to `echo`
      actual: 404 &lt;Could not find session&gt; at #90
    remedy: Service: `spec.sessionAffinity: ClientIP`
    rerun: hubcheck run routing/warns@off-sse</system-out>
            </testcase>
        </testsuite>
        <testsuite name="session" tests="5" skipped="3" errors="1" failures="1" time="2.000">
            <properties>
                <property name="run" value="3a2bb52b"/>
            </properties>
            <testcase name="session/breaks-off@off-sse" classname="session" time="0.500">
                <error message="calls-answered: 404 &lt;Could not find session&gt;" type="inconclusive">unsure: every request gets its answer (calls-answered, hub contract)
    expected: an answer to `echo`
      actual: 404 &lt;Could not find session&gt; at #90
    remedy: Service: `spec.sessionAffinity: ClientIP`
    rerun: hubcheck run session/breaks-off@off-sse</error>
            </testcase>
            <testcase name="session/idle@off-sse" classname="session" time="0.500">
                <skipped message="sent 0 of 4 progress notifications" type="not-applicable"/>
            </testcase>
            <testcase name="session/known@off-sse" classname="session" time="0.500">
                <skipped message="expected to fail: sessions are in memory" type="fail">must: every request gets its answer (calls-answered, hub contract)
    expected: an answer to `echo`
      actual: 404 &lt;Could not find session&gt; at #90
    remedy: Service: `spec.sessionAffinity: ClientIP`
    transcript: target/x.jsonl
    evidence: target/x
    rerun: hubcheck run session/known@off-sse</skipped>
            </testcase>
            <testcase name="session/lacks@off-sse" classname="session" time="0.000">
                <skipped message="needs 2 replicas" type="not-applicable"/>
            </testcase>
            <testcase name="session/mended@off-sse" classname="session" time="0.500">
                <failure message="it is listed as an expected failure, and it did not fail"/>
            </testcase>
        </testsuite>
    </testsuites>
    "#);
}

#[test]
fn a_report_that_cannot_be_written_is_told_beside_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = WriteErrors::default();
    for name in ["no-such-folder/a.json", "no-such-folder/b.json"] {
        tell(&mut Json::new(folder.path().join(name), errors.clone()));
    }
    tell(&mut JUnit::new(folder.path().join("no-such-folder/c.xml"), errors.clone()));
    let told = errors.take();
    let names = ["a.json", "b.json", "c.xml"];
    assert_eq!(told.len(), names.len(), "{told:?}");
    assert!(told.iter().zip(names).all(|(told, name)| told.contains(name)), "{told:?}");
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a writer").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(name: &str, sink: impl Fn(&Path, WriteErrors) -> Box<dyn Sink>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let errors = WriteErrors::default();
    tell(sink(&path, errors.clone()).as_mut());
    assert!(errors.take().is_empty());
    std::fs::read_to_string(path).expect("the report")
}

/// Tells a run in which every verdict comes, and a failure that was expected and one that did not come.
fn tell(sink: &mut dyn Sink) {
    let about = About {
        backend: "local".to_owned(),
        hub: "python server.py".to_owned(),
        replicas: 2,
        run: "3a2bb52b".to_owned(),
        notes: vec!["not simulated on local: `hostPort`".to_owned()],
        rerun: "hubcheck run".to_owned(),
        is_whole: true,
    };
    let reports = reports();
    let planned: Vec<Planned> = reports
        .iter()
        .map(|report| Planned { cell: report.cell, lacks: need(report), what_if: report.what_if })
        .collect();
    sink.event(&RunEvent::Surveying { hub: &about.hub });
    sink.event(&RunEvent::Started { planned: &planned, about: &about });
    for report in &reports {
        sink.event(&RunEvent::CellFinished(report));
    }
    let summary = Summary {
        expected: vec![(
            cell("session/known", Transport::Sse).to_string(),
            "sessions are in memory".to_owned(),
        )],
        stale: vec![cell("session/mended", Transport::Sse).to_string()],
        took: Duration::from_millis(4_500),
        reports,
        ..Summary::default()
    };
    sink.event(&RunEvent::Finished(&summary));
}

/// The need that a cell lacks.
fn need(report: &CellReport) -> Option<Need> {
    match report.lacks {
        Some(Lack::Need(need)) => Some(need),
        Some(Lack::Reason(_)) | None => None,
    }
}

fn reports() -> Vec<CellReport> {
    let report = |scenario, verdict| CellReport {
        cell: cell(scenario, Transport::Sse),
        verdict,
        findings: Vec::new(),
        lacks: None,
        what_if: None,
        not_judged: Vec::new(),
        took: Duration::from_millis(500),
        notes: Vec::new(),
        transcript: None,
        evidence: None,
    };
    let failed = |scenario| CellReport {
        findings: vec![finding(Verdict::Fail, Some(Level::Contract))],
        transcript: Some("target/x.jsonl".into()),
        evidence: Some("target/x".into()),
        ..report(scenario, Verdict::Fail)
    };
    vec![
        CellReport {
            not_judged: vec![
                NotJudged { check: "executed-once", why: Lack::Need(Need::HeldCall) },
                NotJudged { check: "orphans-told", why: Lack::Reason("no session had a stream".to_owned()) },
            ],
            notes: vec!["OOMKilled after 0.6 s".to_owned()],
            ..report("routing/passes", Verdict::Pass)
        },
        failed("routing/fails"),
        CellReport {
            findings: vec![
                finding(Verdict::Warn, Some(Level::Should)),
                finding(Verdict::Warn, Some(Level::IgnoredMust)),
            ],
            ..report("routing/warns", Verdict::Warn)
        },
        CellReport {
            findings: vec![finding(Verdict::Inconclusive, None)],
            ..report("session/breaks-off", Verdict::Inconclusive)
        },
        CellReport {
            lacks: Some(Lack::Need(Need::Replicas(2))),
            took: Duration::ZERO,
            ..report("session/lacks", Verdict::NotApplicable)
        },
        CellReport {
            lacks: Some(Lack::Reason("sent 0 of 4 progress notifications".to_owned())),
            transcript: Some("target/y.jsonl".into()),
            ..report("session/idle", Verdict::NotApplicable)
        },
        failed("session/known"),
        report("session/mended", Verdict::Pass),
    ]
}

fn cell(scenario: &'static str, transport: Transport) -> Cell {
    Cell { scenario, affinity: Some(Affinity::Off), transport: Some(transport) }
}

fn finding(verdict: Verdict, level: Option<Level>) -> Finding {
    Finding {
        check: "calls-answered".to_owned(),
        verdict,
        level,
        requirement: "every request gets its answer".to_owned(),
        source: HUB_CONTRACT.to_owned(),
        expected: "an answer to `echo`".to_owned(),
        actual: "404 <Could not find session>".to_owned(),
        at: Some(90),
        remedy: "Service: `spec.sessionAffinity: ClientIP`".to_owned(),
        cause: None,
    }
}
