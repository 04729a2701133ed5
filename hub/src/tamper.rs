//! What defects change of requests and answers as HTTP, before and after whatever handles them.
//!
//! Without `--defect` every request passes untouched. Knows no session and no tools.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, StatusCode};

use crate::app::App;
use crate::defect::Defect;
use crate::reply::{self, Reply};

/// Stands around every path of MCP.
pub async fn around(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Reply {
    let defects = app.replica.defects;
    if defects.has(Defect::DemandsOrigin) && !request.headers().contains_key(ORIGIN) {
        return reply::text(StatusCode::FORBIDDEN, "Origin is missing");
    }
    let opens_stream = request.method() == Method::GET && request.uri().path().starts_with("/sse");
    let mut answer = next.run(request).await;
    if opens_stream && defects.has(Defect::MistypedStream) {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    answer
}
