//! What defects change on `/mcp`: requests before they are handled, answers after; and messages on `/messages`.
//!
//! Without such a defect nothing here runs. Each works on HTTP and JSON-RPC as they are on the wire, so that no other module has to
//! know how it can be broken.

mod answer;
mod body;
mod posted;
mod request;

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Method, Request, header};
use serde_json::Value;

use crate::app::App;
use crate::body as whole;
use crate::defect::Defect;
use crate::reply::Reply;
use crate::streamable;

pub use posted::posted;
pub use request::Remembered;

/// The defects that act here.
const HERE: &[Defect] = &[
    Defect::NotificationsAre200,
    Defect::AcceptsWithBody,
    Defect::AnswersAsText,
    Defect::HoldsAnsweredStreams,
    Defect::SpacedSessionIds,
    Defect::RepeatsSessionIds,
    Defect::MissingIdIs404,
    Defect::DeleteIs500,
    Defect::AcceptsAnyVersion,
    Defect::DemandsVersion,
    Defect::GetIs404,
    Defect::AcceptsBadJson,
    Defect::BadJsonEndsSession,
    Defect::RefusesBatches,
    Defect::DisconnectEndsSession,
    Defect::EndsStreamsEarly,
    Defect::AnswersPong,
    Defect::OffersOldestVersion,
    Defect::RefusesEventIds,
    Defect::ServesWithoutVersion,
    Defect::TellsSubscribersAll,
    Defect::ListsLessOnReuse,
    Defect::NoDiscover,
    Defect::DiscoversOtherVersions,
    Defect::NoCachingHints,
    Defect::NoServerInfo,
    Defect::NoResultType,
    Defect::MintsSessionIds,
    Defect::RefusesStaleIds,
    Defect::IgnoresHeaders,
    Defect::ReadsHeadersLiterally,
    Defect::ServesAnyVersion,
    Defect::DemandsNothing,
    Defect::DemandsClientInfo,
    Defect::UnknownMethodIs200,
    Defect::StreamsOnGet,
    Defect::LetsProxiesBuffer,
    Defect::AsksInStreams,
    Defect::LogsUnasked,
    Defect::IgnoresDisconnect,
    Defect::UnasksFirst,
    Defect::CutsSubscriptions,
    Defect::RemembersConnections,
    Defect::DropsStrayNotifications,
    Defect::DropsStrayResponses,
    Defect::ManglesStringIds,
    Defect::NegotiatesDown,
    Defect::OddTypeEndsSession,
    Defect::RefusesCancellations,
    Defect::CancelEndsSession,
];

/// A request as it came, before anything was changed.
struct Asked {
    method: Method,
    headers: HeaderMap,
    /// What the body says; `None` when it is no JSON.
    message: Option<Value>,
    /// Whether it is of 2026-07-28 or later.
    is_modern: bool,
    /// Whether its connection has carried a request before, where that is remembered.
    is_later: bool,
}

/// Any request on `/mcp`.
pub async fn mcp(app: Arc<App>, request: Request<Body>) -> Reply {
    let defects = app.replica.defects;
    if !HERE.iter().any(|defect| defects.has(*defect)) {
        return streamable::handle(app, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let bytes = match whole::read(body, &app.replica.limits).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let asked = Asked::new(&parts, serde_json::from_slice(&bytes).ok());
    if let Some(answer) = request::answered(&app, &asked) {
        return answer;
    }
    let body = match request::changed(defects, &asked, &mut parts) {
        Some(message) => Body::from(message.to_string()),
        None => Body::from(bytes),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    let request = Request::from_parts(parts, body);
    let reply = if defects.has(Defect::IgnoresDisconnect) {
        body::detached(streamable::handle(app.clone(), request)).await
    } else {
        streamable::handle(app.clone(), request).await
    };
    answer::spoiled(&app, defects, &asked, reply).await
}

// === impl Asked ===

impl Asked {
    fn new(parts: &Parts, message: Option<Value>) -> Self {
        let is_modern = |version: &str| version >= MODERN;
        let stated = message.as_ref().and_then(|message| message["params"]["_meta"][META_VERSION].as_str());
        Self {
            method: parts.method.clone(),
            is_modern: stated.is_some() || text(&parts.headers, VERSION).is_some_and(is_modern),
            headers: parts.headers.clone(),
            is_later: parts.extensions.get::<Remembered>().is_some_and(Remembered::was_used),
            message,
        }
    }

    /// The JSON-RPC method.
    fn rpc(&self) -> &str {
        self.message.as_ref().and_then(|message| message["method"].as_str()).unwrap_or_default()
    }

    /// Whether it is a JSON-RPC request: something that is answered.
    fn is_request(&self) -> bool {
        self.message
            .as_ref()
            .is_some_and(|message| message.get("method").is_some() && message.get("id").is_some())
    }

    /// Whether it is a request whose id is a string.
    fn has_string_id(&self) -> bool {
        self.is_request() && self.message.as_ref().is_some_and(|message| message["id"].is_string())
    }

    /// Whether it is an `initialize` that asks for another version than this.
    fn asks_for_another(&self, version: &str) -> bool {
        self.rpc() == "initialize" && !self.asks_for(version)
    }

    /// Whether it is an `initialize` that asks for this version.
    fn asks_for(&self, version: &str) -> bool {
        self.rpc() == "initialize"
            && self.message.as_ref().is_some_and(|message| message["params"]["protocolVersion"] == version)
    }

    /// Whether it is an answer of the client.
    fn is_response(&self) -> bool {
        self.message
            .as_ref()
            .is_some_and(|message| message.get("method").is_none() && message.get("id").is_some())
    }

    /// Whether it is a notification.
    fn is_notification(&self) -> bool {
        self.message.is_some() && !self.is_request() && !self.is_response()
    }

    /// Whether it cancels a call.
    fn is_cancellation(&self) -> bool {
        self.rpc() == "notifications/cancelled"
    }

    /// Whether its body is declared as JSON, or there is none.
    fn says_json(&self) -> bool {
        let is_json = |kind: &str| kind.starts_with("application/json");
        self.method != Method::POST || self.header(header::CONTENT_TYPE.as_str()).is_some_and(is_json)
    }

    /// Whether it calls this tool.
    fn calls(&self, tool: &str) -> bool {
        self.rpc() == "tools/call"
            && self.message.as_ref().is_some_and(|message| message["params"]["name"] == tool)
    }

    fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }
}

// === names on the wire ===

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const MODERN: &str = "2026-07-28";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
