//! Companions as a user gives them: `NAME=COMMAND` or `NAME=HOST:PORT`.

use std::fmt;

/// A companion of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenCompanion {
    /// The name of its Service, or of its Deployment or StatefulSet.
    pub name: String,
    /// What it is.
    pub runs: Runs,
}

/// What a companion is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A command line in words, in which `{host}` and `{port}` are replaced: a process for each cell.
    Command(Vec<String>),
    /// What is there already.
    At {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

// === impl Runs ===

impl Runs {
    /// An address if the text is one, else a command line.
    ///
    /// # Errors
    ///
    /// What is wrong with the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let address = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let is_host = |host: &str| {
            !host.is_empty()
                && !host.contains(|character: char| character.is_whitespace() || character == '/')
        };
        if let Some((host, port)) = address.filter(|(host, port)| is_host(host) && *port != 0) {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            return Ok(Runs::At { host, port });
        }
        let words = shell_words::split(text).map_err(|error| error.to_string())?;
        if words.is_empty() { Err("it is empty".to_owned()) } else { Ok(Runs::Command(words)) }
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Runs::Command(argv) => f.write_str(&shell_words::join(argv)),
            Runs::At { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_command_line() {
        let at = |host: &str, port| Ok(Runs::At { host: host.to_owned(), port });
        assert_eq!(Runs::parse("127.0.0.1:6379"), at("127.0.0.1", 6379));
        assert_eq!(Runs::parse("db.example.com:5432"), at("db.example.com", 5432));
        assert_eq!(Runs::parse("[::1]:5432"), at("::1", 5432));
        let command =
            |words: &[&str]| Ok(Runs::Command(words.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(Runs::parse("redis-server --port {port}"), command(&["redis-server", "--port", "{port}"]));
        assert_eq!(Runs::parse("./serve 127.0.0.1:80"), command(&["./serve", "127.0.0.1:80"]));
        assert_eq!(Runs::parse("cache"), command(&["cache"]));
        assert!(Runs::parse(" ").is_err() && Runs::parse("a 'b").is_err());
    }
}
