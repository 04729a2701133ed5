//! What a client answers when the hub asks it something, and another replica gets the answer.

use futures_util::future::FutureExt;
use harness::check::{Check, HUB_CONTRACT, Judgement, Level};
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::transcript::history::Exchange;
use serde_json::json;

use super::SESSIONS;
use crate::words::reply_text;

/// The name of the call that asks its client something.
const ASKING: &str = "asking";

/// An answer of the client finds its session.
pub const ANSWER_ELSEWHERE: Scenario = Scenario {
    outline: Outline {
        id: "session/answer-elsewhere",
        affinities: &[],
        transports: SESSIONS,
        needs: &[Need::Replicas(2), Need::Aim, Need::Tool(Tool::Ask)],
    },
    title: "a client's answer to a question of the hub that another replica accepts reaches the call that asked",
    why: "Sampling, elicitation and pings come back as POSTs of their own, which any replica may get. One that says 202 and knows \
          no such question leaves the call, and the user behind it, waiting.",
    spec: &[HUB_CONTRACT, SPEC],
    remedy: "hub: forward answers to the session's owner as requests are, or refuse them with 404",
    guide: None,
    setup: Setup::ORDINARY,
    checks: &[&ANSWER_REACHES_OWNER],
    drive: |stage| answer(stage).boxed(),
};

/// Where answers of clients are specified.
const SPEC: &str = "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#sending-messages-to-the-server";

async fn answer(stage: &Stage) -> anyhow::Result<()> {
    let replicas = stage.replicas();
    let (Some(own), Some(other)) = (replicas.first(), replicas.get(1)) else {
        return Ok(());
    };
    let (own, other) = (stage.at(own)?, stage.at(other)?);
    let Some(holder) = stage.open("a", &own).await else {
        return Ok(());
    };
    holder.session.reply_at(other);
    let call = stage.tool_call(Tool::Ask, &json!({}));
    stage.ask(&holder, &own, ASKING, "tools/call", call).await;
    holder.session.end(&own).await;
    Ok(())
}

// === checks ===

/// Hub contract: 202 says "If the server accepts the input".
pub const ANSWER_REACHES_OWNER: Check = Check {
    id: "answer-reaches-owner",
    level: Level::Contract,
    sentence: "an answer of the client that a replica accepts reaches the call that waits for it, wherever that runs",
    source: HUB_CONTRACT,
    remedy: "hub: forward what has `result` or `error` in place of `method` to the session's owner",
    transports: SESSIONS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        judgement.idle_because("the call asked the client nothing");
        let answers = history.exchanges.values().filter(|exchange| is_answer(exchange));
        for exchange in answers {
            judgement.judged();
            // One that is refused is told so.
            if !exchange.status().is_some_and(|status| (200..300).contains(&status)) {
                continue;
            }
            for call in history.probed_calls(ASKING) {
                if call.result().is_none_or(|result| result["isError"] == true) {
                    let actual = call.text().map_or_else(|| reply_text(history, call), str::to_owned);
                    judgement.breach("the result of a call whose question was answered", actual, exchange.at);
                }
            }
        }
        judgement
    },
};

/// Whether an exchange carries an answer of the client.
fn is_answer(exchange: &Exchange<'_>) -> bool {
    exchange.request.message().is_some_and(|message| {
        message.get("method").is_none() && (message.get("result").is_some() || message.get("error").is_some())
    })
}
