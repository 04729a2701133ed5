//! What cannot be used is said in one line: what, where, and how to mend it.

use std::io::Write;
use std::path::Path;

use crate::report::words::inert;

/// The end of a command before it could do its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What is wrong and where.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl CommandError {
    /// Something the user gave cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: super::exit::USAGE }
    }

    /// The harness cannot go on.
    pub fn inconclusive(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: super::exit::INCONCLUSIVE }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with where more is to be read.
    #[must_use]
    pub fn seen_in(self, file: Option<&Path>) -> Self {
        let Some(file) = file else { return self };
        let place = format!("what the survey saw: {}", file.display());
        let hint = self.hint.as_ref().map_or_else(|| place.clone(), |hint| format!("{hint}\n      {place}"));
        Self { hint: Some(hint), ..self }
    }

    /// The same with what was read otherwise than it stands in the manifests: a line each.
    #[must_use]
    pub fn noting(self, remarks: &[String]) -> Self {
        let lines = self.hint.into_iter().chain(remarks.iter().map(|remark| format!("note: {remark}")));
        let lines: Vec<String> = lines.collect();
        Self { hint: (!lines.is_empty()).then(|| lines.join("\n      ")), ..self }
    }
}

/// Prints `error: ..` and, after an empty line, `hint: ..` to standard error.
pub fn print(error: &CommandError) {
    let mut stderr = std::io::stderr().lock();
    // Nothing sensible is left to do when standard error is closed.
    let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
    for line in
        [Some(format!("error: {}", error.message)), hint].iter().flatten().flat_map(|text| text.split('\n'))
    {
        drop(writeln!(stderr, "{}", inert(line)));
    }
}
