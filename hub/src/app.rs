//! What answers a request: the paths of the hub.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::{any, get, post};
use http::StatusCode;
use http::header::{AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE};

use crate::cli::Toolset;
use crate::defect::Defect;
use crate::forward::Forwarder;
use crate::guard::Guard;
use crate::handler::Handler;
use crate::origin::Origins;
use crate::replica::Replica;
use crate::reply::{self, Reply};
use crate::{body, cors, spoil, sse, streamable, tamper};

const NOWHERE: &str =
    "Nothing here: MCP is at /sse (HTTP+SSE) and /mcp (Streamable HTTP), health at /healthz and /readyz";

/// How long `ready-too-soon` cannot serve after it was first asked whether it can.
const NOT_YET: Duration = Duration::from_millis(1500);

/// What the handlers of all paths share.
pub struct App {
    /// This replica and its sessions.
    pub replica: Arc<Replica>,
    /// The way to other replicas.
    pub forwarder: Arc<Forwarder>,
    /// What clients can call.
    pub handler: Arc<Handler>,
    /// rmcp, for `/mcp`.
    pub mcp: streamable::Service,
    /// Who may call from a browser.
    pub origins: Origins,
    /// Who may call at all.
    pub guard: Guard,
    /// When a probe first asked whether it is ready.
    asked: OnceLock<Instant>,
}

impl App {
    /// Everything that answers requests for `replica`.
    pub fn new(replica: Arc<Replica>, toolset: Toolset, origins: Origins, guard: Guard) -> Self {
        let handler = Arc::new(Handler::new(&replica, toolset));
        let mcp = streamable::service(replica.clone(), handler.clone());
        Self { replica, forwarder: Arc::default(), handler, mcp, origins, guard, asked: OnceLock::new() }
    }

    /// The paths.
    pub fn router(self: Arc<Self>) -> Router {
        let open = |State(app), request| sse::open(app, request);
        let message = |State(app), request| spoil::posted(app, request);
        Router::new()
            .route("/sse", get(open))
            .route("/sse/", get(open))
            .route(sse::MESSAGES, post(message))
            .route("/messages/", post(message))
            .route("/mcp", any(|State(app), request| spoil::mcp(app, request)))
            .route("/mcp/", any(|State(app), request| spoil::mcp(app, request)))
            .layer(from_fn_with_state(self.clone(), admit))
            .layer(from_fn_with_state(self.clone(), tamper::around))
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .fallback(nowhere)
            .layer(from_fn(body::unread))
            .with_state(self)
    }
}

async fn admit(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Reply {
    if app.replica.defects.has(Defect::ReadyTooSoon)
        && app.asked.get().is_none_or(|asked| asked.elapsed() < NOT_YET)
    {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "not yet");
    }
    if app.replica.defects.has(Defect::WaitsInLine) {
        app.forwarder.turn().await;
    }
    if let Some(lacks) = &app.replica.lacks {
        if app.replica.defects.has(Defect::HangsWithoutSecret) {
            return std::future::pending().await;
        }
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, lacks.clone());
    }
    match app.origins.check(request.headers()) {
        Ok(()) => admitted(&app, request, next).await,
        Err(_) if app.replica.defects.has(Defect::IgnoresOrigin) => admitted(&app, request, next).await,
        Err(_) if app.replica.defects.has(Defect::MisanswersOrigin) => {
            reply::text(StatusCode::BAD_REQUEST, "Bad origin")
        }
        Err(answer) => answer,
    }
}

/// What comes of a request of an origin that may call.
async fn admitted(app: &App, request: Request<Body>, next: Next) -> Reply {
    let defects = app.replica.defects;
    // A browser asks first, and without credentials.
    if let Some(answer) = cors::preflight(&request, defects) {
        return answer;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let answer = match app.guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(_) if defects.has(Defect::ServesStrangers) => next.run(request).await,
        Err(_) if defects.has(Defect::TakesAnyToken) && request.headers().contains_key(AUTHORIZATION) => {
            next.run(request).await
        }
        Err(mut answer) => {
            if defects.has(Defect::HidesChallenge) {
                answer.headers_mut().remove(WWW_AUTHENTICATE);
            }
            answer
        }
    };
    cors::readable(answer, origin.as_ref(), defects)
}

/// What a client with a wrong URL is told.
async fn nowhere(State(app): State<Arc<App>>) -> Reply {
    if app.replica.defects.has(Defect::UnknownPathIs503) {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else if app.replica.defects.has(Defect::UnknownPathIsBare) {
        reply::text(StatusCode::NOT_FOUND, "")
    } else {
        reply::text(StatusCode::NOT_FOUND, NOWHERE)
    }
}

async fn alive(State(app): State<Arc<App>>) -> Reply {
    if app.replica.defects.has(Defect::NoHealthz) {
        return nowhere(State(app)).await;
    }
    reply::text(StatusCode::OK, "alive")
}

async fn ready(State(app): State<Arc<App>>) -> Reply {
    app.asked.get_or_init(Instant::now);
    if app.replica.defects.has(Defect::NeverReady) {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "starting")
    } else if app.replica.drain.is_draining() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        reply::text(StatusCode::OK, "ready")
    }
}
