//! Headers that mirror the body, and what the body must say.

use futures_util::future::FutureExt;
use harness::plan::{Need, Outline, Tool};
use harness::run::{Scenario, Setup, Stage};
use harness::wire::{Raw, in_base64};
use serde_json::{Value, json};

use super::{SPEC_META, SPEC_VALIDATION, SPEC_VERSION, STATELESS, checks, older};
use crate::probed::edited;

/// The name of requests whose headers say something else than their body.
pub(super) const MISMATCH: &str = "mismatch";

/// The name of a request that says its version in its body alone.
pub(super) const VERSIONLESS: &str = "no version header";

/// The name of a request whose `Mcp-Name` is in Base64.
pub(super) const ENCODED: &str = "encoded name";

/// The name of a request of a revision that nobody has.
pub(super) const UNKNOWN_VERSION: &str = "unknown version";

/// The name of requests that do not say what each must.
pub(super) const INCOMPLETE: &str = "incomplete _meta";

/// The name of a request of a client that does not tell its name.
pub(super) const ANONYMOUS: &str = "no client info";

/// The keys of `_meta`.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// A revision that never was.
const NEVER: &str = "1900-01-01";

/// What headers and body say must agree, and be there.
pub const METADATA: Scenario = Scenario {
    outline: Outline { id: "stateless/metadata", affinities: &[], transports: STATELESS, needs: &[] },
    title: "a request whose headers and body disagree, or that does not say its version, is refused as specified",
    why: "Gateways route and limit by headers, servers act on bodies: a server that does not compare them lets a client \
          say one thing to the gateway and do another. Clients choose their next version by the error's code.",
    spec: &[SPEC_VALIDATION, SPEC_VERSION, SPEC_META],
    remedy: "hub: an SDK that speaks 2026-07-28; compare `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` with the body",
    guide: None,
    setup: Setup::ONE_REPLICA,
    checks: &[
        &checks::MISMATCH_REFUSED,
        &checks::ENCODED_NAME_SERVED,
        &checks::UNKNOWN_VERSION_REFUSED,
        &checks::INCOMPLETE_META_REFUSED,
        &checks::ABSENT_VERSION_REFUSED,
        &checks::CLIENT_INFO_OPTIONAL,
    ],
    drive: |stage| probe(stage).boxed(),
};

async fn probe(stage: &Stage) -> anyhow::Result<()> {
    let service = stage.service();
    let Some(holder) = stage.open("a", &service).await else {
        return Ok(());
    };
    let session = &holder.session;
    let list = || session.raw(stage.small(), json!({}));
    let mut requests = vec![
        list().without("mcp-method").named(MISMATCH),
        list().with("mcp-method", "tools/call").named(MISMATCH),
        edited(list(), |message| message["params"]["_meta"][META_VERSION] = json!("2025-11-25"))
            .named(MISMATCH),
        of_version(list(), NEVER).named(UNKNOWN_VERSION),
        list().without("mcp-protocol-version").named(VERSIONLESS),
        edited(list(), |message| {
            drop(message["params"].as_object_mut().and_then(|params| params.remove("_meta")))
        })
        .named(INCOMPLETE),
        without_meta(list(), META_CAPABILITIES).named(INCOMPLETE),
        without_meta(list(), META_CLIENT).named(ANONYMOUS),
    ];
    if stage.offers(Need::Tool(Tool::Echo)) {
        let call = || session.raw("tools/call", stage.tool_call(Tool::Echo, &json!({ "text": "named" })));
        let name =
            call().headers.iter().find(|(name, _)| name == "mcp-name").map(|(_, value)| in_base64(value));
        requests.extend([
            call().without("mcp-name").named(MISMATCH),
            call().with("mcp-name", "another-tool").named(MISMATCH),
            call().with("mcp-name", name.unwrap_or_default()).named(ENCODED),
        ]);
    }
    for request in requests {
        session.send(&service, request).await;
    }
    older::come(stage, &holder, &service).await;
    Ok(())
}

/// The same request, of this version in its header and in its body.
fn of_version(raw: Raw, version: &str) -> Raw {
    let raw = raw.with("mcp-protocol-version", version);
    edited(raw, |message| message["params"]["_meta"][META_VERSION] = json!(version))
}

/// The same request without this key in `_meta`.
fn without_meta(raw: Raw, key: &str) -> Raw {
    edited(raw, |message: &mut Value| {
        if let Some(meta) = message["params"]["_meta"].as_object_mut() {
            meta.remove(key);
        }
    })
}
