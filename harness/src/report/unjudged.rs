//! What a hub could offer to be judged on the rest: one line at the end of a run. Pure.

use std::collections::BTreeMap;

use super::Summary;
use super::words::count;
use crate::check::Lack;
use crate::plan::Need;

/// How many cells lack something, by what that is.
type Cells = BTreeMap<String, usize>;

/// Which calls the cells lack that do not apply, and how the user gives them; nothing where no call is lacking.
pub(super) fn unjudged(summary: &Summary) -> Option<String> {
    let (mut flags, mut calls, mut parts) = (Cells::new(), Cells::new(), Cells::new());
    for report in &summary.reports {
        let Some(Lack::Need(need)) = &report.lacks else { continue };
        if let Need::Permission(tool) = need {
            *flags.entry(format!("`--tool {tool}`")).or_default() += 1;
        } else if *need == Need::Progress {
            *calls.entry("that reports progress".to_owned()).or_default() += 1;
        } else if matches!(need, Need::SlowCall | Need::HeldCall) {
            *calls.entry("that takes 3 to 20 s".to_owned()).or_default() += 1;
        } else if let Need::Tool(tool) = need {
            *parts.entry(format!("`{tool}`")).or_default() += 1;
        }
    }
    let cells: usize = [&flags, &calls, &parts].into_iter().flat_map(BTreeMap::values).sum();
    let flags = told(flags).map(|flags| flags.join(", "));
    let calls = told(calls).map(|calls| format!("a call {} (`--call 'NAME {{..}}'`)", calls.join(" or ")));
    let parts = told(parts).map(|parts| format!("a tool like {} in hub/README.md", parts.join(", ")));
    let offers: Vec<String> = flags.into_iter().chain(calls).chain(parts).collect();
    (cells > 0).then(|| {
        format!("not judged for want of a call: {}. Give {}", count(cells, "cell"), offers.join(", or "))
    })
}

fn told(lacking: Cells) -> Option<Vec<String>> {
    let told = lacking.into_iter().map(|(what, cells)| format!("{what} ({})", count(cells, "cell")));
    Some(told.collect()).filter(|told: &Vec<String>| !told.is_empty())
}
