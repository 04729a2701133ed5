//! The tools that the user allows to be called: `--tool` and `--call`.

use super::CommandError;
use crate::plan::Tool;
use crate::run::rig::NamedCall;

/// How a call is given.
const LIKE: &str = "such as `--call 'search {\"query\": \"x\"}'`, `--call NAME` without arguments, or `--call @FILE` with a call per line";

/// The part of `--tool`, and the name of the tool that plays it.
pub(super) fn tool_name(given: &str) -> Result<(Tool, String), CommandError> {
    let (part, name) = given.split_once('=').unwrap_or((given, given));
    let tool = part
        .trim()
        .parse::<Tool>()
        .map_err(|error| CommandError::usage(format!("`--tool {given}`: {error}")))?;
    match name.trim() {
        "" => Err(CommandError::usage(format!("`--tool {given}` names no tool"))
            .hint(format!("such as `--tool {tool}=NAME`"))),
        name => Ok((tool, name.to_owned())),
    }
}

/// The calls of `--call`, of which `@FILE` holds one per line.
pub(super) fn named_calls(given: &[String]) -> Result<Vec<NamedCall>, CommandError> {
    let mut calls = Vec::new();
    for given in given {
        match given.strip_prefix('@') {
            None => calls.push(named_call(given, &format!("`--call {given}`"))?),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| CommandError::usage(format!("`--call @{file}`: {error}")).hint(LIKE))?;
                let lines = (1..).zip(text.lines().map(str::trim));
                for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
                    calls.push(named_call(line, &format!("`--call @{file}`, line {number}"))?);
                }
            }
        }
    }
    Ok(calls)
}

fn named_call(given: &str, place: &str) -> Result<NamedCall, CommandError> {
    given.parse().map_err(|error| CommandError::usage(format!("{place}: {error}")).hint(LIKE))
}
