//! The session id: what it is made of, where it is demanded, and what its end means.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline};
use harness::run::stage::client_name;
use harness::run::{Scenario, Setup, Stage};
use serde_json::{Value, json};

use super::{SPEC_SESSION, STREAMABLE, checks};
use crate::probed::NO_GOODBYE;

/// The name of a request without the session's id.
pub(super) const MISSING: &str = "missing id";

/// How many sessions are opened to compare their ids.
const SESSIONS: usize = 8;

/// An id is a safe name, is demanded, and is 404 once its session has ended.
pub const SESSION_ID: Scenario = Scenario {
    outline: Outline { id: "streamable/session-id", affinities: &[], transports: STREAMABLE, needs: &[] },
    title: "a session id is visible ASCII and unlike any other; without it 400, after the session's end 404",
    why: "The id is all that stands between two users: one that repeats or can be guessed is another user's session. A \
          client starts anew on 404 and on nothing else.",
    spec: &[SPEC_SESSION],
    remedy: "hub: a random id of 128 bits or more in hex, base64url or UUID form; 400 for a request without one; 404 for \
             every request with the id of an ended session",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::SESSION_ID_VISIBLE,
        &checks::SESSION_ID_UNIQUE,
        &checks::MISSING_ID_IS_400,
        &checks::DELETE_ANSWERED,
        &crate::routing::checks::TERMINATED_IS_404,
    ],
    drive: |stage| ids(stage).boxed(),
};

async fn ids(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let mut holders = Vec::new();
    for idx in 0..SESSIONS {
        holders.extend(stage.open(&client_name(idx), &service).await);
    }
    let Some(holder) = holders.first() else {
        return Ok(());
    };
    let session = &holder.session;
    if session.id().is_some() {
        let request = session.raw(stage.small(), json!({})).without("mcp-session-id").named(MISSING);
        holder.client.exchange(&service, request).await;
    }
    if !stage.offers(Need::DeleteAnswered) {
        stage.not_brought_about(NO_GOODBYE);
        return Ok(());
    }
    stage.step("the session ends");
    session.end(&service).await;
    let later = [
        Some(session.raw(stage.small(), json!({}))),
        Some(session.raw_notification("notifications/initialized", Value::Null)),
        stage.offers(Need::GetAnswered).then(|| session.raw_get()),
        Some(session.raw_delete()),
    ];
    if session.id().is_some() {
        for request in later.into_iter().flatten() {
            holder.client.exchange(&service, request).await;
        }
    }
    Ok(())
}
