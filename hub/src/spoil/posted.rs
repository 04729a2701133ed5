//! What defects do to messages on `/messages`.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};

use super::Asked;
use crate::app::App;
use crate::body as whole;
use crate::defect::Defect;
use crate::replica::Place;
use crate::reply::{self, Reply};
use crate::sse;

/// The defects that act here.
const HERE: &[Defect] = &[
    Defect::DropsStrayNotifications,
    Defect::DropsStrayResponses,
    Defect::OddTypeEndsSession,
    Defect::RefusesCancellations,
    Defect::CancelEndsSession,
    Defect::RefusesStrayDeletes,
];

/// Any message on `/messages`.
pub async fn posted(app: Arc<App>, request: Request<Body>) -> Reply {
    if !HERE.iter().any(|defect| app.replica.defects.has(*defect)) {
        return sse::post(app, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let bytes = match whole::read(body, &app.replica.limits).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let asked = Asked::new(&parts, serde_json::from_slice(&bytes).ok());
    let id = sse::session_id(&parts.uri).unwrap_or_default();
    // This transport has no DELETE.
    if app.replica.defects.has(Defect::RefusesStrayDeletes)
        && asked.is_notification()
        && matches!(app.replica.locate(&id, None), Place::Elsewhere(_))
    {
        return reply::no_session();
    }
    if let Some(answer) = asked.broken_in(&app, &id) {
        return answer;
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    sse::post(app, Request::from_parts(parts, Body::from(bytes))).await
}

impl Asked {
    /// What a defect makes of a message for the session with this id, over either transport that has sessions.
    pub(super) fn broken_in(&self, app: &App, id: &str) -> Option<Reply> {
        let has = |defect| app.replica.defects.has(defect);
        let ends = has(Defect::CancelEndsSession) && self.is_cancellation()
            || has(Defect::OddTypeEndsSession) && !self.says_json();
        if ends {
            app.replica.sessions.end(id);
        }
        if has(Defect::RefusesCancellations) && self.is_cancellation() {
            return Some(reply::text(StatusCode::BAD_REQUEST, "Nothing to cancel"));
        }
        let drops = has(Defect::DropsStrayNotifications) && self.is_notification()
            || has(Defect::DropsStrayResponses) && self.is_response();
        (drops && matches!(app.replica.locate(id, None), Place::Elsewhere(_)))
            .then(|| reply::text(StatusCode::ACCEPTED, ""))
    }
}
