//! The commands that run nothing: `list`, `explain`, `check`.

use std::io::Write;
use std::path::Path;

use super::bad_input::CommandError;
use super::{Rules, catalogue, exit};
use crate::check::{self, Cause, HUB_CONTRACT, Strictness, Verdict};
use crate::plan::{self, Need, Offers, Selection, Tool};
use crate::report::words::not_judged_line;
use crate::run::Scenario;
use crate::run::rig::surveyed::SURVEY;
use crate::transcript::Transcript;

/// Prints a line per scenario, or per cell.
pub(super) fn list(
    catalog: &[&'static Scenario],
    filters: &[String],
    family: Option<&str>,
    cells: bool,
) -> Result<u8, CommandError> {
    let filters = filters.iter().cloned().chain(family.map(str::to_owned)).collect();
    let outlines: Vec<_> = catalog.iter().map(|scenario| scenario.outline).collect();
    let selection = Selection { filters, ..Selection::default() };
    let planned = plan::plan(&outlines, &selection, &Offers::every_cell())
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let mut out = String::new();
    if cells {
        for plan in planned {
            out += &format!("{}\n", plan.cell);
        }
    } else {
        let selected =
            |scenario: &&&Scenario| planned.iter().any(|plan| plan.cell.scenario == scenario.outline.id);
        let width = catalog.iter().map(|scenario| scenario.outline.id.len()).max().unwrap_or(0);
        for scenario in catalog.iter().filter(selected) {
            let count = planned.iter().filter(|plan| plan.cell.scenario == scenario.outline.id).count();
            out += &format!("{:width$}  {count:>2}  {}\n", scenario.outline.id, scenario.title);
        }
        if let Some(family) = family {
            out += &format!("\n{}", catalogue::table(catalog, family));
        }
    }
    print(&out);
    Ok(exit::CONFORMS)
}

fn about_cause(cause: Cause) -> String {
    let mut out =
        format!("{}: {cause}\n\nseen when {}\n\nwhat mends it, the best first\n", cause.id(), cause.seen());
    for (of, remedy) in cause.remedies() {
        out += &format!("  {of}: {remedy}\n");
    }
    out
}

/// Prints what a scenario does and rests on, or what a cause is and what mends it.
pub(super) fn explain(catalog: &[&Scenario], name: &str) -> Result<u8, CommandError> {
    if let Some(cause) = Cause::ALL.iter().find(|cause| cause.id() == name) {
        print(&about_cause(*cause));
        return Ok(exit::CONFORMS);
    }
    let found = catalog.iter().find(|scenario| {
        let id = scenario.outline.id;
        id == name || id.split_once('/').is_some_and(|(_, short)| short == name)
    });
    let Some(scenario) = found else {
        let outlines: Vec<_> = catalog.iter().map(|scenario| scenario.outline).collect();
        let selection = Selection { filters: vec![name.to_owned()], ..Selection::default() };
        return Err(match plan::plan(&outlines, &selection, &Offers::every_cell()) {
            Err(error) => CommandError::usage(error.to_string()),
            Ok(_) => CommandError::usage(format!("`{name}` names no single scenario"))
                .hint("`hubcheck list` names them all"),
        });
    };
    let outline = scenario.outline;
    let names = |axis: Vec<String>| if axis.is_empty() { "once".to_owned() } else { axis.join(", ") };
    let affinities = outline.affinities.iter().map(ToString::to_string).collect();
    let transports = outline.transports.iter().map(ToString::to_string).collect();
    let mut out = format!("{}: {}\n\n{}\n\n", outline.id, scenario.title, scenario.why);
    out += &format!("affinities: {}\ntransports: {}\n", names(affinities), names(transports));
    if !outline.needs.is_empty() {
        let needs: Vec<String> = outline.needs.iter().map(ToString::to_string).collect();
        out += &format!("needs: {}\n", needs.join(", "));
    }
    out += &format!("rests on: {}\n\nchecks\n", scenario.spec.join(", "));
    for check in scenario.checks.iter().chain(check::ambient::CHECKS) {
        out += &format!("  {}  {}: {}\n", check.id, check.level, check.sentence);
        if check.source != HUB_CONTRACT {
            out += &format!("      {}\n", check.source);
        }
    }
    if let Some(guide) = &scenario.guide {
        out += &format!("\nin the guide\n  {}\n", guide.issue);
        out += &format!("  symptom: {}\n  cause: {}\n", guide.symptom, guide.cause);
    }
    out += &format!("\nremedy\n  {}\n", scenario.remedy);
    print(&out);
    Ok(exit::CONFORMS)
}

/// Judges a transcript's file and prints verdict and findings.
pub(super) fn check(
    catalog: &[&Scenario],
    rules: &[Rules],
    path: &Path,
    strictness: Strictness,
) -> Result<u8, CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::usage(format!("reading `{}`: {error}", path.display())))?;
    let transcript = Transcript::from_jsonl(&text)
        .map_err(|error| CommandError::usage(format!("`{}` is not a transcript: {error}", path.display())))?;
    let id = transcript.header.scenario.as_str();
    if id == SURVEY {
        let what = format!(
            "`{}` is the transcript of a survey: it shows how the hub was found, and no check judges it",
            path.display()
        );
        return Err(CommandError::usage(what).hint(
            "give the transcript of a cell, such as `routing/isolation@sse.jsonl` in the same folder",
        ));
    }
    let run_by_name = catalog.iter().map(|scenario| (scenario.outline.id, scenario.checks));
    let others = rules.iter().map(|rules| (rules.scenario, rules.checks));
    let (_, checks) = run_by_name.chain(others).find(|(known, _)| *known == id).ok_or_else(|| {
        CommandError::usage(format!(
            "`{}` is of scenario `{id}`, which is not in this hubcheck",
            path.display()
        ))
    })?;
    let judged = check::judge(&transcript, checks, &offers_of(&transcript), strictness);
    let mut out = format!("{} {}\n", judged.verdict, transcript.header.cell);
    if let Some(what_if) = &transcript.header.what_if {
        out += &format!("  not counted: {what_if}\n");
    }
    if let Some(lack) = &judged.lacks {
        out += &format!("  {lack}\n");
    }
    for not_judged in &judged.not_judged {
        out += &format!("  {}\n", not_judged_line(not_judged));
    }
    for finding in &judged.findings {
        let at = finding.at.map(|at| format!(" at #{at}")).unwrap_or_default();
        out += &format!(
            "  {} {}: {}\n    expected: {}\n      actual: {}{at}\n",
            finding.verdict, finding.check, finding.requirement, finding.expected, finding.actual,
        );
        if !finding.remedy.is_empty() {
            out += &format!("    remedy: {}\n", finding.remedy);
        }
    }
    print(&out);
    Ok(match judged.verdict {
        _ if transcript.header.what_if.is_some() => exit::CONFORMS,
        Verdict::Fail => exit::DOES_NOT_CONFORM,
        Verdict::Inconclusive => exit::INCONCLUSIVE,
        Verdict::Pass | Verdict::Warn | Verdict::NotApplicable => exit::CONFORMS,
    })
}

/// What the run of a transcript had to offer: what its header says.
pub(super) fn offers_of(transcript: &Transcript) -> Offers {
    let tools = transcript.header.tools.iter().filter_map(|tool| tool.parse::<Tool>().ok());
    let mut has: std::collections::BTreeSet<Need> = tools.map(Need::Tool).collect();
    if has.contains(&Need::Tool(Tool::Tally)) || has.contains(&Need::Tool(Tool::Sleep)) {
        has.extend([Need::HeldCall, Need::SlowCall]);
    }
    if has.contains(&Need::Tool(Tool::Echo)) || transcript.header.echo.is_name {
        has.insert(Need::Repeats);
    }
    Offers { replicas: transcript.header.replicas, has, ..Offers::default() }
}

pub(super) fn print(text: &str) {
    // A reader that has gone (`hubcheck list | head`) is no error.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}
