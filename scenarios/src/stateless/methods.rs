//! Methods that a server does not have, those of JSON-RPC and those of HTTP.

use futures_util::future::FutureExt;
use harness::plan::{Outline, Transport};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::Raw;
use serde_json::json;

use super::{REVISION, SPEC_EARLIER, SPEC_VERSION, STATELESS, checks, older};

/// The name of requests of methods that there are none.
pub(super) const UNKNOWN: &str = "unknown method";

/// The name of the other HTTP methods of older revisions.
pub(super) const REMOVED: &str = "removed";

/// What is not there is 404 or 405, in words that a client can tell from an older server's.
pub const METHODS: Scenario = Scenario {
    outline: Outline { id: "stateless/methods", affinities: &[], transports: STATELESS, needs: &[] },
    title: "an unknown method is 404 with -32601, and so is `ping`; GET and DELETE are 405 where no older revision is spoken",
    why: "A client tells by the body of a 404 whether it speaks to a server of this revision or to one that hosts no MCP \
          at this path.",
    spec: &[SPEC_VERSION, SPEC_EARLIER],
    remedy: "hub: answer 404 with JSON-RPC error -32601 to a method that it does not have",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::UNKNOWN_METHOD_IS_404, &checks::REMOVED_METHODS_ARE_405, &checks::OLDER_CLIENT_TOLD],
    drive: |stage| methods(stage).boxed(),
};

async fn methods(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    for method in ["hubcheck/nothing", "ping"] {
        stage.ask(&holder, &service, UNKNOWN, method, json!({})).await;
    }
    let client = &holder.client;
    older::come(stage, &holder, &service).await;
    let get = client.get(Transport::Stateless).with("mcp-protocol-version", REVISION).named(REMOVED);
    let delete = Raw { method: "DELETE".to_owned(), ..get.clone() };
    for request in [get, delete] {
        client.exchange(&service, request).await;
    }
    Ok(())
}
