//! What the scenarios of all eras are judged by. Every check has a defect of the reference hub that it catches.

use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::transcript::What;
use harness::transcript::history::Outcome;

use super::origin::{FOREIGN, NONE};

/// "Servers MUST validate the Origin header on all incoming connections to prevent DNS rebinding attacks":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning>; 2024-11-05 says it too.
/// With the defaults of their SDKs no server that listens on all addresses does.
pub const ORIGIN_VALIDATED: Check = Check {
    id: "origin-validated",
    level: Level::IgnoredMust,
    sentence: "Servers MUST validate the `Origin` header on all incoming connections to prevent DNS rebinding attacks",
    source: "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning",
    remedy: "hub: answer 403 to an `Origin` that is not allowed; SDKs expect the allowed ones to be configured",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.probes(FOREIGN) {
            judgement.judged();
            if !exchange.status().is_some_and(|status| (400..500).contains(&status)) {
                let method = &exchange.request.method;
                let actual = exchange.status().map_or("no answer".to_owned(), |status| status.to_string());
                judgement.breach(format!("403 to a {method} from http://evil.example"), actual, exchange.at);
            }
        }
        judgement
    },
};

/// Hub contract: clients that are no browsers send no `Origin`.
pub const NO_ORIGIN_SERVED: Check = Check {
    id: "no-origin-served",
    level: Level::Contract,
    sentence: "a request without `Origin` is served: clients that are no browsers send none",
    source: HUB_CONTRACT,
    remedy: "hub: validate `Origin` only where there is one",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for entry in history.entries() {
            if let What::NoSession { why, .. } = &entry.what {
                judgement.judged();
                judgement.breach("a session", why.clone(), entry.place());
            }
        }
        for call in history.probed_calls(NONE) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                judgement.breach("an answer", format!("{:?}", call.outcome), call.sent);
            }
        }
        judgement
    },
};
