//! Which of what the user gave is a secret: values of `--env`, of `--header`, and parts of URLs.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::Url;

use crate::transcript::Secret;

/// What a variable's name holds when its value is a secret.
const TELLING: [&str; 8] =
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CONNECTION_STRING"];

/// What such a name ends with.
const TELLING_ENDS: [&str; 5] = ["_PASS", "_PWD", "_DSN", "_AUTH", "_PAT"];

/// What no secret is, whatever its variable is called: masked, it would be found in every JSON text.
const NO_SECRETS: [&str; 3] = ["true", "false", "null"];

/// A shorter word of a header's value is no credential, and would be found in other texts.
const LONG_WORD: usize = 8;

/// The secrets among variables: those whose names say so, and what the URL in any other authenticates with.
pub(in crate::run) fn secret_env(env: &[(String, String)]) -> Vec<Secret> {
    env.iter().flat_map(|(name, value)| of_variable(name, value)).collect()
}

/// Whether a variable's value must not be shown.
pub(crate) fn is_secret_variable(name: &str, value: &str) -> bool {
    !of_variable(name, value).is_empty()
}

/// A header's whole value, and each of its words that may be a credential: a hub may log that alone.
pub(super) fn of_header(name: &str, value: &str) -> Vec<Secret> {
    let secret = |value: &str| Secret { name: format!("header {name}"), value: value.to_owned() };
    let mut secrets = vec![secret(value)];
    secrets.extend(credentials(value).filter(|word| *word != value).map(secret));
    secrets.extend(basic_password(value).as_deref().map(secret));
    secrets
}

/// The values of the query of a path: many a hub is given its token so.
pub(super) fn of_path(path: &str) -> Vec<Secret> {
    let (_, query) = path.split_once('?').unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    // A query that is one word is a value without a name.
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or(("", pair)));
    pairs.flat_map(|(name, value)| as_written_and_meant(format!("query {name}").trim_end(), value)).collect()
}

/// What a URL's user authenticates with: a password; a user without one is a token.
pub(super) fn of_userinfo(url: &Url, name: &str) -> Vec<Secret> {
    let secret = url.password().unwrap_or_else(|| url.username());
    if secret.is_empty() { Vec::new() } else { as_written_and_meant(name, secret) }
}

// === helpers ===

fn of_variable(name: &str, value: &str) -> Vec<Secret> {
    if value.is_empty() || NO_SECRETS.contains(&value) {
        return Vec::new();
    }
    let mut secrets = Url::parse(value).map(|url| of_userinfo(&url, name)).unwrap_or_default();
    if tells(name) {
        secrets.push(Secret { name: name.to_owned(), value: value.to_owned() });
    }
    secrets
}

fn tells(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    TELLING.iter().any(|word| name.contains(word))
        || TELLING_ENDS.iter().any(|end| name.ends_with(end) || name == end[1..] && name != "PWD")
}

/// A value as the URL has it, and as the hub reads it.
fn as_written_and_meant(name: &str, value: &str) -> Vec<Secret> {
    let mut secrets = vec![Secret { name: name.to_owned(), value: value.to_owned() }];
    let meant = decoded(value);
    if meant != value {
        secrets.push(Secret { name: name.to_owned(), value: meant.into_owned() });
    }
    secrets
}

/// A percent-encoded word, decoded.
pub(super) fn decoded(word: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(word).decode_utf8_lossy()
}

/// The long words of a header's value, without the scheme that they begin with: of `name=value` the value.
fn credentials(value: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = value.split([' ', '\t', ';', ',']).filter(|word| !word.is_empty()).collect();
    let has_scheme = words.len() > 1 && words[0].bytes().all(|byte| byte.is_ascii_alphabetic());
    let credentials = words.into_iter().skip(usize::from(has_scheme)).map(|word| {
        let padded = word.trim_end_matches('=');
        let value = padded.split_once('=').map_or(padded, |(_, value)| value);
        value.trim_matches('"')
    });
    credentials.filter(|word| word.len() >= LONG_WORD)
}

/// The password of `Basic`, which a hub that decodes it may log (RFC 7617: `user-id ":" password` in base64).
fn basic_password(value: &str) -> Option<String> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cluster::kubernetes::Context;
    use crate::run::kind_hub::{Keep, KindHub};
    use crate::run::kube_hub::{KubeGiven, KubeHub};
    use crate::run::rig::{Hub, LocalHub, Rig};
    use crate::timeouts::Timeouts;
    use crate::wire::Dialect;

    fn values(secrets: &[Secret]) -> Vec<&str> {
        secrets.iter().map(|secret| secret.value.as_str()).collect()
    }

    fn of_env(name: &str, value: &str) -> Vec<String> {
        let secrets = secret_env(&[(name.to_owned(), value.to_owned())]);
        secrets.into_iter().map(|secret| secret.value).collect()
    }

    #[test]
    fn a_secret_variable_is_one_on_every_backend() {
        let env = vec![("OPENAI_API_KEY".to_owned(), "hush-hush".to_owned())];
        let context = Context { kubeconfig: None, name: "dev".to_owned() };
        let given = KubeGiven {
            context,
            manifests: None,
            image: None,
            relay_image: None,
            ready_path: None,
            env: env.clone(),
        };
        let run = || "run".to_owned();
        let kind = KindHub::new(None, None, None, env.clone(), run(), Keep::Found).expect("a hub");
        let kube = KubeHub::new(given, run()).expect("a hub");
        let local = LocalHub::new(None, None, Vec::new(), None, env, PathBuf::new()).expect("a hub");
        for hub in [Hub::Local(Box::new(local)), Hub::Kind(Box::new(kind)), Hub::Kube(Box::new(kube))] {
            let rig = Rig::new(hub, 2, Dialect::default(), Timeouts::default(), Vec::new(), PathBuf::new());
            let rig = rig.expect("a rig");
            assert!(values(&rig.secrets()).contains(&"hush-hush"), "{}", rig.backend_name());
        }
    }

    #[test]
    fn a_variables_name_says_whether_its_value_is_a_secret() {
        for name in [
            "OPENAI_API_KEY",
            "GITHUB_TOKEN",
            "db_password",
            "DB_PASS",
            "PASS",
            "DB_PWD",
            "SENTRY_DSN",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "AZURE_STORAGE_CONNECTION_STRING",
            "BASIC_AUTH",
            "GITHUB_PAT",
        ] {
            assert_eq!(of_env(name, "hush-hush"), ["hush-hush"], "{name}");
        }
        for name in ["SESSIONS", "PWD", "PATH", "LOG_LEVEL", "COMPASS", "BASE_URL"] {
            assert!(of_env(name, "hush-hush").is_empty(), "{name}");
        }
        assert!(of_env("REQUIRE_TOKEN", "true").is_empty(), "it stands in every JSON text");
    }

    #[test]
    fn what_a_variables_url_authenticates_with_is_a_secret_whatever_its_name_is() {
        assert_eq!(
            of_env("DATABASE_URL", "postgres://app:p%40ss-word@db:5432/app"),
            ["p%40ss-word", "p@ss-word"]
        );
        assert_eq!(of_env("REDIS", "redis://:hush-hush@cache"), ["hush-hush"]);
        assert_eq!(of_env("PROXY", "https://only-a-token@proxy"), ["only-a-token"]);
        assert!(of_env("DATABASE_URL", "postgres://db:5432/app").is_empty());
    }

    #[test]
    fn a_headers_credential_is_a_secret_by_itself_too() {
        let of = |value: &str| values(&of_header("x", value)).join(" | ");
        assert_eq!(of("Bearer s3cr3t-token"), "Bearer s3cr3t-token | s3cr3t-token");
        assert_eq!(of("s3cr3t-token"), "s3cr3t-token");
        assert_eq!(of("Negotiate dXNlcjpwYXNz=="), "Negotiate dXNlcjpwYXNz== | dXNlcjpwYXNz");
        assert_eq!(of("session_name=0123456789; lang=en"), "session_name=0123456789; lang=en | 0123456789");
        assert_eq!(of("Digest username=\"somebody\""), "Digest username=\"somebody\" | somebody");
        assert_eq!(of("Basic short"), "Basic short");
        assert_eq!(
            of("Basic dXNlcjpodXNoOmh1c2g="),
            "Basic dXNlcjpodXNoOmh1c2g= | dXNlcjpodXNoOmh1c2g | hush:hush",
            "a colon may stand in a password"
        );
        assert_eq!(of("basic dXNlcjo="), "basic dXNlcjo=", "no password");
    }

    #[test]
    fn the_values_of_a_query_are_secrets() {
        let of = |path: &str| values(&of_path(path)).join(" | ");
        assert_eq!(of("/mcp?token=a%2Bbcdef&x=1234"), "a%2Bbcdef | a+bcdef | 1234");
        assert_eq!(of("/mcp?bare-token"), "bare-token");
        assert_eq!(of("/mcp"), "");
    }
}
