//! The workflows of `.github/workflows` are what GitHub takes, by its own schema, and say what this project promises.
//!
//! GitHub tells a broken workflow only after the push, by not running it.

use std::collections::BTreeMap;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

/// Breaks a workflow in one way.
type Breaking = fn(&mut Value);

#[test]
fn every_workflow_is_what_github_takes() {
    let schema = schema();
    let workflows = workflows();
    assert_eq!(workflows.keys().map(String::as_str).collect::<Vec<_>>(), ["ci.yml", "e2e.yml", "image.yml"]);
    for (name, workflow) in &workflows {
        assert_eq!(breaches(&schema, workflow), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_broken_workflow_is_caught() {
    let schema = schema();
    let broken: [(&str, Breaking); 6] = [
        ("a key that GitHub does not know", |workflow| workflow["job"] = json!({})),
        ("no trigger", |workflow| {
            workflow.as_object_mut().expect("an object").remove("on");
        }),
        ("an event that GitHub does not know", |workflow| workflow["on"] = json!("pushed")),
        ("a job that runs nowhere", |workflow| {
            let jobs = workflow["jobs"].as_object_mut().expect("jobs");
            let job = jobs.values_mut().next().expect("a job");
            job.as_object_mut().expect("an object").remove("runs-on");
        }),
        ("a step that does nothing", |workflow| {
            let jobs = workflow["jobs"].as_object_mut().expect("jobs");
            jobs.values_mut().next().expect("a job")["steps"] = json!([{ "name": "nothing" }]);
        }),
        ("a permission that is none", |workflow| workflow["permissions"] = json!({ "contents": "all" })),
    ];
    for (name, workflow) in workflows() {
        for (what, breaking) in &broken {
            let mut workflow = workflow.clone();
            breaking(&mut workflow);
            assert!(!breaches(&schema, &workflow).is_empty(), "{name} with {what} must be refused");
        }
    }
}

#[test]
fn ci_checks_what_must_hold_before_a_change_lands() {
    let ci = &workflows()["ci.yml"];
    let said = ci["jobs"].to_string();
    for command in
        ["cargo fmt --check", "cargo clippy --workspace", "cargo test --workspace", "cargo-deny-action"]
    {
        assert!(said.contains(command), "ci.yml runs `{command}`");
    }
}

#[test]
fn e2e_covers_the_axes_and_the_oldest_and_newest_kubernetes() {
    use clap::ValueEnum;
    use harness::plan::{Affinity, Transport};

    let job = &workflows()["e2e.yml"]["jobs"]["kind"];
    let axis = |name: &str| -> Vec<String> {
        let values = job["strategy"]["matrix"][name].as_array().expect("an axis");
        values.iter().map(|value| value.as_str().expect("a name").to_owned()).collect()
    };
    let affinities = Affinity::value_variants().iter().map(Affinity::to_string).collect::<Vec<_>>();
    assert_eq!(axis("affinity"), affinities);
    assert_eq!(axis("transport"), Transport::ALL.map(|transport| transport.to_string()));
    let versions = job["strategy"]["matrix"]["kubernetes"].as_array().expect("versions");
    let images: Vec<&str> = versions.iter().filter_map(|version| version["node-image"].as_str()).collect();
    assert!(
        images.len() == 2 && images.iter().all(|image| image.starts_with("kindest/node:v1.")),
        "{images:?}"
    );
    assert_eq!(job["env"]["KIND_NODE_IMAGE"], "${{ matrix.kubernetes.node-image }}");
    let steps = job["steps"].as_array().expect("steps");
    let upload = steps.iter().find(|step| {
        step["uses"].as_str().is_some_and(|action| action.starts_with("actions/upload-artifact@"))
    });
    assert_eq!(upload.expect("reports are uploaded")["if"], "always()", "also when the run failed");
}

/// Who cannot build it names it: it has to be the image of `hub/Dockerfile`, under the name by which hubcheck knows it.
#[test]
fn image_is_the_reference_hubs() {
    let steps = workflows()["image.yml"]["jobs"].to_string();
    for part in ["target-feature=+crt-static", "hub/Dockerfile", "/hubcheck-hub:", "docker push"] {
        assert!(steps.contains(part), "image.yml has `{part}`");
    }
}

fn schema() -> Validator {
    let text = std::fs::read_to_string(folder().join("scenarios/tests/workflows/github-workflow.json"));
    let schema: Value = serde_json::from_str(&text.expect("the schema is there")).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn breaches(schema: &Validator, workflow: &Value) -> Vec<String> {
    schema.iter_errors(workflow).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn workflows() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(folder().join(".github/workflows")).expect("workflows");
    let read = |path: &Path| -> Value {
        let text = std::fs::read_to_string(path).expect("readable");
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let paths = files.flatten().map(|file| file.path());
    paths
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), read(&path)))
        .collect()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}
