//! Who may call at all: with `--token`, a request must carry that token.
//!
//! Knows no path and no session.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::reply::{self, Reply};

/// The token of `--token`, as its hash: comparing hashes takes as long for any token.
#[derive(Clone, Debug, Default)]
pub struct Guard(Option<[u8; 32]>);

impl Guard {
    /// From the command line; no token, or an empty one, lets everyone in.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(hash))
    }

    /// Whether a request with these headers may go on.
    ///
    /// # Errors
    /// The 401 to answer when not.
    #[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Reply> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let token = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) if hash(token) == *wanted => Ok(()),
            Some(_) => Err(refused("Bearer realm=\"hub\", error=\"invalid_token\"")),
            None => Err(refused("Bearer realm=\"hub\"")),
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn refused(challenge: &'static str) -> Reply {
    let mut answer = reply::text(StatusCode::UNAUTHORIZED, "This hub asks for a token: see --token");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(token: Option<&str>, authorization: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        Guard::new(token).check(&headers).is_ok()
    }

    #[test]
    fn only_its_token_and_only_where_there_is_one() {
        assert!(accepts(None, None) && accepts(Some(""), None) && accepts(None, Some("Bearer x")));
        assert!(accepts(Some("t"), Some("Bearer t")) && accepts(Some("t"), Some("bearer t")));
        for wrong in [None, Some("Bearer"), Some("Bearer "), Some("Bearer u"), Some("Basic t"), Some("t")] {
            assert!(!accepts(Some("t"), wrong), "{wrong:?}");
        }
    }
}
