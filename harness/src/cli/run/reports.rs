//! Who listens to a run, and what becomes of its exit code when a report cannot be written.

use std::path::Path;

use super::super::bad_input::{self, CommandError};
use super::super::{RunArgs, Show, exit};
use crate::report::answer::Answer;
use crate::report::console::Console;
use crate::report::json::Json;
use crate::report::junit::JUnit;
use crate::report::terminal::{Telling, Terminal};
use crate::report::words::count;
use crate::report::{Fan, Sink, Summary, WriteErrors};

/// The terminal, and every report that is wanted. What goes wrong in writing them is found in the second value.
pub(super) fn sinks(args: &RunArgs, console: &Console) -> Result<(Fan, WriteErrors), CommandError> {
    let mut sinks: Vec<Box<dyn Sink + Send>> = Vec::new();
    if !args.quiet {
        let telling = Telling { everything: args.verbose, not_applicable: args.show.contains(&Show::Na) };
        sinks.push(Box::new(Terminal::on_stderr(console, telling)));
    }
    // After the terminal, whose progress bar gives way to it.
    sinks.push(Box::new(Answer::on_stdout()));
    let errors = WriteErrors::default();
    for report in &args.report {
        sinks.push(sink(report, &errors)?);
    }
    Ok((Fan(sinks), errors))
}

/// Tells of every report that was not written. Whoever reads the exit code alone must not take a run for a good one
/// whose report is missing; but that the hub does not conform, or that the run was interrupted, says more.
pub(super) fn code_with(code: u8, errors: &WriteErrors) -> u8 {
    let lost = errors.take();
    for error in &lost {
        bad_input::print(&CommandError::usage(error.clone()));
    }
    match code {
        _ if lost.is_empty() => code,
        exit::DOES_NOT_CONFORM | exit::INTERRUPTED => code,
        _ => exit::USAGE,
    }
}

/// Transcripts that cannot be written are missed only when they are needed.
pub(super) fn is_writable(evidence: &Path) -> Result<(), CommandError> {
    let trial = evidence.join(format!(".hubcheck-{}", std::process::id()));
    let tried = std::fs::create_dir_all(evidence)
        .and_then(|()| std::fs::write(&trial, "?"))
        .and_then(|()| std::fs::remove_file(&trial));
    tried.map_err(|error| {
        CommandError::usage(format!("transcripts cannot be written to `{}`: {error}", evidence.display()))
            .hint("give another folder by `--evidence DIR`")
    })
}

/// Notes the transcripts that a run could not write: its disk is full, or the folder went away.
pub(super) fn miss_transcripts(summary: &Summary, evidence: &Path, errors: &WriteErrors) {
    let of_a_cell = summary.reports.iter().filter(|report| !report.cell.scenario.starts_with("survey/"));
    // What was not driven took no time, and has no transcript.
    let lost = of_a_cell.filter(|report| !report.took.is_zero() && report.transcript.is_none()).count();
    if lost > 0 {
        errors.add(evidence, &std::io::Error::other(format!("the run lost {}", count(lost, "transcript"))));
    }
}

fn sink(report: &str, errors: &WriteErrors) -> Result<Box<dyn Sink + Send>, CommandError> {
    let unknown = || {
        CommandError::usage(format!("`--report {report}` is not known"))
            .hint("write `--report json=FILE` or `--report junit=FILE`")
    };
    let (format, path) = report.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(unknown)?;
    let path = Path::new(path);
    let sink: Box<dyn Sink + Send> = match format {
        "json" => Box::new(Json::new(path.to_owned(), errors.clone())),
        "junit" => Box::new(JUnit::new(path.to_owned(), errors.clone())),
        _ => return Err(unknown()),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(CommandError::usage(format!("`--report {report}`: its folder does not exist")));
    }
    // A run that ends before it can report must not leave an older one's report to be taken for its own.
    if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        std::fs::remove_file(path)
            .map_err(|error| CommandError::usage(format!("`--report {report}`: replacing it: {error}")))?;
    }
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Verdict;
    use crate::plan::Cell;
    use crate::run::CellReport;

    #[test]
    fn a_lost_report_hides_no_verdict_and_is_no_success() {
        let code = |code| {
            let errors = WriteErrors::default();
            errors.add(Path::new("x.json"), &std::io::Error::other("no"));
            code_with(code, &errors)
        };
        assert_eq!(code(exit::CONFORMS), exit::USAGE);
        assert_eq!(code(exit::INCONCLUSIVE), exit::USAGE);
        assert_eq!(code(exit::NOTHING_SELECTED), exit::USAGE);
        assert_eq!(code(exit::DOES_NOT_CONFORM), exit::DOES_NOT_CONFORM);
        assert_eq!(code(exit::INTERRUPTED), exit::INTERRUPTED);
        assert_eq!(code_with(exit::INCONCLUSIVE, &WriteErrors::default()), exit::INCONCLUSIVE);
    }

    #[test]
    fn a_transcript_that_is_missing_is_lost_only_of_a_cell_that_was_driven() {
        let lost = |scenario, took_s, transcript: Option<&str>| {
            let report = CellReport {
                cell: Cell { scenario, affinity: None, transport: None },
                verdict: Verdict::Inconclusive,
                findings: Vec::new(),
                lacks: None,
                what_if: None,
                not_judged: Vec::new(),
                took: Duration::from_secs(took_s),
                notes: Vec::new(),
                transcript: transcript.map(Into::into),
                evidence: None,
            };
            let errors = WriteErrors::default();
            let summary = Summary { reports: vec![report], ..Summary::default() };
            miss_transcripts(&summary, Path::new("evidence"), &errors);
            errors.take()
        };
        assert_eq!(lost("routing/x", 1, None), ["writing `evidence`: the run lost 1 transcript"]);
        assert_eq!(lost("routing/x", 1, Some("x.jsonl")), [""; 0]);
        assert_eq!(lost("routing/x", 0, None), [""; 0], "it was decided without being driven");
        assert_eq!(lost("survey/ready", 1, None), [""; 0]);
    }
}
