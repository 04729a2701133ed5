//! What one client's calls say, and another client of the same replica must not hear.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::FutureExt;
use harness::check::{Check, Judgement, Level};
use harness::plan::{Need, Outline, Tool};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::{Call, History};
use harness::wire::{Progress, Target};
use serde_json::{Value, json};

use super::SESSIONS;
use crate::probed::edited;

/// The name of calls whose progress and answers are one client's alone.
const PRIVATE: &str = "private";

/// Where it is specified that a message goes to one stream.
const SPEC: &str =
    "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections";

/// Progress and notices stay with the session that asked.
pub const NEIGHBOURS: Scenario = Scenario {
    outline: Outline { id: "session/neighbours", affinities: &[], transports: SESSIONS, needs: &[] },
    title: "progress and notices of a call reach the session that called, and no other session of the same replica",
    why: "A hub that keeps one \"current client\" per process sends what one user's call tells to the user who connected last.",
    spec: &[SPEC],
    remedy: "hub: send notifications through the session of the request, not through a client that the process keeps",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&NOTICES_ISOLATED],
    drive: |stage| call(stage).boxed(),
};

async fn call(stage: &Stage) -> anyhow::Result<()> {
    if !stage.offers(Need::Progress) && !stage.offers(Need::Repeats) {
        stage.not_brought_about("no answer of this hub says whose call it belongs to: no call reports progress, and none repeats what was sent");
        return Ok(());
    }
    let service = stage.service();
    let mut holders = Vec::new();
    for role in ["a", "b"] {
        let Some(holder) = stage.open(role, &service).await else { continue };
        holder.session.listen(&service).await;
        holders.push(holder);
    }
    // First the one that is not the last to connect, while the other one only listens.
    for holder in &holders {
        private(stage, holder, &service).await;
    }
    for holder in &holders {
        holder.session.end(&service).await;
    }
    Ok(())
}

/// Calls whose token and text are this client's alone.
async fn private(stage: &Stage, holder: &Holder, target: &Target) {
    let mark = format!("hubcheck-only-for-{}", holder.role);
    let session = &holder.session;
    if let Some(telling) = stage.telling_call(3, Duration::from_millis(20)) {
        let call = session.raw_asking("tools/call", telling, Progress::Asked).named(PRIVATE);
        let call = edited(call, |message| message["params"]["_meta"]["progressToken"] = json!(mark));
        stage.send_long(session, target, call).await;
    }
    if stage.offers(Need::Repeats) {
        let echo = stage.tool_call(Tool::Echo, &json!({ "text": mark }));
        stage.ask(holder, target, PRIVATE, "tools/call", echo).await;
    }
}

// === checks ===

/// "it MUST NOT broadcast the same message across multiple streams":
/// <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#multiple-connections>; and what belongs to a call goes to
/// its session alone.
pub const NOTICES_ISOLATED: Check = Check {
    id: "notices-isolated",
    level: Level::Must,
    sentence: "The server MUST send each of its JSON-RPC messages on only one of the connected streams (what belongs to a call \
               reaches no other session)",
    source: SPEC,
    remedy: "hub: send notifications through the session of the request, not through a client that the process keeps",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let marks: BTreeSet<(&str, &str)> = history
            .probed_calls(PRIVATE)
            .filter_map(|call| Some((call.client, mark(history, call)?)))
            .collect();
        history.probed_calls(PRIVATE).for_each(|_| judgement.judged());
        for exchange in history.exchanges.values() {
            let reader = exchange.request.client.as_str();
            for (at, message) in exchange.messages() {
                let text = message.to_string();
                let of_another = marks.iter().find(|(owner, mark)| *owner != reader && text.contains(mark));
                if let Some((owner, mark)) = of_another {
                    let what = message["method"].as_str().unwrap_or("an answer");
                    let actual = format!("{what} with `{mark}`, which client `{owner}` sent");
                    judgement.breach(
                        format!("nothing of client `{owner}` on a stream of client `{reader}`"),
                        actual,
                        at,
                    );
                }
            }
        }
        judgement
    },
};

/// What only the client of this call has said.
fn mark<'h>(history: &'h History<'_>, call: &'h Call<'_>) -> Option<&'h str> {
    let token = call.params.pointer("/_meta/progressToken").and_then(Value::as_str);
    token.or_else(|| history.transcript.header.echo.sent(call))
}
