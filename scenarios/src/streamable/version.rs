//! `MCP-Protocol-Version`: what a hub makes of one that is none, and of none at all.

use futures_util::future::FutureExt;
use harness::plan::Outline;
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{SPEC_VERSION, STREAMABLE, checks};

/// The name of requests with a version that no server knows.
pub(super) const INVALID: &str = "invalid version";

/// The name of a request without a version.
pub(super) const ABSENT: &str = "no version";

/// An invalid version is refused; one that is absent is not.
pub const VERSION_HEADER: Scenario = Scenario {
    outline: Outline { id: "streamable/version-header", affinities: &[], transports: STREAMABLE, needs: &[] },
    title: "an invalid `MCP-Protocol-Version` is refused with 400, a request without one is served",
    why: "A hub that serves any version answers in words that the client does not know. Clients of 2025-03-26 send none.",
    spec: &[SPEC_VERSION],
    remedy: "hub: compare `MCP-Protocol-Version` with the versions that it supports; take the negotiated one, or \
             2025-03-26, where there is none",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::INVALID_VERSION_IS_400, &checks::ABSENT_VERSION_SERVED],
    drive: |stage| versions(stage).boxed(),
};

async fn versions(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    for version in ["1999-01-01", "banana"] {
        let request =
            session.raw(stage.small(), json!({})).with("mcp-protocol-version", version).named(INVALID);
        session.send(&service, request).await;
    }
    let request = session.raw(stage.small(), json!({})).without("mcp-protocol-version").named(ABSENT);
    session.send(&service, request).await;
    session.end(&service).await;
    Ok(())
}
