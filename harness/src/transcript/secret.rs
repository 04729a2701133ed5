//! What must not appear in a transcript, and how it is known that a value is such.

use std::borrow::Cow;
use std::fmt;

use url::Url;

/// What a word of a variable's name ends with, or its plural, when its value is a secret: `APIKEY`, but not `KEYCLOAK`.
const TELLING: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL"];

/// What such a name ends with.
const TELLING_ENDS: [&str; 6] = ["_PASS", "_PWD", "_DSN", "_AUTH", "_PAT", "_CONNECTION_STRING"];

/// What a name ends with whose value is about a secret, and none.
const ABOUT_ENDS: [&str; 10] =
    ["_NAME", "_FILE", "_PATH", "_DIR", "_URL", "_URI", "_HEADER", "_PREFIX", "_TYPE", "_ALGORITHM"];

/// What no secret is, whatever its variable is called: masked, it would be found in every JSON text.
const NO_SECRETS: [&str; 3] = ["true", "false", "null"];

/// A value that must not appear in a transcript, and the name that stands for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What the transcript says instead, `<secret:NAME>`.
    pub name: String,
    /// The value.
    pub value: String,
}

// === impl Secret ===

impl Secret {
    /// What is secret of a variable: its value, when its name says so, and what a URL in it authenticates with.
    pub fn of_variable(name: &str, value: &str) -> Vec<Self> {
        if NO_SECRETS.contains(&value) || are_names(value) {
            return Vec::new();
        }
        let mut secrets = Url::parse(value).map(|url| Self::of_userinfo(&url, name)).unwrap_or_default();
        if tells(name) {
            secrets.push(Self { name: name.to_owned(), value: value.to_owned() });
        }
        secrets
    }

    /// What a URL's user authenticates with: a password; a user without one is a token.
    pub fn of_userinfo(url: &Url, name: &str) -> Vec<Self> {
        let secret = url.password().unwrap_or_else(|| url.username());
        if secret.is_empty() { Vec::new() } else { Self::as_written_and_meant(name, secret) }
    }

    /// A value as a URL has it, and as a hub reads it.
    pub fn as_written_and_meant(name: &str, value: &str) -> Vec<Self> {
        let mut secrets = vec![Self { name: name.to_owned(), value: value.to_owned() }];
        let meant = decoded(value);
        if meant != value {
            secrets.push(Self { name: name.to_owned(), value: meant.into_owned() });
        }
        secrets
    }
}

/// Shows the name only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<secret:{}>", self.name)
    }
}

// === helpers ===

fn tells(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_about = ABOUT_ENDS.iter().any(|end| name.ends_with(end));
    let is_telling = |word: &str| {
        let word = word.trim_end_matches(|character: char| character.is_ascii_digit());
        let word = word.strip_suffix('S').unwrap_or(word);
        TELLING.iter().any(|telling| word.ends_with(telling))
    };
    name.split(|character: char| !character.is_ascii_alphanumeric()).any(is_telling) && !is_about
        || TELLING_ENDS.iter().any(|end| name.ends_with(end) || name == end[1..] && name != "PWD")
}

/// Whether these are names of variables, or nothing: a hub is told so which secrets it needs.
fn are_names(value: &str) -> bool {
    let is_name = |word: &str| {
        let is_of_one = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        word.is_empty() || word.contains('_') && word.bytes().all(is_of_one)
    };
    value.split([',', ' ']).all(is_name)
}

/// A percent-encoded word, decoded.
pub(crate) fn decoded(word: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(word).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_env(name: &str, value: &str) -> Vec<String> {
        let secrets = Secret::of_variable(name, value);
        secrets.into_iter().map(|secret| secret.value).collect()
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
            "API_KEYS",
            "apiToken2",
            "AWS_ACCESS_KEY_ID",
        ] {
            assert_eq!(of_env(name, "hush-hush"), ["hush-hush"], "{name}");
        }
        for name in [
            "SESSIONS",
            "PWD",
            "PATH",
            "LOG_LEVEL",
            "COMPASS",
            "BASE_URL",
            "TOKEN_FILE",
            "SECRET_NAME",
            "KEYCLOAK_REALM",
            "TOKENIZER",
        ] {
            assert!(of_env(name, "hush-hush").is_empty(), "{name}");
        }
        assert!(of_env("REQUIRE_TOKEN", "true").is_empty(), "it stands in every JSON text");
        assert!(of_env("REQUIRED_SECRETS", "API_KEY, DB_PASSWORD").is_empty(), "names, and no values");
        assert_eq!(of_env("SECRETS", "API_KEY=hush"), ["API_KEY=hush"]);
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
}
