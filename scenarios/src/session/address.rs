//! Many clients that come from one address, as all do behind one proxy.

use futures_util::future::FutureExt;
use futures_util::stream::{StreamExt, iter};
use harness::check::limit::MANY_COME;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::Outline;
use harness::run::stage::client_name;
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::What;
use harness::transcript::history::Outcome;
use harness::transcript::normal::SPARE;
use serde_json::json;

use super::EVERY_TRANSPORT;
use crate::words::reply_text;

/// The name of what each client asks.
const ASKED: &str = "from one address";

/// How many clients there are.
const CLIENTS: usize = 40;

/// How many come at a time.
const AT_ONCE: usize = 10;

/// Clients behind one proxy are many.
pub const ONE_ADDRESS: Scenario = Scenario {
    outline: Outline { id: "session/one-address", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "40 clients that come from one address are all served",
    why: "Behind an ingress, a gateway or a NAT all users have the address of that one. A limit per address is then a limit for all of \
          them together: the first users are served, the others get 429.",
    spec: &[HUB_CONTRACT],
    remedy: "hub: count by user or session; where it must be the address, by the one that a trusted proxy names in `X-Forwarded-For`",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&ONE_ADDRESS_SERVED],
    drive: |stage| one_address(stage).boxed(),
};

async fn one_address(stage: &Stage) -> anyhow::Result<()> {
    let target = stage.straight()?;
    let first = stage.client(SPARE).await;
    stage.step(MANY_COME);
    iter(0..CLIENTS)
        .for_each_concurrent(AT_ONCE, |number| {
            let client = stage.neighbour(&first, &client_name(number));
            let target = &target;
            async move {
                let role = client.name().to_owned();
                if let Some(holder) = stage.open_as(client, &role, target).await {
                    stage.ask(&holder, target, ASKED, stage.small(), json!({})).await;
                    holder.session.end(target).await;
                }
            }
        })
        .await;
    Ok(())
}

// === checks ===

/// Hub contract. A limit that some clients meet may be meant, so it warns.
pub const ONE_ADDRESS_SERVED: Check = Check {
    id: "one-address-served",
    level: Level::Should,
    sentence: "40 clients that come from one address should all be served: behind a proxy every client does.",
    source: HUB_CONTRACT,
    remedy: "hub: limit by user or session, or by the address that a trusted proxy names; or limit at the proxy",
    transports: &[],
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let mut refused = Vec::new();
        for entry in history.entries() {
            if let What::NoSession { why, .. } = &entry.what {
                judgement.judged();
                refused.push((why.clone(), entry.place()));
            }
        }
        for call in history.probed_calls(ASKED) {
            judgement.judged();
            if !matches!(call.outcome, Outcome::Answered { .. }) {
                refused.push((reply_text(history, call), call.sent));
            }
        }
        if let Some((why, at)) = refused.first() {
            let actual = format!("{} of {} were not; the first: {why}", refused.len(), judgement.judged);
            judgement.breach("clients from one address that are all served", actual, *at);
        }
        judgement
    },
};
