//! What results say.

use harness::check::{Check, Judgement, Level};
use harness::transcript::history::{At, Call, History};
use serde_json::Value;

use super::super::discover::{CALL, DISCOVER, LIST};
use super::super::{REVISION, SPEC_EARLIER, SPEC_META, SPEC_RESULT, STATELESS};
use crate::streamable::checks::has_result;
use crate::words::reply_text;

/// Where discovery is specified.
const SPEC_DISCOVER: &str = "https://modelcontextprotocol.io/specification/2026-07-28/server/discover";

/// "Servers MUST implement server/discover": <https://modelcontextprotocol.io/specification/2026-07-28/server/discover>.
pub const DISCOVER_ANSWERED: Check = Check {
    id: "discover-answered",
    level: Level::Must,
    sentence: "`server/discover` lets a client query a server's supported protocol versions, capabilities, and identity \
               before sending any other requests. Servers MUST implement it",
    source: SPEC_DISCOVER,
    remedy: "hub: implement `server/discover`",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for call in history.probed_calls(DISCOVER) {
            judgement.judged();
            if !has_result(call) {
                judgement.breach("a result", reply_text(history, call), call.sent);
            }
        }
        judgement
    },
};

/// "`supportedVersions`: Protocol versions the server supports. The client should choose one of these for subsequent
/// requests.": <https://modelcontextprotocol.io/specification/2026-07-28/server/discover#discoverresult>.
pub const DISCOVER_NAMES_REVISION: Check = Check {
    id: "discover-names-revision",
    level: Level::Must,
    sentence: "A discovery result includes `supportedVersions`: Protocol versions the server supports. The client should \
               choose one of these for subsequent requests",
    source: SPEC_DISCOVER,
    remedy: "hub: list every revision that requests are served in",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        let calls: Vec<&Call<'_>> = history.probed_calls(DISCOVER).collect();
        // Whether there is a result at all is another check's business.
        calls.iter().filter(|call| !has_result(call)).for_each(|_| judgement.judged());
        for (at, result) in results(history, &[DISCOVER]) {
            judgement.judged();
            let versions = result["supportedVersions"].as_array();
            if !versions.is_some_and(|versions| versions.iter().any(|version| version == REVISION)) {
                let actual = result["supportedVersions"].to_string();
                judgement.breach(format!("{REVISION} in `supportedVersions`"), actual, at);
            }
        }
        judgement
    },
};

/// "Servers MUST include caching hints on results with resultType: "complete" returned by the following operations:
/// server/discover, tools/list ..": <https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching>.
pub const CACHING_HINTED: Check = Check {
    id: "caching-hinted",
    level: Level::Must,
    sentence: "Servers MUST include caching hints on results with `resultType: \"complete\"` returned by the following \
               operations: `server/discover`, `tools/list`, ..; servers MUST provide a `ttlMs` value that is `>= 0`",
    source: "https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching#cacheable-results",
    remedy: "hub: add `ttlMs` (0 for no caching) and `cacheScope`",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (at, result) in results(history, &[DISCOVER, LIST]) {
            judgement.judged();
            let has_time = result["ttlMs"].as_u64().is_some();
            let has_scope = matches!(result["cacheScope"].as_str(), Some("public" | "private"));
            if !has_time || !has_scope {
                let actual = format!("`ttlMs` {} and `cacheScope` {}", result["ttlMs"], result["cacheScope"]);
                judgement.breach("`ttlMs` of 0 or more, and `cacheScope`", actual, at);
            }
        }
        judgement
    },
};

/// "The result MUST include a resultType field to indicate the type of the result.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic#result-responses>.
pub const RESULT_TYPED: Check = Check {
    id: "result-typed",
    level: Level::Must,
    sentence: "The `result` MUST include a `resultType` field to indicate the type of the result",
    source: SPEC_RESULT,
    remedy: "hub: `resultType: \"complete\"` in every ordinary result",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (at, result) in results(history, &[DISCOVER, LIST, CALL]) {
            judgement.judged();
            if !result["resultType"].is_string() {
                judgement.breach("a `resultType`", result["resultType"].to_string(), at);
            }
        }
        judgement
    },
};

/// "Servers SHOULD include the following .. field in every result's _meta .. to identify themselves":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic#meta>.
pub const SERVER_NAMED: Check = Check {
    id: "server-named",
    level: Level::Should,
    sentence: "Servers SHOULD include the following .. field in every result's `_meta`, unless specifically configured not \
               to do so, to identify themselves without relying on any prior connection state: \
               `io.modelcontextprotocol/serverInfo`",
    source: SPEC_META,
    remedy: "hub: add `io.modelcontextprotocol/serverInfo` with name and version to each result's `_meta`",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for (at, result) in results(history, &[DISCOVER, LIST, CALL]) {
            judgement.judged();
            let name = result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].as_str();
            if name.is_none() {
                judgement.breach("the server's name in `_meta`", result["_meta"].to_string(), at);
            }
        }
        judgement
    },
};

/// "An Mcp-Session-Id header on a request: ignore it, and do not mint or echo session IDs.":
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#earlier-streamable-http-revisions>.
pub const NO_SESSION_MINTED: Check = Check {
    id: "no-session-minted",
    level: Level::Should,
    sentence: "An `Mcp-Session-Id` header on a request: ignore it, and do not mint or echo session IDs",
    source: SPEC_EARLIER,
    remedy: "hub: no `Mcp-Session-Id` in answers of this revision; a client that sees one may depend on it",
    transports: STATELESS,
    needs: &[],
    judge: |history| {
        let mut judgement = Judgement::default();
        for exchange in history.exchanges.values() {
            let Some(head) = exchange.head.filter(|head| head.status < 300) else { continue };
            judgement.judged();
            if head.header("mcp-session-id").is_some() {
                judgement.breach("no `Mcp-Session-Id`", "one", head.at);
            }
        }
        judgement
    },
};

// === helpers ===

/// The results of requests of these names.
fn results(history: &History<'_>, probes: &[&str]) -> Vec<(At, Value)> {
    let calls = probes.iter().flat_map(|probe| history.probed_calls(probe));
    let answer = |call: &Call<'_>| {
        let (at, message) = call.answers.first()?;
        Some((*at, message.get("result")?.clone()))
    };
    calls.filter_map(answer).collect()
}
