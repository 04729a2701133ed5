//! The tools that make a hub testable. Their names, arguments and results are described in `README.md` for any hub.
//!
//! A side effect happens when the call begins, and exactly once: that is what checks count. Knows no transport.

mod listed;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult,
    ErrorCode, ErrorData, Implementation, InitializeRequestParams, InitializeResult, JsonObject,
    ListToolsResult, NumberOrString, PaginatedRequestParams, PingRequest, ProgressNotificationParam,
    ProgressToken, ProtocolVersion, ServerCapabilities, ServerConfig, ServerRequest, Tool,
};
use rmcp::service::{PeerRequestOptions, RequestContext, ServiceError};
use rmcp::{RoleServer, ServerHandler};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::crowd;
use crate::defect::{Defect, Defects};
use crate::latest::Latest;
use crate::lock;

const MIB: usize = 1 << 20;
/// The call at which `crashes-on-call` ends the process.
const FATAL_CALL: u64 = 4;
/// How long `asks-for-roots` waits for them.
const ROOTS_LIMIT: Duration = Duration::from_secs(1);

/// What all sessions of this process share.
struct Shared {
    name: Arc<str>,
    defects: Defects,
    listed: Vec<Tool>,
    tallies: Mutex<HashMap<String, i64>>,
    held: Mutex<Vec<Vec<u8>>>,
    instances: AtomicU64,
    last_echo: Mutex<Option<(u64, String)>>,
    calls: AtomicU64,
    lists: AtomicU64,
    latest: Latest,
}

/// The handler of one session, or of one request without a session.
pub struct Tools {
    shared: Arc<Shared>,
    instance: u64,
}

#[derive(Deserialize)]
struct Echo {
    text: String,
}

#[derive(Deserialize)]
struct Count {
    n: u32,
    #[serde(default)]
    interval_ms: u64,
}

#[derive(Deserialize)]
struct Tally {
    key: String,
    #[serde(default = "one")]
    add: i64,
    #[serde(default)]
    hold_ms: u64,
}

#[derive(Deserialize)]
struct Work {
    key: String,
    n: u32,
    #[serde(default)]
    interval_ms: u64,
}

#[derive(Deserialize)]
struct Allocate {
    mib: usize,
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

#[derive(Deserialize)]
struct Ask {
    #[serde(default = "four_seconds")]
    limit_ms: u64,
}

fn one() -> i64 {
    1
}

fn four_seconds() -> u64 {
    4000
}

impl Tools {
    /// The tools of replica `name`.
    pub fn new(name: Arc<str>, defects: Defects) -> Self {
        let mut listed = listed::list();
        if defects.has(Defect::ReplicaDependentTools) {
            listed[0].description = Some(format!("The name of this replica, which is {name}.").into());
        }
        if defects.has(Defect::MisshapesTools) {
            listed[0].input_schema = Arc::default();
        }
        let shared = Shared {
            name,
            defects,
            listed,
            tallies: Mutex::default(),
            held: Mutex::default(),
            instances: AtomicU64::new(1),
            last_echo: Mutex::default(),
            calls: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            latest: Latest::default(),
        };
        Self { shared: Arc::new(shared), instance: 0 }
    }

    /// The same tools for another session.
    pub fn for_session(&self) -> Self {
        let instance = self.shared.instances.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone(), instance }
    }

    async fn run(&self, call: &CallToolRequestParams, context: &RequestContext<RoleServer>) -> Outcome {
        let shared = &self.shared;
        match &*call.name {
            "whoami" if shared.defects.has(Defect::HoardsConnections) => done("hub-0"),
            "whoami" => done(&*shared.name),
            "echo" => {
                let said = arguments(call);
                if said.is_err() && shared.defects.has(Defect::AcceptsAnyArguments) {
                    return done("done");
                }
                let Echo { text } = said?;
                done(self.echoed(text))
            }
            "count" => {
                let Count { n, interval_ms } = arguments(call)?;
                let begun = Instant::now();
                for i in 1..=n {
                    if i > 1 && interval_ms > 0 {
                        let due = Duration::from_millis(interval_ms.saturating_mul(u64::from(i - 1)));
                        wait_until(begun, due).await;
                    }
                    self.counted(context, i, n).await;
                    tokio::task::yield_now().await;
                }
                done(n.to_string())
            }
            "tally" => {
                let Tally { key, add, hold_ms } = arguments(call)?;
                let count = self.add(key, add);
                progress(context, 1, 1).await;
                crowd::hold(shared.defects, hold_ms).await;
                done(count.to_string())
            }
            "work" => {
                let Work { key, n, interval_ms } = arguments(call)?;
                let begun = Instant::now();
                let mut count = self.add(key.clone(), 0);
                for i in 1..=n {
                    if i > 1 && interval_ms > 0 {
                        let due = Duration::from_millis(interval_ms.saturating_mul(u64::from(i - 1)));
                        wait_until(begun, due).await;
                    }
                    count = self.add(key.clone(), 1);
                    progress(context, i, n).await;
                    // The others have a turn, and so has its own cancellation.
                    tokio::task::yield_now().await;
                }
                done(count.to_string())
            }
            "allocate" => {
                let Allocate { mib } = arguments(call)?;
                let touched = tokio::task::spawn_blocking(move || allocate(mib)).await;
                let Ok(Some(touched)) = touched else {
                    return Err(Failure::Result(format!("cannot allocate {mib} MiB")));
                };
                let mut held = lock(&shared.held);
                held.push(touched);
                done((held.iter().map(Vec::len).sum::<usize>() / MIB).to_string())
            }
            "sleep" => {
                let Sleep { ms } = arguments(call)?;
                crowd::hold(shared.defects, ms).await;
                done(format!("slept {ms} ms"))
            }
            "ask" => {
                let Ask { limit_ms } = arguments(call)?;
                let version = context.protocol_version();
                // 2026-07-28 has no questions of a server.
                if version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28) {
                    return Err(Failure::Result("This revision asks clients nothing".to_owned()));
                }
                let question = ServerRequest::PingRequest(PingRequest::default());
                match asked(context, question, Duration::from_millis(limit_ms)).await {
                    Ok(()) => done("answered"),
                    Err(error) => Err(Failure::Result(format!("The client did not answer: {error}"))),
                }
            }
            _ if shared.defects.has(Defect::RunsUnknownTools) => done("done"),
            name if shared.defects.has(Defect::InventsErrorCodes) => {
                let error = ErrorData::new(ErrorCode(-32050), format!("Unknown tool: {name}"), None);
                Err(Failure::Protocol(error))
            }
            name => Err(Failure::Protocol(ErrorData::invalid_params(format!("Unknown tool: {name}"), None))),
        }
    }

    /// Adds to a counter of this process and answers what it is then.
    fn add(&self, key: String, add: i64) -> i64 {
        let mut tallies = lock(&self.shared.tallies);
        let count = tallies.entry(key).or_default();
        *count = count.saturating_add(add);
        *count
    }

    /// Reports the progress of `count`.
    async fn counted(&self, context: &RequestContext<RoleServer>, i: u32, n: u32) {
        let defects = self.shared.defects;
        let done = if defects.has(Defect::ProgressFalls) { n - i } else { i };
        if defects.has(Defect::ProgressOfOthers) && context.meta.get_progress_token().is_some() {
            let token = ProgressToken(NumberOrString::Number(4711));
            let _ =
                context.peer.notify_progress(ProgressNotificationParam::new(token, f64::from(done))).await;
        } else if defects.has(Defect::ProgressToLast) {
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(done));
                let _ = self.shared.latest.or(&context.peer).notify_progress(progress).await;
            }
        } else {
            progress(context, done, n).await;
        }
    }

    fn echoed(&self, text: String) -> String {
        let shared = &self.shared;
        if shared.defects.has(Defect::CrossesStreams) {
            let last = lock(&shared.last_echo).replace((self.instance, text.clone()));
            return last.filter(|(instance, _)| *instance != self.instance).map_or(text, |(_, other)| other);
        }
        if shared.defects.has(Defect::AnswersInAscii) {
            return text.replace(|character: char| !character.is_ascii(), "?");
        }
        if shared.defects.has(Defect::ReplicaDependentAnswers) {
            return format!("{text} {}", shared.name);
        }
        if shared.defects.has(Defect::ShowsSecrets)
            && let Ok(secret) = std::env::var("POSTGRES_PASSWORD")
        {
            return format!("{text} {secret}");
        }
        text
    }
}

enum Failure {
    /// The caller of the tool sees it.
    Result(String),
    /// The client's program sees it.
    Protocol(ErrorData),
}

type Outcome = Result<String, Failure>;

#[expect(clippy::unnecessary_wraps, reason = "the last line of every tool")]
fn done(text: impl Into<String>) -> Outcome {
    Ok(text.into())
}

fn arguments<'a, T: Deserialize<'a>>(call: &'a CallToolRequestParams) -> Result<T, Failure> {
    static NONE: std::sync::LazyLock<JsonObject> = std::sync::LazyLock::new(JsonObject::new);
    T::deserialize(call.arguments.as_ref().unwrap_or(&NONE))
        .map_err(|error| Failure::Result(format!("Invalid arguments for {}: {error}", call.name)))
}

async fn progress(context: &RequestContext<RoleServer>, done: u32, total: u32) {
    if let Some(token) = context.meta.get_progress_token() {
        let progress = ProgressNotificationParam::new(token, f64::from(done)).with_total(f64::from(total));
        // A client that went away does not stop the call; a cancellation does.
        let _ = context.peer.notify_progress(progress).await;
    }
}

/// Asks the client on the stream of its call, and waits for its answer.
async fn asked(
    context: &RequestContext<RoleServer>,
    question: ServerRequest,
    limit: Duration,
) -> Result<(), ServiceError> {
    let options = PeerRequestOptions::with_timeout(limit);
    context.peer.send_request_with_option(question, options).await?.await_response().await.map(|_| ())
}

/// What `asks-for-roots` asks.
#[expect(deprecated, reason = "revisions before 2026-07-28 have it")]
fn for_roots() -> ServerRequest {
    ServerRequest::ListRootsRequest(rmcp::model::ListRootsRequest::default())
}

/// Waits until `after` has passed since `begun`; without end when that is too long to count.
pub(crate) async fn wait_until(begun: Instant, after: Duration) {
    match begun.checked_add(after) {
        Some(due) if !after.is_zero() => sleep_until(due).await,
        Some(_) => {}
        None => std::future::pending().await,
    }
}

/// Touches every page, so that the memory is really there.
fn allocate(mib: usize) -> Option<Vec<u8>> {
    let size = mib.checked_mul(MIB)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).ok()?;
    bytes.resize(size, 1);
    Some(bytes)
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("hubcheck-hub", env!("CARGO_PKG_VERSION")))
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut result = self.negotiate_initialize(&request)?;
        if self.shared.defects.has(Defect::EchoesAnyVersion) {
            result.protocol_version = request.protocol_version.clone();
        }
        if self.shared.defects.has(Defect::NegotiatesDown)
            && request.protocol_version == ProtocolVersion::V_2025_11_25
        {
            result.protocol_version = ProtocolVersion::V_2025_06_18;
        }
        if self.shared.defects.has(Defect::OffersOldestVersion)
            && result.protocol_version != request.protocol_version
        {
            result.protocol_version = ProtocolVersion::V_2024_11_05;
        }
        if self.shared.defects.has(Defect::ProgressToLast) {
            self.shared.latest.opened(&context.peer);
        }
        // The peer speaks the version that was agreed on, not the one it asked for.
        let mut peer = request;
        peer.protocol_version = result.protocol_version.clone();
        context.peer.set_peer_info(peer);
        Ok(result)
    }

    async fn ping(&self, _context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        if self.shared.defects.has(Defect::FailsPings) {
            return Err(ErrorData::internal_error("no ping here", None));
        }
        Ok(())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.shared.defects.has(Defect::AsksForRoots) {
            // A client that has no roots answers with an error, and that is no news here.
            let _ = asked(&context, for_roots(), ROOTS_LIMIT).await;
        }
        let mut tools = self.shared.listed.clone();
        let lists = self.shared.lists.fetch_add(1, Ordering::Relaxed);
        if lists == 0 && self.shared.defects.has(Defect::FirstListIsShort) {
            tools.pop();
        }
        if lists % 2 == 1 && self.shared.defects.has(Defect::ReordersTools) {
            tools.reverse();
        }
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let calls = self.shared.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if calls == FATAL_CALL && self.shared.defects.has(Defect::CrashesOnCall) {
            std::process::exit(1);
        }
        let work = async {
            if self.shared.defects.has(Defect::ExecutesTwice) {
                tokio::join!(self.run(&call, &context), self.run(&call, &context)).1
            } else {
                self.run(&call, &context).await
            }
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = context.ct.cancelled() => {
                return Err(ErrorData::new(ErrorCode(-32800), "Request cancelled", None));
            }
        };
        match outcome {
            Ok(text) => Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into()),
            Err(Failure::Result(text)) => Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into()),
            Err(Failure::Protocol(error)) => Err(error),
        }
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        // 2026-07-28 has no `initialize`, whatever its parameters.
        let version = context.protocol_version();
        let has_initialize =
            version.is_none_or(|version| version.as_str() < ProtocolVersion::V_2026_07_28.as_str());
        if self.shared.defects.has(Defect::AnswersUnknownMethods) {
            return Ok(CustomResult(json!({})));
        }
        if self.shared.defects.has(Defect::MislabelsUnknownMethods) {
            return Err(ErrorData::invalid_params("Invalid request parameters", None));
        }
        // rmcp reads a known method with unreadable parameters as one that it does not know.
        Err(match &*request.method {
            "initialize" if !has_initialize => {
                ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None)
            }
            "initialize" | "tools/call" | "tools/list" => {
                ErrorData::invalid_params(format!("Invalid params for {}", request.method), None)
            }
            _ => ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found", None),
        })
    }
}
