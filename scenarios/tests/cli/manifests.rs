//! Manifests as people have them: what is run of them, and what is refused in one clear line.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::support::{hubcheck, soon, told_in};

/// Our own manifests as one text.
fn ours() -> String {
    let kind = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind");
    let read = |name| std::fs::read_to_string(kind.join(name)).expect("our manifests");
    ["deployment.yaml", "service.yaml", "secret.yaml"].map(read).join("\n---\n")
}

/// What `hubcheck run ..` says with this text on its standard input.
fn given(text: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let args = [&["run", "--manifests", "-", "--transport", "sse", "session/ping"][..], more].concat();
    let mut child = hubcheck(folder.path(), &args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hubcheck starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    format!("exit code: {code}\n{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_stateful_set_beside_a_companion_runs_from_standard_input() {
    let companion = "\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cache}\nspec:\n  selector: {matchLabels: {app: cache}}\n  \
                     template:\n    metadata: {labels: {app: cache}}\n    spec: {containers: [{name: redis, image: 'redis:7'}]}\n";
    let (before, rest) =
        ours().split_once("  strategy:").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a strategy");
    let (_, rest) = rest.split_once("\n  template:").expect("a template after it");
    let set = format!("{before}  template:{rest}").replace("kind: Deployment", "kind: StatefulSet");
    let told = given(&(set + companion), &["--deployment", "mcp-hub"]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    assert!(told.contains("the StatefulSet mcp-hub is run as a Deployment"), "{told}");
    assert!(told.contains("deployment/cache"), "the companion is named: {told}");
}

/// A cache and its Service.
const CACHE: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cache}\nspec:\n  selector: {matchLabels: {app: cache}}\n  template:\n    \
                     metadata: {labels: {app: cache}}\n    spec: {containers: [{name: redis, image: 'redis:7'}]}\n---\napiVersion: v1\nkind: \
                     Service\nmetadata: {name: cache-svc}\nspec: {selector: {app: cache}, ports: [{port: 6379}]}\n";

#[test]
fn a_companion_is_started_by_a_flag_and_named_without_it() {
    let text = format!("{}\n---\n{CACHE}", ours());
    let more = ["--deployment", "mcp-hub"];
    let without = given(&text, &more);
    assert!(without.starts_with("exit code: 0"), "{without}");
    let named = "not started on local: deployment/cache (`--companion cache-svc=COMMAND` or `--companion cache-svc=HOST:PORT`)";
    assert_eq!(without.matches(named).count(), 1, "{without}");
    let server = "cache-svc=python3 -m http.server {port} --bind {host}";
    let with = given(&text, &[&more[..], &["--companion", server]].concat());
    assert!(with.starts_with("exit code: 0"), "{with}");
    let started =
        "companions: cache-svc: `python3 -m http.server {port} --bind {host}`, started for each cell";
    assert!(with.contains(started) && !with.contains("not started on local"), "{with}");
    assert!(!with.contains("service/cache-svc"), "the companion stands for it: {with}");
    let broken =
        given(&text, &[&more[..], &["--companion", "cache=sh -c 'echo no disk >&2; exit 3'"]].concat());
    assert!(broken.starts_with("exit code: 2"), "{broken}");
    assert!(broken.contains("the companion `cache` ended with exit code 3: no disk"), "{broken}");
}

#[test]
fn what_a_backend_does_not_take_is_refused_with_what_it_is_for() {
    for (args, expected) in [
        (&["--backend", "kind", "--companion", "a=b"][..], "it is for `--backend local`"),
        (&["--apply", "deployment"], "it is for `--backend kube`"),
        (&["--build", "."], "it is for `--backend kind`"),
        (&["--companion", "a="], "`--companion a=..`: it is empty"),
        (
            &["--backend", "kube", "--context", "x", "--apply", "job"],
            "invalid value 'job' for '--apply <KIND>'",
        ),
    ] {
        let told = soon(&[&["run"], args].concat());
        assert!(told.starts_with("exit code: 2") && told.contains(expected), "{told}");
    }
}

#[test]
fn two_that_could_be_the_hub_are_both_named() {
    let other = ours().split("\n---\n").next().expect("the Deployment").replace("mcp-hub", "other");
    let told = given(&format!("{}\n---\n{other}", ours()), &[]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(
        told.contains("error: the hub could be Deployment mcp-hub (mcp-hub:dev, standard input:"),
        "{told}"
    );
    assert!(told.contains("hint: choose by `--deployment NAME`"), "{told}");
}

#[test]
fn what_needs_another_program_first_is_told_with_the_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    std::fs::write(folder.path().join("kustomization.yaml"), "resources: []\n").expect("a file");
    let told = soon(&["run", "--manifests", path]);
    assert!(told.starts_with("exit code: 2") && told.contains("is a kustomization"), "{told}");
    assert!(told.contains("hint: give `-k "), "{told}");
}

#[test]
fn a_kustomization_and_a_chart_are_what_the_installed_programs_print() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("all.yaml"), ours()).expect("a file");
    for (program, flag) in [("kubectl", "-k"), ("helm", "--chart")] {
        let bin = tempfile::tempdir().expect("a folder");
        let script = format!("#!/bin/sh\ntest -d \"$PWD\" && cat {}/all.yaml\n", folder.path().display());
        let path = bin.path().join(program);
        std::fs::write(&path, script).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it can be run");
        let with_program = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default());
        let args = ["run", flag, "overlay", "--transport", "sse", "session/ping"];
        let output = hubcheck(folder.path(), &args).env("PATH", with_program).output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let output = hubcheck(folder.path(), &args).env("PATH", "/nonexistent").output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("which is not installed"), "{told}");
    }
}

#[test]
fn a_script_in_the_manifests_gives_way_to_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let script =
        "\n          command: [/bin/sh, -c]\n          args: [exec nothing-of-this-name]\n          ports:";
    let text = ours().replace("image: mcp-hub:dev", "image: own:1").replacen("\n          ports:", script, 1);
    assert!(text.contains("nothing-of-this-name"), "{text}");
    std::fs::write(folder.path().join("all.yaml"), text).expect("a file");
    let hub = harness::run::reference::build(harness::run::reference::Messages::Quiet).expect("it builds");
    let image = format!("own:1={}", hub.display());
    let args = ["run", "-f", "all.yaml", "--image-command", &image, "--transport", "sse", "session/ping"];
    let told = told_in(folder.path(), &args);
    assert!(told.starts_with("exit code: 0"), "{told}");
    assert!(told.contains("the shell script in `args` does not run"), "{told}");
}

#[test]
fn a_probe_of_a_port_that_the_command_line_does_not_serve_is_left_out() {
    let text = ours();
    let (before, liveness) = text.split_once("livenessProbe:").expect("a liveness probe");
    let text = format!("{before}livenessProbe:{}", liveness.replacen("port: 8000", "port: 8081", 1));
    assert_ne!(text, ours());
    let told = given(&text, &[]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    let line = "the liveness probe asks port 8081, where nothing listens on `local`: it is left out";
    assert_eq!(told.matches(line).count(), 1, "{told}");
}

#[test]
fn flags_that_choose_among_manifests_need_some() {
    let told = soon(&["run", "--image-command", "a=b"]);
    assert!(
        told.starts_with("exit code: 2")
            && told.contains("`--image-command` means nothing without manifests"),
        "{told}"
    );
}

#[test]
fn transcripts_that_cannot_be_written_are_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("taken"), "").expect("a file");
    let told = told_in(folder.path(), &["run", "--evidence", "taken", "session/ping"]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(told.contains("error: transcripts cannot be written to `taken`: "), "{told}");
    assert!(!told.contains("Surveying"), "{told}");
}

#[test]
fn a_host_without_an_address_is_no_spelling_mistake() {
    let told = soon(&["run", "--url", "http://nobody.invalid/mcp"]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(
        told.contains("the name `nobody.invalid` is not found") && told.contains("hint: check the name"),
        "{told}"
    );
}
