//! Where an HTTP+SSE session's messages go: the URI of the `endpoint` event, and the session's id in it.
//!
//! Pure. The specification says nothing about the URI's form, so it is resolved against the stream's URL and used
//! as it is. Only the probes with another id need to know where the id stands, and that is a guess.

use std::ops::Range;

use url::{Position, Url};

/// A resolved endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Path and query.
    target: String,
    /// Where the id stands in it.
    id: Option<Range<usize>>,
}

impl Endpoint {
    /// Resolves what the hub said against the URL of its stream, as RFC 3986 says.
    ///
    /// Of another origin only path and query are kept: messages go where the scenario sends them.
    pub(super) fn resolve(stream: &str, said: &str) -> Result<Self, url::ParseError> {
        let url = Url::parse(stream)?.join(said)?;
        if url.cannot_be_a_base() {
            return Err(url::ParseError::RelativeUrlWithCannotBeABaseBase);
        }
        let target = url[Position::BeforePath..Position::AfterQuery].to_owned();
        let id = find_id(&target);
        Ok(Self { target, id })
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The session's id, as it is written in the URI.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.clone().map(|range| &self.target[range])
    }

    /// The endpoint of another session.
    pub(super) fn with_id(&self, id: &str) -> Self {
        let Some(range) = self.id.clone() else {
            return self.clone();
        };
        let mut target = self.target.clone();
        target.replace_range(range.clone(), id);
        Self { target, id: Some(range.start..range.start + id.len()) }
    }
}

/// A random id of the same form: each digit, letter or hex digit is replaced by another of its kind.
pub(super) fn made_up(id: &str) -> Option<String> {
    // Enough for any id with more than one random character to differ.
    (0..16).find_map(|_| Some(randomised(id)?).filter(|made_up| made_up != id))
}

// === helpers ===

/// From so many characters on an id is long enough to keep its beginning.
const LONG: usize = 40;

/// How much of a long id's beginning is kept.
const PREFIX: usize = 8;

/// The value of the only query parameter; of several, that of the one named like a session, else the longest;
/// without a query, a last path segment that looks like an id.
fn find_id(target: &str) -> Option<Range<usize>> {
    let Some((path, query)) = target.split_once('?') else {
        let start = target.rfind('/')? + 1;
        let segment = &target[start..];
        let looks_like_id = segment.len() >= 8 && segment.bytes().any(|byte| byte.is_ascii_digit());
        return looks_like_id.then_some(start..target.len());
    };
    let mut start = path.len() + 1;
    let mut parameters = Vec::new();
    for parameter in query.split('&') {
        let end = start + parameter.len();
        if let Some((name, value)) = parameter.split_once('=')
            && !value.is_empty()
        {
            parameters.push((name.to_ascii_lowercase(), end - value.len()..end));
        }
        start = end + 1;
    }
    let named = parameters.iter().find(|(name, _)| name.contains("session"));
    let longest = || parameters.iter().max_by_key(|(_, range)| range.len());
    named.or_else(longest).map(|(_, range)| range.clone())
}

fn randomised(id: &str) -> Option<String> {
    let digits = || id.bytes().filter(|byte| *byte != b'-');
    let is_hex = digits().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = is_hex && digits().count() == 32;
    let has_upper = id.bytes().any(|byte| byte.is_ascii_uppercase());
    // Long ids often begin with something that is no secret, a key's or a format's name: the rest is random enough.
    let kept = if digits().count() >= LONG { PREFIX } else { 0 };
    let mut random = vec![0; id.len()];
    getrandom::fill(&mut random).ok()?;
    let mut nth = 0;
    let mut escaped = 0;
    let replaced = id.chars().zip(random).map(|(old, random)| {
        let pick = |alphabet: &[u8]| char::from(alphabet[usize::from(random) % alphabet.len()]);
        let place = nth;
        nth += usize::from(old != '-');
        if old == '%' {
            escaped = 2;
            return old;
        }
        if escaped > 0 {
            escaped -= 1;
            return old;
        }
        if place < kept {
            return old;
        }
        match old {
            // A UUID's version and variant belong to its form.
            _ if is_uuid && matches!(place, 12 | 16) => old,
            '-' => old,
            _ if is_hex => pick(if has_upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" }),
            '0'..='9' => pick(b"0123456789"),
            'a'..='z' => pick(b"abcdefghijklmnopqrstuvwxyz"),
            'A'..='Z' => pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            _ => old,
        }
    });
    Some(replaced.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(said: &str) -> Endpoint {
        Endpoint::resolve("http://hub:8000/mcp/sse?x=1", said).unwrap()
    }

    #[test]
    fn an_endpoint_is_resolved_against_the_stream() {
        for (said, target) in [
            ("/messages/?session_id=1f", "/messages/?session_id=1f"),
            ("messages?sessionId=1", "/mcp/messages?sessionId=1"),
            ("../m?s=1", "/m?s=1"),
            ("?session=1", "/mcp/sse?session=1"),
            ("http://hub:8000/m?s=1#f", "/m?s=1"),
            ("https://other.example/m?s=1", "/m?s=1"),
            ("//other.example", "/"),
        ] {
            assert_eq!(resolved(said).target(), target, "{said}");
        }
    }

    #[test]
    fn what_is_no_uri_is_an_error() {
        for said in ["http://[bad", "mailto:x@example.com"] {
            assert!(Endpoint::resolve("http://hub/sse", said).is_err(), "{said}");
        }
    }

    #[test]
    fn the_id_is_found_and_replaced() {
        for (said, id, with_new) in [
            ("/m?session_id=1f", Some("1f"), "/m?session_id=new"),
            ("/m?token=abcdef&SessionId=7&x=12", Some("7"), "/m?token=abcdef&SessionId=new&x=12"),
            ("/m?a=1&b=long&c=", Some("long"), "/m?a=1&b=new&c="),
            ("/m/0123456789abcdef", Some("0123456789abcdef"), "/m/new"),
            ("/messages", None, "/messages"),
            ("/m?flag", None, "/m?flag"),
        ] {
            let endpoint = resolved(said);
            assert_eq!(endpoint.id(), id, "{said}");
            assert_eq!(endpoint.with_id("new").target(), with_new);
            assert_eq!(endpoint.with_id("new").id(), id.map(|_| "new"));
        }
    }

    #[test]
    fn a_made_up_id_has_the_form_of_the_given_one() {
        let uuid = "0d4f8a6e-7c1b-4e2a-9f3d-5b6c7d8e9f01";
        for id in [uuid, &uuid.replace('-', ""), "AbZ_9-x.y", "12345678", "a%2Fb3"] {
            let made_up = made_up(id).unwrap();
            assert_ne!(made_up, id);
            assert_eq!(made_up.len(), id.len());
            for (old, new) in id.chars().zip(made_up.chars()) {
                assert_eq!(old.is_ascii_alphanumeric(), new.is_ascii_alphanumeric(), "{id} {made_up}");
                assert!(old.is_ascii_alphanumeric() || old == new, "{id} {made_up}");
            }
        }
        assert_eq!(&made_up(uuid).unwrap()[14..15], "4");
        assert!(made_up("a%2Fb3").unwrap().contains("%2F"));
        assert_eq!(made_up("---"), None);
        assert_eq!(made_up(""), None);
    }
}
