//! Which of what the user gave is a secret: values of `--env`, of `--header`, and parts of URLs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::transcript::Secret;

/// A shorter word of a header's value is no credential, and would be found in other texts.
const LONG_WORD: usize = 8;

/// The secrets among variables: those whose names say so, and what the URL in any other authenticates with.
pub(in crate::run) fn secret_env(env: &[(String, String)]) -> Vec<Secret> {
    env.iter().flat_map(|(name, value)| Secret::of_variable(name, value)).collect()
}

/// Whether a variable's value must not be shown.
pub(crate) fn is_secret_variable(name: &str, value: &str) -> bool {
    !Secret::of_variable(name, value).is_empty()
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
    let named = |name: &str| format!("query {name}").trim_end().to_owned();
    pairs.flat_map(|(name, value)| Secret::as_written_and_meant(&named(name), value)).collect()
}

// === helpers ===

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
            apply: Vec::new(),
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
