//! The run that every format of a report tells.

use std::time::Duration;

use harness::check::{Finding, HUB_CONTRACT, Lack, Level, NotJudged, Verdict};
use harness::plan::{Affinity, Cell, Need, Planned, Transport};
use harness::report::{About, RunEvent, Sink, Summary};
use harness::run::CellReport;

/// Tells a run in which every verdict comes, and a failure that was expected and one that did not come.
pub(crate) fn tell(sink: &mut dyn Sink) {
    let about = About {
        backend: "local".to_owned(),
        hub: "python server.py".to_owned(),
        replicas: 2,
        run: "3a2bb52b".to_owned(),
        notes: vec!["not simulated on local: `hostPort`".to_owned()],
        rerun: "hubcheck run".to_owned(),
        is_whole: true,
        ..About::default()
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
