//! Requests that were refused because there were too many: the cell saw the limit, and not the hub. Pure.

use super::{Finding, could_not_tell};
use crate::transcript::history::History;

/// The status of a request that is one too many (RFC 6585).
pub(crate) const TOO_MANY: u16 = 429;

/// The step in which a scenario finds out whether there is a limit: what is refused then is judged, and excuses nothing.
pub const MANY_COME: &str = "many clients come from one address";

/// A request that the hub, or a proxy, refused because there were too many.
pub(super) fn rate_limited(history: &History<'_>) -> Option<Finding> {
    if history.step(MANY_COME).is_some() {
        return None;
    }
    let exchange = history.exchanges.values().find(|exchange| exchange.status() == Some(TOO_MANY))?;
    let head = exchange.head?;
    let after =
        head.header("retry-after").map(|after| format!(", `Retry-After: {after}`")).unwrap_or_default();
    let request = exchange.request;
    Some(Finding {
        check: "rate-limited".to_owned(),
        requirement: "no request of a cell is refused because there are too many".to_owned(),
        expected: "an answer to every request".to_owned(),
        remedy: "hub or proxy: raise the rate limit for this check, or run fewer cells at once (`--jobs 1`)"
            .to_owned(),
        ..could_not_tell(
            head.at.seq,
            format!("`{} {}` was answered 429 Too Many Requests{after}", request.method, request.target),
        )
    })
}
