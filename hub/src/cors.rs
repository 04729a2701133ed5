//! What a browser must be told before it lets a page of an allowed origin call the hub, and read its answers:
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>.
//!
//! Knows no path and no session. Whether the origin is allowed is decided before ([`crate::origin`]).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use crate::defect::{Defect, Defects};
use crate::reply::{self, Reply};

/// What clients of all eras send.
const HEADERS: &str =
    "authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id";
const METHODS: &str = "GET, POST, DELETE";
/// For how many seconds a browser need not ask again.
const MAX_AGE: &str = "600";

/// The answer to a preflight.
pub fn preflight<B>(request: &Request<B>, defects: Defects) -> Option<Reply> {
    let headers = request.headers();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    is_preflight.then(|| {
        let mut answer = reply::text(StatusCode::NO_CONTENT, "");
        let told = answer.headers_mut();
        told.clear();
        let allowed =
            if defects.has(Defect::CorsForgetsHeaders) { "authorization, content-type" } else { HEADERS };
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
        told.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        name_origin(told, headers.get(ORIGIN));
        answer
    })
}

/// The answer to a request of this origin, as a page may read it.
pub fn readable(mut answer: Reply, origin: Option<&HeaderValue>, defects: Defects) -> Reply {
    if origin.is_none() || defects.has(Defect::CorsMarksNothing) {
        return answer;
    }
    let told = answer.headers_mut();
    name_origin(told, origin);
    if !defects.has(Defect::CorsHidesSessionId) {
        told.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("mcp-session-id"));
    }
    answer
}

fn name_origin(told: &mut HeaderMap, origin: Option<&HeaderValue>) {
    if let Some(origin) = origin {
        told.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        told.append(VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_first_is_answered_here() {
        let request = |method: Method, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri("/mcp");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(()).unwrap()
        };
        let asks = ("access-control-request-method", "POST");
        let origin = ("origin", "https://app.example");
        let answer = preflight(&request(Method::OPTIONS, &[asks, origin]), Defects::default()).unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        for other in [
            request(Method::OPTIONS, &[asks]),
            request(Method::OPTIONS, &[origin]),
            request(Method::POST, &[asks, origin]),
        ] {
            assert!(preflight(&other, Defects::default()).is_none());
        }
    }

    #[test]
    fn who_is_no_page_is_told_nothing() {
        let answer = readable(reply::no_session(), None, Defects::default());
        assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        let origin = HeaderValue::from_static("https://app.example");
        let answer = readable(reply::no_session(), Some(&origin), Defects::default());
        assert_eq!(answer.headers()[ACCESS_CONTROL_EXPOSE_HEADERS], "mcp-session-id");
    }
}
