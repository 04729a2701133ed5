//! The peers' verdicts as the table of docs/evidence.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::peer::Peer;
use crate::verdicts::Told;

/// What stands before and after the table in docs/evidence.md.
const MARKS: (&str, &str) = ("<!-- peers -->\n", "<!-- /peers -->\n");

/// The verdicts that are counted, as a report has them and as a reader has them.
const COLUMNS: &[(&str, &str)] =
    &[("pass", "pass"), ("warn", "warn"), ("fail", "fail"), ("not-applicable", "n/a"), ("inconclusive", "?")];

/// The table, as Markdown: what `routing` came to, and what the families of the wire did.
pub(crate) fn table(ran: &[(&Peer, BTreeMap<String, Told>)]) -> String {
    let header = |part: &str| -> String {
        let counted = |(_, name): &(&str, &str)| format!(" {part} {name} |");
        COLUMNS.iter().map(counted).collect()
    };
    let rule = " --- |".repeat(2 * COLUMNS.len());
    let mut text = format!("| server |{}{}\n| --- |{rule}\n", header("routing"), header("wire"));
    for (peer, cells) in ran {
        let counts = |of_routing: bool| -> String {
            let cells = || cells.iter().filter(|(cell, _)| cell.starts_with("routing/") == of_routing);
            let counted = |(verdict, _): &(&str, &str)| {
                format!(" {} |", cells().filter(|(_, told)| told.verdict == *verdict).count())
            };
            COLUMNS.iter().map(counted).collect()
        };
        text += &format!("| {} |{}{}\n", peer.title, counts(true), counts(false));
    }
    text
}

/// Writes the table into docs/evidence.md.
///
/// # Errors
///
/// When the file or its marks are not there.
pub(crate) fn write(ran: &[(&Peer, BTreeMap<String, Told>)]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(readme())?;
    let (before, rest) =
        text.split_once(MARKS.0).ok_or_else(|| anyhow::anyhow!("docs/evidence.md has no mark"))?;
    let (_, after) =
        rest.split_once(MARKS.1).ok_or_else(|| anyhow::anyhow!("docs/evidence.md has no end mark"))?;
    Ok(std::fs::write(readme(), format!("{before}{}{}{}{after}", MARKS.0, table(ran), MARKS.1))?)
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence.md")
}
