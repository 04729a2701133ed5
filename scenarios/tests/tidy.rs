//! The invariants of ARCHITECTURE.md that can be read off the sources.

use std::path::{Path, PathBuf};

use harness::check::{ambient, remedy};
use harness::plan::deployed::Readiness;
use harness::plan::{Affinity, Deployed, Need};

/// Modules that do no IO and are not async.
const PURE: &[&str] = &[
    "plan.rs",
    "check.rs",
    "check/",
    "transcript.rs",
    "transcript/",
    "wire/frame.rs",
    "run/rig/way.rs",
    "run/rig/way/",
    "run/rig/ready.rs",
];

/// What a pure module does not name.
const IMPURE_WORDS: &[&str] = &["async ", ".await", "tokio", "std::fs", "std::net::Tcp", "std::process"];

#[test]
fn pure_modules_do_no_io_and_are_not_async() {
    for file in sources("harness/src") {
        let name = relative(&file, "harness/src");
        if !PURE.iter().any(|pure| name == *pure || (pure.ends_with('/') && name.starts_with(pure))) {
            continue;
        }
        for (line, text) in code(&file) {
            for word in IMPURE_WORDS {
                assert!(
                    !text.contains(word),
                    "{name}:{line} names `{word}`: this module does no IO and is not async"
                );
            }
        }
    }
}

#[test]
fn crates_are_named_only_where_they_may_be() {
    let rules: &[(&str, &[&str])] = &[
        ("rmcp", &["hub/"]),
        ("kube::", &["harness/src/cluster/kubernetes"]),
        ("bollard", &["harness/src/cluster/kind"]),
        ("testcontainers", &["scenarios/tests/on_docker_image/"]),
        ("harness::", &["harness/", "scenarios/"]),
    ];
    for folder in ["harness", "hub", "scenarios"] {
        for file in sources(folder) {
            let name = relative(&file, "");
            for (word, places) in rules {
                let may =
                    places.iter().any(|place| name.starts_with(place)) || name.ends_with("tests/tidy.rs");
                let named = code(&file).into_iter().find(|(_, text)| names(text, word));
                assert!(
                    may || named.is_none(),
                    "{name}:{} names `{word}`: only {places:?} may",
                    named.map_or(0, |(line, _)| line)
                );
            }
        }
    }
}

#[test]
fn cluster_knows_no_mcp_and_wire_knows_no_cluster() {
    for (folder, words) in [
        ("harness/src/cluster", ["mcp-session-id", "tools/call", "crate::wire"]),
        ("harness/src/wire", ["k8s_openapi", "crate::cluster", "crate::check"]),
    ] {
        for file in sources(folder) {
            for (line, text) in code(&file) {
                for word in words {
                    assert!(!text.contains(word), "{}:{line} names `{word}`", file.display());
                }
            }
        }
    }
}

#[test]
fn reporters_match_every_event_by_name() {
    for file in sources("harness/src/report") {
        for (line, text) in code(&file) {
            let wildcard = text.trim_start().starts_with("_ =>");
            assert!(
                !wildcard,
                "{}:{line}: a new event must not compile until each reporter has decided",
                file.display()
            );
        }
    }
}

#[test]
fn the_catalogue_holds_every_scenario_that_is_declared() {
    let declared = sources("scenarios/src")
        .iter()
        .flat_map(|file| code(file))
        .filter(|(_, text)| text.trim_start().starts_with("pub const ") && text.contains(": Scenario ="))
        .count();
    assert_eq!(declared, scenarios::CATALOG.len(), "a scenario that is not in the catalogue never runs");
}

#[test]
fn checks_need_nothing_that_a_transcript_does_not_tell() {
    for scenario in scenarios::CATALOG {
        for check in scenario.checks {
            for need in check.needs {
                let told = matches!(need, Need::Tool(_) | Need::HeldCall | Need::Repeats | Need::Replicas(_));
                assert!(
                    told,
                    "{} needs {need}: offline it would not be judged; let the scenario need it",
                    check.id
                );
            }
        }
    }
}

#[test]
fn remedies_name_the_lines_that_may_be_in_place_and_keep_a_step_where_all_are() {
    let checks = scenarios::CATALOG.iter().flat_map(|scenario| scenario.checks);
    let remedies: Vec<&str> = checks.chain(ambient::CHECKS).map(|check| check.remedy).collect();
    for line in remedy::LINES {
        assert!(remedies.iter().any(|remedy| remedy.contains(line.words)), "no remedy names {}", line.words);
    }
    let everything = Deployed {
        by_manifests: true,
        affinities: vec![Affinity::ClientIp],
        replicas: Some(1),
        readiness: Some(Readiness { period_s: 1, timeout_s: 1, failures: 2, asks: true }),
        grace_s: Some(30),
        keeps_client_addresses: true,
        ..Deployed::default()
    };
    for remedy in remedies {
        assert!(!remedy::of_use(remedy, &everything).is_empty(), "nothing is left of: {remedy}");
    }
}

#[test]
fn texts_have_the_length_they_may_have() {
    let architecture =
        std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    assert!(
        architecture.lines().count() <= 150,
        "ARCHITECTURE.md has {} lines",
        architecture.lines().count()
    );
}

/// Every Rust file below a folder of the workspace.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![workspace().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Numbered lines outside comments and test modules.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(file).expect("the file is readable");
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(idx, line)| (idx + 1, line.to_owned()))
        .collect()
}

/// Whether a line names a crate: as a path, not inside a longer word.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '-')
    })
}

fn relative(file: &Path, folder: &str) -> String {
    let base = workspace().join(folder);
    file.strip_prefix(&base).unwrap_or(file).to_string_lossy().trim_start_matches('/').to_owned()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}
