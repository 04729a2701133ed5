//! The peers' routing verdicts as the table of README.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::peer::Peer;
use crate::verdicts::Told;

/// What stands before and after the table in README.md.
const MARKS: (&str, &str) = ("<!-- peers -->\n", "<!-- /peers -->\n");

/// The table, as Markdown.
pub(crate) fn table(ran: &[(&Peer, BTreeMap<String, Told>)]) -> String {
    let mut text =
        "| server | pass | warn | fail | not applicable |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (peer, cells) in ran {
        let routing = cells.iter().filter(|(cell, _)| cell.starts_with("routing/"));
        let routing: Vec<&Told> = routing.map(|(_, told)| told).collect();
        let with = |verdict: &str| routing.iter().filter(|told| told.verdict == verdict).count();
        let (pass, warn, fail) = (with("pass"), with("warn"), with("fail"));
        let lacks = with("not-applicable");
        text += &format!("| {} | {pass} | {warn} | {fail} | {lacks} |\n", peer.title);
    }
    text
}

/// Writes the table into README.md.
///
/// # Errors
///
/// When the file or its marks are not there.
pub(crate) fn write(ran: &[(&Peer, BTreeMap<String, Told>)]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(readme())?;
    let (before, rest) = text.split_once(MARKS.0).ok_or_else(|| anyhow::anyhow!("README.md has no mark"))?;
    let (_, after) = rest.split_once(MARKS.1).ok_or_else(|| anyhow::anyhow!("README.md has no end mark"))?;
    Ok(std::fs::write(readme(), format!("{before}{}{}{}{after}", MARKS.0, table(ran), MARKS.1))?)
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}
