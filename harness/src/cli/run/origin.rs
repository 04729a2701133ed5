//! The argument of `--origin`.

use super::CommandError;

/// An origin as a browser sends it: scheme, host and port.
pub(super) fn origin_arg(origin: &str) -> Result<String, CommandError> {
    let parsed = url::Url::parse(origin).map(|url| url.origin());
    match parsed {
        Ok(parsed) if parsed.is_tuple() => Ok(parsed.ascii_serialization()),
        _ => Err(CommandError::usage(format!("`--origin {origin}` is no origin"))
            .hint("write scheme, host and port, such as `--origin https://app.example`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_as_a_browser_tells_it() {
        assert_eq!(origin_arg("https://App.example:443/").ok().as_deref(), Some("https://app.example"));
        assert_eq!(origin_arg("http://localhost:6274").ok().as_deref(), Some("http://localhost:6274"));
        for wrong in ["app.example", "null", "file:///x", ""] {
            assert!(origin_arg(wrong).is_err(), "{wrong}");
        }
    }
}
