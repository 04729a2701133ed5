//! Every format of a report, over every verdict.

#[path = "reports/run.rs"]
mod run;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use harness::report::json::Json;
use harness::report::junit::JUnit;
use harness::report::terminal::{Telling, Terminal};
use harness::report::{Sink, WriteErrors};
use insta::assert_snapshot;

use self::run::tell;

#[test]
fn the_terminal_tells_every_verdict() {
    let kept = Kept::default();
    tell(&mut Terminal::on(Box::new(kept.clone()), Telling { everything: true, ..Telling::default() }));
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
