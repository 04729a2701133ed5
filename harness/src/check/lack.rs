//! Why something was not judged although nothing is wrong.

use std::fmt;

use crate::plan::Need;
use crate::transcript::What;
use crate::transcript::history::History;

/// Why a cell does not apply, or a check was not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Hub or backend lacks this: known before the cell runs.
    Need(Need),
    /// What the cell is about did not come about, and the hub may leave it out: seen when it ran.
    Reason(String),
}

/// A check that was not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJudged {
    /// Its id.
    pub check: &'static str,
    /// Why.
    pub why: Lack,
}

/// `needs 2 replicas`, or the reason as it stands.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Need(need) => write!(f, "needs {need}"),
            Lack::Reason(reason) => f.write_str(reason),
        }
    }
}

/// Why a check had nothing to look at: what the scenario says that it could not bring about, or a client that was refused.
pub(super) fn not_brought_about(history: &History<'_>) -> Option<String> {
    let said = history.entries().iter().find_map(|entry| match &entry.what {
        What::NotBroughtAbout { reason } => Some(reason.clone()),
        _ => None,
    });
    let without_session = || {
        history.entries().iter().find_map(|entry| match &entry.what {
            What::NoSession { why, .. } => Some(format!("no session: {why}")),
            _ => None,
        })
    };
    said.or_else(without_session)
}

/// Why a cell without findings does not pass: nothing was judged, or clients were refused, so that what was judged is not what the
/// scenario is about.
pub(super) fn of_cell(history: &History<'_>, not_judged: &[NotJudged], is_judged: bool) -> Option<Lack> {
    let refused = history.refusals();
    if let Some(first) = refused.first() {
        let clients = refused.len();
        let opened = history.sessions.len();
        return Some(Lack::Reason(format!(
            "{clients} of {} sessions were refused: {}",
            clients + opened,
            first.why
        )));
    }
    if is_judged {
        return None;
    }
    let mut reasons = not_judged.iter().map(|not_judged| &not_judged.why);
    reasons.find(|why| matches!(why, Lack::Reason(_))).cloned()
}
