//! The versioned form on disk: a header line, then a line per entry.

use super::{FORMAT, Transcript};

/// A file that is not a transcript of this version.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// The first line is not a header.
    #[error("line 1 is not a transcript's header: {0}")]
    Header(serde_json::Error),
    /// The header names another version.
    #[error("it has format {found}, this hubcheck reads format {FORMAT}")]
    Format {
        /// The version it names.
        found: u32,
    },
    /// A later line is not an entry.
    #[error("line {line} is not an entry: {error}")]
    Entry {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl Transcript {
    /// The JSONL form: the header, then a line per entry.
    pub fn to_jsonl(&self) -> String {
        let lines = std::iter::once(serde_json::to_string(&self.header))
            .chain(self.entries.iter().map(serde_json::to_string));
        lines.filter_map(Result::ok).map(|line| line + "\n").collect()
    }

    /// Reads the JSONL form.
    ///
    /// # Errors
    ///
    /// [`ReadError`], which names the line.
    pub fn from_jsonl(text: &str) -> Result<Self, ReadError> {
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or(ReadError::Empty)?;
        let value: serde_json::Value = serde_json::from_str(first).map_err(ReadError::Header)?;
        if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
            && found != u64::from(FORMAT)
        {
            return Err(ReadError::Format { found: u32::try_from(found).unwrap_or(u32::MAX) });
        }
        let header = serde_json::from_value(value).map_err(ReadError::Header)?;
        let entries = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(idx, line)| {
                serde_json::from_str(line).map_err(|error| ReadError::Entry { line: idx + 1, error })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { header, entries })
    }
}
