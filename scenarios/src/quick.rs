//! The quick profile: the cells that decide whether several replicas are safe, and that need no long wait.

/// Names of scenarios and cells. Left out: what waits for a second start of replicas (rollouts, restarts, rows of probes), what lets
/// seconds pass, and single rules of the wire.
pub const QUICK: &[&str] = &[
    // Which requests a session survives.
    "routing/session-survives-any-replica",
    "routing/reconnecting-client@streamable",
    "routing/reconnecting-client@stateless",
    "routing/reconnecting-client@client-ip",
    "routing/wrong-replica-answers-fast",
    "routing/unknown-session",
    "routing/isolation",
    "routing/balance",
    "routing/stateless-any-replica",
    // What becomes of clients when a replica goes.
    "routing/owner-killed",
    "routing/scale-down",
    // The conversation itself.
    "sse/opening",
    "streamable/messages",
    "stateless/discover",
    "session/ping",
    "session/concurrent",
    "session/progress",
    "session/answer-elsewhere",
];

#[cfg(test)]
mod tests {
    use harness::plan::{Offers, Outline, Selection, plan};

    use super::QUICK;
    use crate::CATALOG;

    #[test]
    fn every_name_of_the_profile_names_cells() {
        let outlines: Vec<Outline> = CATALOG.iter().map(|scenario| scenario.outline).collect();
        let cells = |name: &str| {
            let selection = Selection { within: vec![name.to_owned()], ..Selection::default() };
            plan(&outlines, &selection, &Offers::every_cell()).map(|cells| cells.len())
        };
        for name in QUICK {
            assert!(cells(name).is_ok_and(|cells| cells > 0), "{name}");
        }
    }
}
