//! Requests that a browser sends for a page of another site.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Transport};
use harness::run::stage::Holder;
use harness::run::{Scenario, Setup, Stage};
use serde_json::json;

use super::{EVERY_TRANSPORT, checks};

/// The name of requests with a foreign `Origin`.
pub(super) const FOREIGN: &str = "foreign origin";

/// The name of the same requests without one.
pub(super) const NONE: &str = "no origin";

/// A foreign `Origin` is refused, and none is needed.
pub const ORIGIN: Scenario = Scenario {
    outline: Outline { id: "session/origin", affinities: &[], transports: EVERY_TRANSPORT, needs: &[] },
    title: "a request with the `Origin` of another site is refused, one without is served",
    why: "Without this check any web page can talk to a hub that the browser can reach (DNS rebinding).",
    spec: &["https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning"],
    remedy: "hub: answer 403 to an `Origin` that is not allowed, on GET and on POST",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[&checks::ORIGIN_VALIDATED, &checks::NO_ORIGIN_SERVED],
    drive: |stage| origins(stage).boxed(),
};

async fn origins(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    small(stage, &holder, NONE, None).await;
    small(stage, &holder, FOREIGN, Some("http://evil.example")).await;
    let get = match stage.transport() {
        Transport::Sse => Some(holder.client.get(Transport::Sse)),
        Transport::Streamable => stage.offers(Need::GetAnswered).then(|| holder.session.raw_get()),
        Transport::Stateless => None,
    };
    if let Some(get) = get {
        let get = get.named(FOREIGN).with("origin", "http://evil.example");
        holder.client.exchange(&service, get).await;
    }
    holder.session.end(&service).await;
    Ok(())
}

async fn small(stage: &Stage, holder: &Holder, probe: &str, origin: Option<&str>) {
    let raw = holder.session.raw(stage.small(), json!({})).named(probe);
    let raw = match origin {
        Some(origin) => raw.with("origin", origin),
        None => raw,
    };
    holder.session.send(&stage.service(), raw).await;
}
