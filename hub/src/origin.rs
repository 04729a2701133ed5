//! Who may call from a browser: a request with an `Origin` header must name an allowed one.
//!
//! Requests without `Origin` come from programs and are always accepted. The `Host` header is not looked at: behind a Service
//! it is whatever name the client used. Knows no path and no session.

use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};

use crate::reply::{self, Reply};

/// The origins of `--allow-origin`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// From the command line; a trailing slash and letter case do not matter.
    pub fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        Self(allowed.into_iter().map(|origin| normal(&origin)).collect())
    }

    /// Whether a request with these headers may go on.
    ///
    /// # Errors
    /// The 403 to answer when not.
    #[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Reply> {
        for origin in headers.get_all(ORIGIN) {
            let allowed = origin.to_str().is_ok_and(|origin| self.0.contains(&normal(origin)));
            if !allowed {
                return Err(reply::text(
                    StatusCode::FORBIDDEN,
                    "This origin is not allowed: see --allow-origin",
                ));
            }
        }
        Ok(())
    }
}

fn normal(origin: &str) -> String {
    origin.trim().trim_end_matches('/').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        Origins::new(["https://App.example/".to_owned()]).check(&headers).is_ok()
    }

    #[test]
    fn only_listed_origins_and_none_at_all() {
        assert!(accepts(None));
        assert!(accepts(Some("https://app.example")));
        assert!(!accepts(Some("https://app.example:8443")));
        assert!(!accepts(Some("http://app.example")));
        assert!(!accepts(Some("null")));
        assert!(!accepts(Some("")));
    }
}
