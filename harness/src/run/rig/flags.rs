//! The flags that make a server listen, read off what its `--help` prints. Pure.

use crate::plan::Transport;

/// What servers call the flag for the transport.
const TRANSPORT: &[&str] = &["--transport", "--protocol", "--mode"];

/// What servers call the flag for the address.
const HOST: &[&str] = &["--host", "--bind", "--address", "--listen-host", "--hostname"];

/// What servers call the flag for the port.
const PORT: &[&str] = &["--port", "--listen-port", "--http-port", "-p"];

/// What servers call Streamable HTTP; the first that a help lists is taken.
const STREAMABLE: &[&str] = &[
    "streamable-http",
    "streamable_http",
    "streamableHttp",
    "streamablehttp",
    "streamable",
    "shttp",
    "http",
];

/// What servers call HTTP+SSE.
const SSE: &[&str] = &["sse"];

/// What servers call standard input and output.
const STDIO: &str = "stdio";

/// Flags that a help lists, with the values that make the server listen where a replica must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(Vec<String>);

// === impl Flags ===

impl Flags {
    /// Those of this help that this command line does not have yet, for the first of these transports that the help names.
    pub(super) fn listed_in(help: &str, argv: &[String], wanted: &[Transport]) -> Self {
        let has = |flag: &str| argv.iter().any(|word| word.split('=').next() == Some(flag));
        let listed = |names: &[&'static str]| {
            let flag = names.iter().copied().find(|flag| words(help).any(|word| word == *flag))?;
            (!names.iter().any(|name| has(name))).then_some(flag)
        };
        let mut flags = Vec::new();
        let mut values = wanted.iter().flat_map(|transport| spellings(*transport));
        match listed(TRANSPORT) {
            Some(flag) => {
                let described = described(help, flag);
                let is_named = |value: &&&str| words(&described).any(|word| word == **value);
                // A help that names no value at all leaves it to the reader to know one.
                let usual = || values.clone().next().filter(|_| !words(&described).any(is_known));
                let value = values.clone().find(is_named).or_else(usual);
                flags.extend(value.map(|value| [flag.to_owned(), (*value).to_owned()]).into_iter().flatten());
            }
            // A switch for each transport.
            None => {
                let switch = values.by_ref().map(|value| format!("--{value}")).find(|flag| {
                    words(help).any(|word| word == flag)
                        && !has(flag)
                        && !TRANSPORT.iter().any(|name| has(name))
                });
                flags.extend(switch);
            }
        }
        for (names, value) in [(HOST, "{host}"), (PORT, "{port}")] {
            flags.extend(listed(names).map(|flag| [flag.to_owned(), value.to_owned()]).into_iter().flatten());
        }
        Self(flags)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The command line with them: before a `--`, behind which another program's words begin.
    pub(super) fn added_to(&self, argv: &[String]) -> Vec<String> {
        let end = argv.iter().position(|word| word == "--").unwrap_or(argv.len());
        [&argv[..end], &self.0, &argv[end..]].concat()
    }

    /// As one would type them.
    pub(super) fn typed(&self) -> String {
        self.0.join(" ")
    }
}

// === helpers ===

/// What servers call a transport.
fn spellings(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::Sse => SSE,
        Transport::Streamable | Transport::Stateless => STREAMABLE,
    }
}

/// Whether this is what servers call some transport.
fn is_known(word: &str) -> bool {
    word == STDIO || STREAMABLE.contains(&word) || SSE.contains(&word)
}

/// The words of a help: flags, values and what stands in lists of choices.
fn words(help: &str) -> impl Iterator<Item = &str> {
    help.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-' || char == '_'))
        .filter(|word| !word.is_empty())
}

/// Where a help says what a flag takes: from each mention of it up to the next flag.
fn described(help: &str, flag: &str) -> String {
    let starts = help.match_indices(flag).map(|(at, found)| &help[at + found.len()..]);
    let own =
        starts.filter(|rest| !rest.starts_with(|char: char| char.is_ascii_alphanumeric() || char == '-'));
    own.map(|rest| rest.find("--").map_or(rest, |next| &rest[..next])).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's argparse prints it.
    const ARGPARSE: &str = "usage: server.py [-h] [--transport {stdio,sse,streamable-http}] [--host HOST] [--port PORT]\n\n\
                            options:\n  -h, --help  show this help message and exit\n  --transport {stdio,sse,streamable-http}\n  \
                            --host HOST\n  --port PORT  where to listen";

    fn flags(help: &str, line: &str) -> String {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let both = [Transport::Streamable, Transport::Sse];
        Flags::listed_in(help, &argv, &both).added_to(&argv).join(" ")
    }

    #[test]
    fn flags_that_a_help_lists_are_added_with_values_that_it_names() {
        let all = "server --transport streamable-http --host {host} --port {port}";
        assert_eq!(flags(ARGPARSE, "server"), all);
        let only_sse = "  --transport <transport>  stdio or sse (default: stdio)\n  --port <port>  port";
        assert_eq!(flags(only_sse, "server"), "server --transport sse --port {port}");
        let silent = "usage: server.py [-h] [--transport TRANSPORT] [--port PORT]";
        assert_eq!(flags(silent, "server"), "server --transport streamable-http --port {port}");
        let switches = "  --stdio  use stdio\n  --http   listen\n  --port <port>";
        assert_eq!(flags(switches, "server"), "server --http --port {port}");
        let typer = "│ --transport  [stdio|http]  [default: stdio] │\n│ -p  INTEGER │";
        assert_eq!(flags(typer, "server"), "server --transport http -p {port}");
    }

    #[test]
    fn flags_that_are_there_or_are_not_listed_stay_away() {
        let given = "server --transport sse --host {host} --port=8000";
        assert_eq!(flags(ARGPARSE, given), given);
        assert_eq!(flags("a server that knows no flags, on port 8000 by http", "server"), "server");
        let only_stdio = "  --transport {stdio}  how\n  --transport-timeout SECONDS  of http";
        assert_eq!(flags(only_stdio, "server"), "server");
    }

    #[test]
    fn a_bridge_gets_its_flags_before_the_words_of_the_server_behind_it() {
        let line = "mcp-proxy -- server --flag";
        assert_eq!(
            flags("--port PORT --host HOST", line),
            "mcp-proxy --host {host} --port {port} -- server --flag"
        );
    }
}
