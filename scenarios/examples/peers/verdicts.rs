//! The committed verdicts of the peers: every cell that does not pass, and why it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// The table: `scenarios/expected/peers.toml`. A cell that it does not list passes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdicts {
    /// What does not pass.
    pub(crate) deviation: Vec<Deviation>,
}

/// Cells that do not pass, and why: every one of these cells for every one of these peers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    /// Their verdict.
    pub(crate) verdict: String,
    /// Why, with the section of the measurements or of the specification that says so.
    pub(crate) reason: String,
    /// The checks that may find a breach of that weight; no other may.
    #[serde(default)]
    pub(crate) checks: BTreeSet<String>,
    /// The peers, by name.
    pub(crate) peers: Vec<String>,
    /// The cells.
    pub(crate) cells: Vec<String>,
}

/// One cell as a run told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its verdict.
    pub(crate) verdict: String,
    /// The checks whose breaches weigh as much as the verdict.
    pub(crate) checks: BTreeSet<String>,
    /// What a reader needs to see why.
    pub(crate) evidence: String,
}

/// How a run relates to the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Cells whose verdict is not the listed one, or rests on other checks, each with what was seen.
    pub(crate) unlike: Vec<String>,
    /// Cells that are listed and pass.
    pub(crate) stale: Vec<String>,
}

// === impl Verdicts ===

impl Verdicts {
    /// Reads the committed table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn read() -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected/peers.toml");
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let verdicts: Self =
            toml::from_str(&text).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let mut listed = BTreeSet::new();
        for deviation in &verdicts.deviation {
            if deviation.reason.trim().is_empty() || deviation.verdict == "pass" {
                return Err(format!("a deviation has a reason and is no pass: {:?}", deviation.cells));
            }
            for pair in deviation.pairs() {
                if !listed.insert(pair) {
                    return Err(format!("{} of {} is listed twice", pair.1, pair.0));
                }
            }
        }
        Ok(verdicts)
    }

    /// Holds the table against cells that ran with this peer.
    pub(crate) fn compare(&self, peer: &str, cells: &BTreeMap<String, Told>) -> Differences {
        let mut differences = Differences::default();
        let of_peer =
            self.deviation.iter().filter(|deviation| deviation.peers.iter().any(|name| name == peer));
        let listed: BTreeMap<&str, &Deviation> = of_peer
            .flat_map(|deviation| deviation.cells.iter().map(move |cell| (cell.as_str(), deviation)))
            .collect();
        for (cell, told) in cells {
            let unlike = match listed.get(cell.as_str()) {
                None if told.verdict == "pass" => continue,
                None => "listed as pass".to_owned(),
                Some(_) if told.verdict == "pass" => {
                    differences.stale.push(cell.clone());
                    continue;
                }
                Some(listed) if told.verdict != listed.verdict => format!("listed as {}", listed.verdict),
                Some(listed) if !told.checks.is_subset(&listed.checks) => {
                    format!("listed for {:?} only", listed.checks)
                }
                Some(_) => continue,
            };
            differences.unlike.push(format!("{cell}: {}, {unlike}\n{}", told.verdict, told.evidence));
        }
        differences
    }
}

// === impl Deviation ===

impl Deviation {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.peers.iter().flat_map(|peer| self.cells.iter().map(|cell| (peer.as_str(), cell.as_str())))
    }
}

// === helpers ===

/// The cells of a JSON report, by name.
///
/// # Errors
///
/// When it cannot be read, or tells of a run that did not come to its end.
pub(crate) fn cells(report: &Path) -> Result<BTreeMap<String, Told>, String> {
    let text = std::fs::read_to_string(report).map_err(|error| format!("there is no report: {error}"))?;
    let document: Value = serde_json::from_str(&text).map_err(|error| format!("the report: {error}"))?;
    if document["schema"] != 1 || document["complete"] != true {
        return Err("the report is of another version, or of a run that was interrupted".to_owned());
    }
    let rows = document["cells"].as_array().into_iter().flatten();
    Ok(rows.map(|row| (text_of(&row["cell"]), told(row))).collect())
}

fn told(row: &Value) -> Told {
    let verdict = text_of(&row["verdict"]);
    let findings: Vec<&Value> = row["findings"].as_array().into_iter().flatten().collect();
    let weighs = |finding: &&&Value| finding["verdict"] == row["verdict"];
    let checks = findings.iter().filter(weighs).map(|finding| text_of(&finding["check"])).collect();
    let mut evidence: Vec<String> = findings
        .iter()
        .filter(weighs)
        .map(|finding| {
            let field = |name: &str| text_of(&finding[name]);
            format!("    {}: expected {}; {}", field("check"), field("expected"), field("actual"))
        })
        .collect();
    evidence.dedup();
    evidence.truncate(4);
    evidence.extend(row["needs"].as_str().map(|needs| format!("    needs {needs}")));
    evidence.extend(row["transcript"].as_str().map(|path| format!("    transcript: {path}")));
    Told { verdict, checks, evidence: evidence.join("\n") }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
