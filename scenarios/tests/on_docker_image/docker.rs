//! What the `docker` command tells: what testcontainers does not.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// How long Docker may take for any one answer; waiting for a container's end is one.
const ANSWER: Duration = Duration::from_secs(60);

/// Runs a command of `docker` and returns what it prints.
pub(crate) async fn docker(args: &[&str]) -> String {
    run("docker", args).await
}

/// What `docker inspect` tells of an image or a container.
pub(crate) async fn inspect(name: &str) -> Value {
    let told: Value = serde_json::from_str(&docker(&["inspect", name]).await).expect("it is JSON");
    told[0].clone()
}

/// The names of what is in each layer of an image.
pub(crate) async fn layers(image: &str) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    docker(&["save", "--output", &path("image.tar"), image]).await;
    run("tar", &["-xf", &path("image.tar"), "-C", &path("")]).await;
    let manifest = std::fs::read_to_string(path("manifest.json")).expect("an image that was saved has one");
    let manifest: Value = serde_json::from_str(&manifest).expect("it is JSON");
    let mut layers = Vec::new();
    for layer in manifest[0]["Layers"].as_array().expect("layers") {
        let listed = run("tar", &["-tf", &path(layer.as_str().expect("a path"))]).await;
        layers.push(listed.lines().map(str::to_owned).collect());
    }
    layers
}

/// Waits for a container's end; its exit code.
pub(crate) async fn end_of(container: &str) -> i64 {
    docker(&["wait", container]).await.trim().parse().expect("`docker wait` prints a code")
}

async fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{program} {args:?}: no answer within {ANSWER:?}"));
    let output = output.unwrap_or_else(|error| panic!("{program} {args:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
