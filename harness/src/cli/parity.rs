//! The command `parity`: what two runs on different backends made of the same cells.
//!
//! Both the verdict and the normalised transcript of a cell must be the same wherever it ran. Differences that are
//! accepted stand in a list with their reasons; one that is no longer there is stale, and fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bad_input::CommandError;
use super::explain::{offers_of, print};
use super::{ParityArgs, exit};
use crate::check::{self, Strictness};
use crate::run::Scenario;
use crate::run::rig::surveyed::SURVEY;
use crate::transcript::Transcript;
use crate::transcript::normal::normalise;

/// The longest piece of a difference that is printed, in lines of each side.
const SHOWN: usize = 12;

/// The file of accepted differences.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    #[serde(default)]
    difference: Vec<AcceptedDifference>,
}

/// One accepted difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedDifference {
    cell: String,
    reason: String,
}

/// What one run made of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    backend: String,
    verdict: String,
    transcript: String,
}

type Run = BTreeMap<String, Made>;

/// Compares two folders of transcripts and prints what differs.
pub(super) fn parity(catalog: &[&Scenario], args: &ParityArgs) -> Result<u8, CommandError> {
    let left = read(catalog, &args.left)?;
    let right = read(catalog, &args.right)?;
    let accepted = args.accepted.as_deref().map(accepted).transpose()?.unwrap_or_default();
    let (text, code) = compare(&left, &right, &accepted);
    print(&text);
    Ok(code)
}

fn compare(left: &Run, right: &Run, accepted: &Accepted) -> (String, u8) {
    let mut out = String::new();
    let (mut same, mut differ, mut known, mut stale) = (0, 0, 0, 0);
    for (cell, here) in left {
        let Some(there) = right.get(cell) else { continue };
        let listed = accepted.difference.iter().find(|listed| listed.cell == *cell);
        match (difference(here, there), listed) {
            (None, None) => same += 1,
            (None, Some(_)) => {
                stale += 1;
                let _ = writeln!(out, "stale: {cell} is accepted to differ, and does not");
            }
            (Some(_), Some(listed)) => {
                known += 1;
                let _ = writeln!(out, "accepted: {cell} ({})", listed.reason);
            }
            (Some(difference), None) => {
                differ += 1;
                let _ = write!(out, "differs: {cell}\n{difference}");
            }
        }
    }
    for (these, those) in [(left, right), (right, left)] {
        let alone: Vec<&str> =
            these.keys().filter(|cell| !those.contains_key(*cell)).map(String::as_str).collect();
        if let Some(backend) = these.values().next().map(|made| &made.backend)
            && !alone.is_empty()
        {
            let _ = writeln!(out, "only on {backend}: {}", alone.join(", "));
        }
    }
    let both = same + differ + known + stale;
    let _ = writeln!(
        out,
        "{both} cells on both: {} the same, {differ} differ, {known} accepted, {stale} stale",
        same + stale
    );
    let code = if differ + stale > 0 {
        exit::DOES_NOT_CONFORM
    } else if both == 0 {
        exit::NOTHING_SELECTED
    } else {
        exit::CONFORMS
    };
    (out, code)
}

/// What differs, in indented lines; nothing when both are the same.
fn difference(left: &Made, right: &Made) -> Option<String> {
    let mut out = String::new();
    if left.verdict != right.verdict {
        let _ = writeln!(
            out,
            "  verdict: {} on {}, {} on {}",
            left.verdict, left.backend, right.verdict, right.backend
        );
    }
    if left.transcript != right.transcript {
        let _ = writeln!(out, "  transcript: - {}, + {}", left.backend, right.backend);
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (left.transcript.lines().collect(), right.transcript.lines().collect());
        let alike = |(left, right): &(&&str, &&str)| left == right;
        let before = ours.iter().zip(&theirs).take_while(alike).count();
        let (ours, theirs) = (&ours[before..], &theirs[before..]);
        let after = ours.iter().rev().zip(theirs.iter().rev()).take_while(alike).count();
        for (sign, lines) in [('-', &ours[..ours.len() - after]), ('+', &theirs[..theirs.len() - after])] {
            for line in lines.iter().take(SHOWN) {
                let _ = writeln!(out, "    {sign} {line}");
            }
            if lines.len() > SHOWN {
                let _ = writeln!(out, "    {sign} .. and {} lines more", lines.len() - SHOWN);
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

// === reading ===

fn read(catalog: &[&Scenario], folder: &Path) -> Result<Run, CommandError> {
    let mut run = Run::new();
    for path in transcripts(folder)? {
        let unusable = |why: String| CommandError::usage(format!("`{}`: {why}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| unusable(error.to_string()))?;
        let transcript = Transcript::from_jsonl(&text)
            .map_err(|error| unusable(format!("it is not a transcript: {error}")))?;
        let id = transcript.header.scenario.as_str();
        // What a survey saw differs from run to run, and no check judges it.
        if id == SURVEY {
            continue;
        }
        let scenario = catalog.iter().find(|scenario| scenario.outline.id == id);
        let scenario = scenario.ok_or_else(|| unusable(format!("no scenario is called `{id}`")))?;
        let judged =
            check::judge(&transcript, scenario.checks, &offers_of(&transcript), Strictness::Ordinary);
        let made = Made {
            backend: transcript.header.backend.clone(),
            verdict: judged.verdict.to_string(),
            transcript: normalise(&transcript),
        };
        if run.insert(transcript.header.cell.clone(), made).is_some() {
            let cell = &transcript.header.cell;
            return Err(unusable(format!("`{}` has {cell} of more than one run", folder.display()))
                .hint("name the folder of one run"));
        }
    }
    Ok(run)
}

/// Every transcript below a folder.
fn transcripts(folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable =
            |error: std::io::Error| CommandError::usage(format!("reading `{}`: {error}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jsonl") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn accepted(path: &Path) -> Result<Accepted, CommandError> {
    let unreadable = |error| CommandError::usage(format!("reading `{}`: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| {
        CommandError::usage(format!("`{}`: {}", path.display(), error.message()))
            .hint("the file holds tables `[[difference]]` with `cell` and `reason`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(backend: &str, cells: &[(&str, &str, &str)]) -> Run {
        let made = |(cell, verdict, transcript): &(&str, &str, &str)| {
            let made = Made {
                backend: backend.to_owned(),
                verdict: (*verdict).to_owned(),
                transcript: (*transcript).to_owned(),
            };
            ((*cell).to_owned(), made)
        };
        cells.iter().map(made).collect()
    }

    fn accepting(cells: &[&str]) -> Accepted {
        let difference =
            |cell: &&str| AcceptedDifference { cell: (*cell).to_owned(), reason: "so".to_owned() };
        Accepted { difference: cells.iter().map(difference).collect() }
    }

    #[test]
    fn what_differs_is_shown_without_what_does_not() {
        let local =
            run("local", &[("a", "PASS", "one\ntwo\nthree\n"), ("b", "PASS", "same\n"), ("c", "PASS", "")]);
        let kind = run("kind", &[("a", "WARN", "one\n2\nthree\n"), ("b", "PASS", "same\n")]);
        let (text, code) = compare(&local, &kind, &Accepted::default());
        let expected = "\
differs: a
  verdict: PASS on local, WARN on kind
  transcript: - local, + kind
    - two
    + 2
only on local: c
2 cells on both: 1 the same, 1 differ, 0 accepted, 0 stale
";
        assert_eq!((text.as_str(), code), (expected, exit::DOES_NOT_CONFORM));
    }

    #[test]
    fn an_accepted_difference_passes_and_a_stale_one_fails() {
        let local = run("local", &[("a", "PASS", "one\n"), ("b", "PASS", "same\n")]);
        let kind = run("kind", &[("a", "PASS", "two\n"), ("b", "PASS", "same\n")]);
        assert_eq!(compare(&local, &kind, &accepting(&["a"])).1, exit::CONFORMS);
        let (text, code) = compare(&local, &kind, &accepting(&["a", "b"]));
        assert!(text.contains("accepted: a (so)") && text.contains("stale: b"), "{text}");
        assert_eq!(code, exit::DOES_NOT_CONFORM);
        // What did not run on both is not stale: it was not looked at.
        assert_eq!(compare(&local, &kind, &accepting(&["a", "z"])).1, exit::CONFORMS);
    }

    #[test]
    fn nothing_in_common_is_its_own_exit_code() {
        let (local, kind) = (run("local", &[("a", "PASS", "")]), run("kind", &[("b", "PASS", "")]));
        assert_eq!(compare(&local, &kind, &Accepted::default()).1, exit::NOTHING_SELECTED);
    }
}
