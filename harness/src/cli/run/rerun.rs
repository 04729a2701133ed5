//! The line that runs one cell again: what was given, whether on the command line or in the environment, without what
//! chooses cells and reports, and with names in the place of secrets.

use std::path::PathBuf;

use clap::ValueEnum;

use super::super::{BackendArg, HubArgs, RunArgs};
use crate::cluster::kind::CLUSTER;
use crate::run::rig::secrets::is_secret_variable;

/// What follows the program's name.
struct Words(Vec<String>);

/// What a rerun line begins with; the cell follows it.
pub(super) fn rerun(args: &RunArgs) -> String {
    let from_cargo = std::env::var_os("CARGO").is_some();
    let program = if from_cargo { "cargo run --release --" } else { "hubcheck" };
    format!("{program} {}", words(args).join(" "))
}

/// The line that runs every cell: what a quick run says at its end.
pub(super) fn everything(args: &RunArgs) -> String {
    let transports: Vec<String> = args.transport.iter().map(ToString::to_string).collect();
    let only =
        if transports.is_empty() { String::new() } else { format!(" --transport {}", transports.join(",")) };
    format!("{}{only}", rerun(args))
}

fn words(args: &RunArgs) -> Vec<String> {
    // Every field by name: a new flag must say whether a rerun needs it.
    let RunArgs {
        filters: _,
        without_subcommand: _,
        quick: _,
        full: _,
        backend,
        url,
        keep,
        place,
        image,
        build,
        observe,
        namespace,
        context,
        kubeconfig,
        relay_image,
        apply,
        replicas,
        jobs,
        hub,
        transport: _,
        affinity,
        sse_path,
        mcp_path,
        header,
        origin,
        strict,
        tool,
        call,
        idle,
        quiet: _,
        verbose: _,
        show: _,
        report: _,
        expected: _,
        evidence,
    } = args;
    let mut words = Words(vec!["run".to_owned()]);
    // A flag that the run does not go by is refused, wherever it came from.
    let is_on = |wanted: BackendArg| url.is_none() && *backend == wanted;
    if !is_on(BackendArg::Local) && url.is_none() {
        let value = backend.to_possible_value();
        words.value("--backend", value.as_ref().map(|value| value.get_name()));
    }
    if let Some(url) = url {
        words.0.push(format!("--url {}", url_word(url)));
    }
    words.flag("--keep", *keep);
    let is_named = is_on(BackendArg::Kind) && place.cluster != CLUSTER;
    words.value("--cluster", is_named.then_some(place.cluster.as_str()));
    words.value("--image", image.as_deref());
    words.value("--build", build.as_deref().map(|path| path.to_string_lossy()).as_deref());
    words.value("--observe", observe.as_deref());
    words.value("--namespace", namespace.as_deref());
    let is_of_cluster = is_on(BackendArg::Kube) || observe.is_some();
    words.value("--context", context.as_deref().filter(|_| is_of_cluster));
    words.value("--kubeconfig", kubeconfig.as_deref().map(|path| path.to_string_lossy()).as_deref());
    words.value("--relay-image", relay_image.as_deref());
    let apply = apply.iter().filter_map(ValueEnum::to_possible_value);
    let apply: Vec<String> = apply.map(|kind| kind.get_name().to_owned()).collect();
    words.values("--apply", &apply);
    words.value("--replicas", replicas.map(|number| number.to_string()).as_deref());
    words.value("--jobs", jobs.map(|number| number.to_string()).as_deref());
    words.hub(hub);
    words.path("--sse-path", sse_path, "/sse");
    words.path("--mcp-path", mcp_path, "/mcp");
    if !is_from_environment(header) {
        words.headers(header);
    }
    // It says which affinity counts, and what cells have that do not vary with it.
    let affinity: Vec<String> = affinity.iter().map(ToString::to_string).collect();
    words.values("--affinity", &affinity);
    words.value("--origin", origin.as_deref());
    words.flag("--strict", *strict);
    words.values("--tool", tool);
    words.values("--call", call);
    words.value("--idle", idle.map(|seconds| seconds.to_string()).as_deref());
    let evidence = evidence.to_string_lossy();
    words.value("--evidence", (evidence != super::super::EVIDENCE).then_some(&evidence));
    words.0
}

// === impl Words ===

impl Words {
    fn flag(&mut self, flag: &str, is_set: bool) {
        self.0.extend(is_set.then(|| flag.to_owned()));
    }

    fn value(&mut self, flag: &str, value: Option<&str>) {
        self.0.extend(value.map(|value| format!("{flag} {}", quoted(value))));
    }

    fn values(&mut self, flag: &str, values: &[String]) {
        for value in values {
            self.value(flag, Some(value));
        }
    }

    fn path(&mut self, flag: &str, path: &str, default: &str) {
        match path.split_once('?') {
            Some((bare, query)) => {
                self.0.push(format!("{flag} \"{}?{}\"", quotable(bare), query_word(query)))
            }
            None => self.value(flag, (path != default).then_some(path)),
        }
    }

    fn paths(&mut self, flag: &str, paths: &[PathBuf]) {
        for path in paths {
            self.value(flag, Some(&path.to_string_lossy()));
        }
    }

    fn hub(&mut self, hub: &HubArgs) {
        let HubArgs {
            command,
            shell,
            manifests,
            kustomize,
            chart,
            values,
            deployment,
            service,
            container,
            image_command,
            companion,
            env,
            ready_path,
            ready_timeout,
            // They are the command by now.
            words: _,
        } = hub;
        self.value("--command", command.as_deref());
        self.flag("--shell", *shell);
        self.paths("--manifests", manifests);
        self.paths("--kustomize", kustomize.as_slice());
        self.paths("--chart", chart.as_slice());
        self.paths("--values", values);
        self.value("--deployment", deployment.as_deref());
        self.value("--service", service.as_deref());
        self.value("--container", container.as_deref());
        self.values("--image-command", image_command);
        self.values("--companion", companion);
        for given in env {
            match given.split_once('=') {
                Some((name, value)) if is_secret_variable(name, value) => {
                    self.0.push(format!("--env {name}=\"${}\"", variable(name)));
                }
                _ => self.value("--env", Some(given)),
            }
        }
        self.value("--ready-path", ready_path.as_deref());
        let timeout = ready_timeout.to_string();
        self.value("--ready-timeout", (*ready_timeout != super::super::READY_TIMEOUT).then_some(&timeout));
    }

    /// A header's value is a secret, whatever its name is.
    fn headers(&mut self, headers: &[String]) {
        for name in headers.iter().filter_map(|header| Some(header.split_once('=')?.0)) {
            self.0.push(format!("--header {}=\"${}\"", shell_words::quote(name), variable(name)));
        }
    }
}

// === helpers ===

/// Headers that came from the environment are there for the next run too.
fn is_from_environment(headers: &[String]) -> bool {
    std::env::var("HUBCHECK_HEADER").is_ok_and(|given| given.split('\n').eq(headers))
}

/// A word as a shell takes it; of `NAME=VALUE` only the value may need quotes.
fn quoted(word: &str) -> String {
    match word.split_once('=') {
        Some((name, value)) if shell_words::quote(name) == name => {
            format!("{name}={}", shell_words::quote(value))
        }
        _ => shell_words::quote(word).into_owned(),
    }
}

/// The URL with names in the place of what its user and its query authenticate with.
fn url_word(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let (scheme, rest) = place.split_once("://").unwrap_or(("http", place));
    let slash = rest.find('/').unwrap_or(rest.len());
    let user = rest[..slash].rfind('@');
    if user.is_none() && query.is_none() {
        return quoted(url);
    }
    let user_word = user.map_or("", |_| "$USER_AND_PASSWORD@");
    let host = quotable(&rest[user.map_or(0, |at| at + 1)..]);
    let query = query.map(|query| format!("?{}", query_word(query))).unwrap_or_default();
    format!("\"{scheme}://{user_word}{host}{query}\"")
}

fn query_word(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{}=${}", quotable(name), variable(name)),
        None => "$QUERY".to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The shell variable that a secret of this name would be in.
fn variable(name: &str) -> String {
    let word = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = name.chars().map(word).collect();
    // A variable of the hub has its name already; a header or a parameter gets one that looks like it.
    if name.chars().any(char::is_lowercase) { name.to_ascii_uppercase() } else { name }
}

/// Text inside double quotes.
fn quotable(text: &str) -> String {
    let special = |character: char| matches!(character, '"' | '\\' | '$' | '`');
    text.chars()
        .flat_map(|character| special(character).then_some('\\').into_iter().chain([character]))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn of(line: &str) -> String {
        let given = shell_words::split(line).expect("a line");
        words(&Line::parse_from([String::new()].into_iter().chain(given)).run).join(" ")
    }

    #[test]
    fn what_chooses_cells_and_reports_stays_behind() {
        let line =
            "routing --transport sse --affinity=off --report json=x --expected y --replicas 3 --strict";
        assert_eq!(of(line), "run --replicas 3 --affinity off --strict");
        assert_eq!(of("--idle 90"), "run --idle 90");
        assert_eq!(of("--command 'python server.py' --shell"), "run --command 'python server.py' --shell");
        for line in ["run --backend kube --context dev", "run --backend kind --cluster x"] {
            assert_eq!(of(&line[4..]), line);
        }
        assert_eq!(of("--context dev --cluster x"), "run", "they are there for other runs");
        assert_eq!(
            of("--backend kube --context dev --apply pvc,SA"),
            "run --backend kube --context dev --apply persistentvolumeclaim --apply serviceaccount"
        );
        assert_eq!(
            of("--companion 'redis=redis-server --port {port}'"),
            "run --companion redis='redis-server --port {port}'"
        );
    }

    #[test]
    fn secrets_are_named_as_a_shell_finds_them() {
        assert_eq!(of("--env SESSIONS=memory"), "run --env SESSIONS=memory");
        assert_eq!(of("--env API_KEY=hush"), "run --env API_KEY=\"$API_KEY\"");
        assert_eq!(of("--env URL=redis://:hush@cache"), "run --env URL=\"$URL\"");
        assert_eq!(of("--header 'X-Api-Key=hush'"), "run --header X-Api-Key=\"$X_API_KEY\"");
        assert_eq!(of("--url https://h/mcp"), "run --url https://h/mcp");
        assert_eq!(
            of("--url 'https://me:hush@h/mcp?token=hush&x=1'"),
            "run --url \"https://$USER_AND_PASSWORD@h/mcp?token=$TOKEN&x=$X\""
        );
        assert_eq!(of("--mcp-path '/mcp?key=hush'"), "run --mcp-path \"/mcp?key=$KEY\"");
    }
}
