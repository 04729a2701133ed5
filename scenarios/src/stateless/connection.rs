//! A connection is no session: nothing that came over it before counts.

use futures_util::future::FutureExt;
use harness::plan::Outline;
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{SPEC_STATELESS, STATELESS, checks};
use crate::probed::{LONG_LIST, edited};

/// The name of requests of two clients in turn on one connection.
pub(super) const COMPLETE: &str = "complete";

/// The name of requests without `_meta`, on the same connection and on one of its own.
pub(super) const BARE: &str = "bare";

/// Requests of two clients share a connection: each is what it says, and no more.
pub const CONNECTION: Scenario = Scenario {
    outline: Outline { id: "stateless/connection", affinities: &[], transports: STATELESS, needs: &[] },
    title: "what came over a connection before does not count: requests of two clients in turn, and one that says nothing",
    why: "Proxies put requests of many clients on one connection. A server that remembers takes one for the other.",
    spec: &[SPEC_STATELESS],
    remedy: "hub: take version, client and capabilities from the request's own `_meta`; keep nothing per connection",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::CONNECTION_FORGETS, &checks::LIST_NOT_OF_CONNECTION],
    drive: |stage| share(stage).boxed(),
};

async fn share(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    if stage.has_long_list() {
        stage.not_brought_about(LONG_LIST);
    }
    let list = || session.raw(stage.small(), json!({}));
    let other = || {
        edited(list(), |message| {
            let meta = &mut message["params"]["_meta"];
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "another", "version": "9" });
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "sampling": {} });
        })
    };
    let bare = || {
        edited(list(), |message| {
            if let Some(params) = message["params"].as_object_mut() {
                params.remove("_meta");
            }
        })
    };
    session.keep_connection(true);
    for request in
        [list().named(COMPLETE), other().named(COMPLETE), list().named(COMPLETE), bare().named(BARE)]
    {
        session.send(&service, request).await;
    }
    session.send(&service, other().named(COMPLETE)).await;
    session.keep_connection(false);
    session.drop_connection();
    session.send(&service, bare().named(BARE)).await;
    Ok(())
}
