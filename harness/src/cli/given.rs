//! What people type without a flag: a URL, manifests, names of cells, and the hub's command line behind `--`.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;

use super::bad_input::CommandError;
use super::{Cli, HubArgs, RunArgs};
use crate::plan::{self, Offers, Outline, Selection};

/// The endings of files that are read as manifests.
const SUFFIXES: [&str; 3] = ["yaml", "yml", "json"];

/// How near a word must be to the name of a command to be taken for a slip of it.
const NEAR: f64 = 0.8;

/// What one word is.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Url,
    Manifests,
    Kustomization,
    Chart,
    Cells,
}

/// The command line as clap reads it: `hubcheck http://localhost:3000/mcp`, `hubcheck deploy.yaml`, `hubcheck -- node server.mjs` and
/// `hubcheck --command ..` are a run, of the quick profile.
pub(super) fn command_line(outlines: &[Outline], words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|first| begins_a_run(outlines, &first.to_string_lossy())) {
        words.splice(1..1, [OsString::from("run"), OsString::from("--without-subcommand")]);
    }
    words
}

fn begins_a_run(outlines: &[Outline], first: &str) -> bool {
    if first.starts_with('-') {
        return !["-h", "--help", "-V", "--version"].contains(&first);
    }
    let commands = Cli::command();
    let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
    if names.contains(&first) {
        return false;
    }
    let is_slip = names.iter().any(|name| strsim::jaro_winkler(first, name) >= NEAR);
    is_url(first) || is_path(first) || names_cells(outlines, first) || !is_slip
}

// === impl RunArgs ===

impl RunArgs {
    /// The same arguments with each word that stands without a flag in the place of the flag that it means.
    ///
    /// # Errors
    ///
    /// For a word that can mean two things, or nothing, and for two hubs.
    pub(super) fn sorted(mut self, outlines: &[Outline]) -> Result<Self, CommandError> {
        for word in std::mem::take(&mut self.filters) {
            match meaning(outlines, &word)? {
                Word::Url if self.url.is_some() => return Err(two_hubs("two URLs")),
                Word::Url => self.url = Some(word),
                Word::Manifests => self.hub.manifests.push(word.into()),
                Word::Kustomization if self.hub.kustomize.is_none() => {
                    self.hub.kustomize = Some(word.into());
                }
                Word::Chart if self.hub.chart.is_none() => self.hub.chart = Some(word.into()),
                Word::Kustomization | Word::Chart => return Err(two_hubs("two folders")),
                Word::Cells => self.filters.push(word),
            }
        }
        self.hub.take_words()?;
        let hub = &self.hub;
        let sources =
            [!hub.manifests.is_empty(), hub.kustomize.is_some(), hub.chart.is_some(), self.url.is_some()];
        if sources.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(two_hubs("more than one of manifests, a kustomization, a chart and a URL"));
        }
        if self.url.is_some() && (hub.command.is_some() || !hub.image_command.is_empty()) {
            return Err(two_hubs("a URL and a command"));
        }
        // Who names cells wants those.
        self.quick |= self.without_subcommand && !self.full && self.filters.is_empty();
        Ok(self)
    }
}

// === impl HubArgs ===

impl HubArgs {
    /// Makes the words behind `--` the hub's command line.
    ///
    /// # Errors
    ///
    /// When there is a command line already.
    pub(super) fn take_words(&mut self) -> Result<(), CommandError> {
        if self.words.is_empty() {
            return Ok(());
        }
        if self.command.is_some() {
            return Err(two_hubs("`--command` and a command behind `--`"));
        }
        let words: Vec<String> = std::mem::take(&mut self.words).iter().map(|word| quoted(word)).collect();
        self.command = Some(words.join(" "));
        Ok(())
    }
}

// === helpers ===

fn meaning(outlines: &[Outline], word: &str) -> Result<Word, CommandError> {
    if is_url(word) {
        return Ok(Word::Url);
    }
    if word == "-" {
        return Ok(Word::Manifests);
    }
    let path = Path::new(word);
    match (is_path(word), names_cells(outlines, word), path.exists()) {
        (true, true, true) => {
            let name = word.split_once('/').map_or(word, |(_, name)| name);
            Err(CommandError::usage(format!("`{word}` names cells, and a file or folder here"))
                .hint(format!("write `{name}` for the cells, `./{word}` for the path")))
        }
        (_, true, _) => Ok(Word::Cells),
        (true, false, true) => of_path(path, word),
        (true, false, false) if has_suffix(path) || !is_near_cells(outlines, word) => {
            Err(CommandError::usage(format!("there is no file or folder `{word}`")).hint(
                with_scheme(word).unwrap_or_else(|| "give manifests, a folder of them, or a URL".to_owned()),
            ))
        }
        (false, false, true) => {
            let hint = if path.is_dir() {
                format!("for the manifests in the folder of that name write `{word}/`")
            } else {
                format!(
                    "to run the program of that name write `hubcheck -- ./{word}`, with the words of its command"
                )
            };
            Err(CommandError::usage(format!("no scenario or cell is called `{word}`")).hint(hint))
        }
        (_, false, false) => match with_scheme(word).or_else(|| command_hint(word)) {
            Some(hint) => {
                Err(CommandError::usage(format!("no scenario or cell is called `{word}`")).hint(hint))
            }
            // Whoever plans says which name is the nearest.
            None => Ok(Word::Cells),
        },
    }
}

/// The command that differs from a word in one slip of the fingers.
fn command_hint(word: &str) -> Option<String> {
    let commands = Cli::command();
    let mut names = commands.get_subcommands().map(clap::Command::get_name);
    let name = names.find(|name| strsim::osa_distance(word, name) == 1)?;
    Some(format!("the command is `hubcheck {name}`"))
}

/// What there is at a path.
fn of_path(path: &Path, word: &str) -> Result<Word, CommandError> {
    let has = |names: &[&str]| names.iter().any(|name| path.join(name).is_file());
    if has(&["kustomization.yaml", "kustomization.yml", "Kustomization"]) {
        return Ok(Word::Kustomization);
    }
    if has(&["Chart.yaml"]) {
        return Ok(Word::Chart);
    }
    if path.is_dir() || has_suffix(path) {
        return Ok(Word::Manifests);
    }
    let error = format!("`{word}` is no manifest: its name does not end with .yaml, .yml or .json");
    Err(CommandError::usage(error).hint(format!(
        "to run it as the hub write `hubcheck -- {word}`, with the words of its command; to read it as a manifest, `--manifests {word}`"
    )))
}

fn is_url(word: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| word.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

fn is_path(word: &str) -> bool {
    word == "-" || word.contains('/') || has_suffix(Path::new(word))
}

fn has_suffix(path: &Path) -> bool {
    let suffix = path.extension().map(|suffix| suffix.to_ascii_lowercase());
    SUFFIXES.iter().any(|known| suffix.as_deref() == Some(known.as_ref()))
}

fn names_cells(outlines: &[Outline], word: &str) -> bool {
    let selection = Selection { filters: vec![word.to_owned()], ..Selection::default() };
    plan::plan(outlines, &selection, &Offers::every_cell()).is_ok()
}

/// Whether a word with a slash begins as the name of a scenario does.
fn is_near_cells(outlines: &[Outline], word: &str) -> bool {
    let Some((family, _)) = word.split_once('/') else { return false };
    let mut families = outlines.iter().filter_map(|outline| Some(outline.id.split_once('/')?.0));
    families.any(|known| strsim::jaro_winkler(family, known) >= NEAR)
}

/// What to write for `localhost:3000/mcp`.
fn with_scheme(word: &str) -> Option<String> {
    let (host, rest) = word.split_once(':')?;
    let port = rest.split('/').next().unwrap_or_default();
    let is_address = !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok();
    is_address.then(|| format!("for a hub that is running write `http://{word}`"))
}

/// A word as it stands in a command line; `{port}` needs no quotes.
fn quoted(word: &str) -> String {
    match shell_words::split(word) {
        Ok(words) if words == [word] => word.to_owned(),
        _ => shell_words::quote(word).into_owned(),
    }
}

fn two_hubs(what: &str) -> CommandError {
    CommandError::usage(format!("{what} are given, and a run has one hub")).hint("leave out all but one")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Command;
    use super::*;

    const OUTLINES: &[Outline] = &[
        Outline { id: "src/ping", affinities: &[], transports: &[], needs: &[] },
        Outline { id: "session/ping", affinities: &[], transports: &[], needs: &[] },
        Outline { id: "routing/owner-killed", affinities: &[], transports: &[], needs: &[] },
    ];

    fn args(line: &[&str]) -> Result<RunArgs, CommandError> {
        let words = ["hubcheck"].iter().chain(line).map(OsString::from);
        let cli = Cli::try_parse_from(command_line(OUTLINES, words))
            .map_err(|error| CommandError::usage(error.to_string()))?;
        match cli.command {
            Command::Run(args) => args.sorted(OUTLINES),
            _ => panic!("{line:?} is no run"),
        }
    }

    fn refused(line: &[&str]) -> String {
        let error = args(line).expect_err("it is refused");
        format!("{}; {}", error.message, error.hint.unwrap_or_default())
    }

    #[test]
    fn a_url_manifests_and_a_command_need_no_flag_and_run_the_quick_profile() {
        for line in [&["http://localhost:3000/mcp"][..], &["HTTPS://h/sse"], &["run", "http://h:1"]] {
            let args = args(line).expect("a run");
            assert_eq!(args.url.as_deref(), line.last().copied());
            assert_eq!(args.quick, line[0] != "run", "{line:?}");
        }
        // Tests run in the crate's folder.
        let folder = args(&["src/cli/", "routing"]).expect("a run");
        assert_eq!(folder.hub.manifests, [Path::new("src/cli/")]);
        assert_eq!((folder.filters.as_slice(), folder.quick), (&["routing".to_owned()][..], false));
        assert_eq!(args(&["-"]).expect("a run").hub.manifests, [Path::new("-")]);
        assert!(!args(&["--full", "http://h"]).expect("a run").quick);
        assert!(args(&["run", "--quick", "routing"]).expect("a run").quick);
    }

    #[test]
    fn the_words_of_a_command_are_quoted_where_they_must_be() {
        let command = |line: &[&str]| args(line).expect("a run").hub.command;
        assert_eq!(command(&["--", "node", "server.mjs"]).as_deref(), Some("node server.mjs"));
        let port = command(&["--env", "A=b", "--", "py", "--port", "{port}", "a b", "it's"]);
        assert_eq!(port.as_deref(), Some(r#"py --port {port} 'a b' 'it'\''s'"#));
        let words = shell_words::split(&port.expect("a command")).expect("words");
        assert_eq!(words, ["py", "--port", "{port}", "a b", "it's"]);
        assert!(refused(&["--command", "x", "--", "y"]).contains("one hub"));
    }

    #[test]
    fn a_word_with_a_slash_is_a_path_unless_it_names_cells_and_what_is_both_is_refused() {
        let cells = args(&["session/ping"]).expect("a run");
        assert_eq!((cells.filters, cells.hub.manifests.len()), (vec!["session/ping".to_owned()], 0));
        assert!(refused(&["session/nothing.yaml"]).starts_with("there is no file or folder"));
        // Whoever plans says which cell is near.
        assert_eq!(args(&["run", "routing/owner-kiled"]).expect("a run").filters, ["routing/owner-kiled"]);
        let both = Outline { id: "src/cli", affinities: &[], transports: &[], needs: &[] };
        let error = meaning(&[both], "src/cli").expect_err("both fit");
        assert_eq!(error.hint.as_deref(), Some("write `cli` for the cells, `./src/cli` for the path"));
        assert_eq!(meaning(&[both], "./src/cli").ok(), Some(Word::Manifests));
    }

    #[test]
    fn what_is_nearly_right_is_told_what_to_write() {
        assert!(refused(&["localhost:3000/mcp"]).ends_with("write `http://localhost:3000/mcp`"));
        assert!(refused(&["run", "localhost:3000"]).ends_with("write `http://localhost:3000`"));
        assert!(refused(&["tests"]).ends_with("write `tests/`"));
        assert!(refused(&["rnu"]).ends_with("the command is `hubcheck run`"));
        assert!(refused(&["src/lib.rs"]).contains("`hubcheck -- src/lib.rs`"));
        assert!(refused(&["http://a", "http://b"]).contains("one hub"));
        assert!(refused(&["http://a", "--", "x"]).contains("one hub"));
    }

    #[test]
    fn a_slip_of_a_command_stays_one() {
        let begins = |first: &str| begins_a_run(OUTLINES, first);
        for command in ["run", "list", "explain", "help", "lst", "explian", "--help", "-V"] {
            assert!(!begins(command), "{command}");
        }
        for word in
            ["routing", "owner-killed", "deploy.yaml", "k8s", "rnu", "-", "--", "--command", "http://x"]
        {
            assert!(begins(word), "{word}");
        }
    }
}
