//! What people type without a flag, the quick profile that it runs, and how much is told meanwhile.

use std::collections::BTreeMap;
use std::path::Path;

use super::support::{RunningHub, hubcheck, told, told_in};

/// The command line of the reference hub, with sessions that one process keeps.
fn hub_command() -> Vec<String> {
    let hub = harness::run::reference::build(harness::run::reference::Messages::Quiet).expect("it builds");
    let words = ["--ephemeral-key", "--sessions", "memory", "--host", "{host}", "--port", "{port}"];
    std::iter::once(hub.display().to_string()).chain(words.map(str::to_owned)).collect()
}

#[test]
fn an_address_is_enough_and_the_paths_that_were_found_are_said() {
    let running = RunningHub::started();
    let told = told(&[&format!("http://{}", running.addr)]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    // Its lines are wrapped.
    let in_one_line = told.replace('\n', " ");
    assert!(
        in_one_line.contains("found at /mcp (streamable, stateless), /sse (sse), quick profile"),
        "{told}"
    );
    // Cargo runs the tests: its line begins with that.
    let everything = format!("run --url http://{}", running.addr);
    let is_everything = |line: &str| line.starts_with("  every cell: ") && line.ends_with(&everything);
    assert!(told.lines().any(is_everything), "{told}");
    assert!(!told.contains("FAIL") && !told.contains("N/A"), "{told}");
}

#[test]
fn the_words_behind_two_dashes_are_the_hubs_command() {
    let command = hub_command();
    let words: Vec<&str> =
        ["--transport", "http", "--"].into_iter().chain(command.iter().map(String::as_str)).collect();
    let told = told(&words);
    assert!(told.starts_with("exit code: 1") && told.contains("NOT SAFE with 2 replicas"), "{told}");
    let in_one_line = told.replace('\n', " ");
    assert!(in_one_line.contains("on local, 2 replicas, quick profile"), "{told}");
    // A line for each failing cell on standard error, and no more of it.
    let (stdout, stderr) = told.split_once("----- stderr -----\n").expect("both streams");
    assert!(stdout.contains("Each replica keeps its sessions in its own memory"), "{told}");
    let failing = stderr.lines().filter(|line| line.trim_start().starts_with("FAIL")).count();
    assert!(failing > 0 && stderr.lines().count() == failing + 2, "{told}");
    assert!(stderr.contains("404 Could not find session") && !stderr.contains("remedy"), "{told}");
    let everything = stdout.lines().last().expect("a line");
    assert!(
        everything.starts_with("  every cell: ")
            && everything.contains(" run --command ")
            && everything.ends_with(" --transport streamable"),
        "{told}"
    );
}

#[test]
fn a_folder_of_manifests_is_enough_and_the_quick_profile_has_the_verdicts_of_a_whole_run() {
    let kind = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind");
    let folder = tempfile::tempdir().expect("a folder");
    // Reports are written beside it.
    std::fs::create_dir(folder.path().join("k8s")).expect("a folder");
    for name in ["deployment.yaml", "service.yaml", "secret.yaml"] {
        std::fs::copy(kind.join(name), folder.path().join("k8s").join(name)).expect("our manifests");
    }
    for (env, code) in [("SESSIONS=forward", "exit code: 0"), ("SESSIONS=memory", "exit code: 1")] {
        let flags = ["--env", env, "--affinity", "off,client-ip"];
        let quick = told_in(folder.path(), &[&["k8s/", "--report", "json=quick.json"][..], &flags].concat());
        assert!(quick.starts_with(code), "{quick}");
        let whole = [&["run", "k8s/", "--report", "json=whole.json"][..], &flags, scenarios::QUICK].concat();
        let whole = told_in(folder.path(), &whole);
        assert!(whole.starts_with(code), "{whole}");
        let (quick, whole) =
            (cells(&folder.path().join("quick.json")), cells(&folder.path().join("whole.json")));
        // A cell that ends replicas runs once.
        let missing: Vec<&String> = whole.keys().filter(|cell| !quick.contains_key(*cell)).collect();
        let ends = |cell: &&&String| {
            ["owner-killed@client-ip", "scale-down@client-ip"].iter().any(|name| cell.contains(name))
        };
        assert_eq!(missing.iter().filter(ends).count(), missing.len(), "{missing:?}");
        // A machine that is too slow may leave a cell undecided. It turns no verdict into another one.
        let decided = |came_to: &str| came_to != "inconclusive";
        let both: Vec<_> = quick
            .iter()
            .filter_map(|(cell, came_to)| Some((cell, came_to, whole.get(cell)?)))
            .filter(|(_, quick, whole)| decided(quick) && decided(whole))
            .collect();
        for (cell, quick, whole) in &both {
            assert_eq!(quick, whole, "{cell}");
        }
        assert!(both.len() > 20, "{quick:?}");
    }
}

#[test]
fn what_is_nearly_right_names_what_is_meant() {
    for (words, wanted) in [
        (&["lst"][..], "a similar subcommand exists: 'list'"),
        (&["rnu"], "hint: the command is `hubcheck run`"),
        (&["run", "--transport", "streamble"], "a similar value exists: 'streamable'"),
        (&["owner-kiled"], "the nearest is `owner-killed`"),
        (&["localhost:3000"], "hint: for a hub that is running write `http://localhost:3000`"),
        (&["nothing.yaml"], "error: there is no file or folder `nothing.yaml`"),
        (&["run", "--quick", "image-missing"], "error: the quick profile has none of these cells"),
    ] {
        let told = told(words);
        assert!(told.starts_with("exit code: 2") && told.contains(wanted), "{words:?}: {told}");
    }
}

#[test]
fn little_is_told_with_q_and_what_does_not_apply_with_show() {
    let run = |flags: &[&str]| {
        told(&[&["run", "--replicas", "1"], flags, &["wrong-replica-answers-fast"]].concat())
    };
    // Cargo's lines about the reference hub are its own.
    let is_quiet =
        |told: &str| !told.contains("Surveying") && !told.contains("Running") && !told.contains("N/A");
    assert!(is_quiet(&run(&["-q"])), "{}", run(&["-q"]));
    let shown = run(&["--show", "na"]);
    assert!(shown.contains("N/A") && shown.contains("needs 2 replicas"), "{shown}");
    let output =
        hubcheck(Path::new(env!("CARGO_TARGET_TMPDIR")), &["--quiet", "stateless-any-replica"]).output();
    let output = output.expect("hubcheck starts");
    assert!(output.status.success() && is_quiet(&String::from_utf8_lossy(&output.stderr)));
    assert!(String::from_utf8_lossy(&output.stdout).contains("NO FAULT in the cells that were chosen"));
}

/// What the documents show: run in an empty folder, against an address where nothing listens.
#[test]
fn every_command_that_the_documents_show_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut shown = Vec::new();
    for document in ["README.md", "docs/usage.md"] {
        let text = std::fs::read_to_string(root.join(document)).expect("the document is there");
        shown.extend(text.lines().filter_map(|line| line.strip_prefix("$ hubcheck ").map(str::to_owned)));
        let in_text = text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("hubcheck "));
        // A line that is broken, or left out in part.
        shown.extend(in_text.filter(|code| !code.contains("..") && !code.contains('\n')).map(str::to_owned));
    }
    // Those that name a hub, and so end soon: there is none.
    let names_hub = |line: &String| {
        ["http", "--command", "-- ", "k8s/", "deploy.yaml", "HUB"].iter().any(|hub| line.contains(hub))
    };
    shown.retain(names_hub);
    assert!(shown.len() > 15, "{shown:?}");
    for line in shown {
        let line = line.replace("mcp.example.com", "127.0.0.1:9").replace("localhost:3000", "127.0.0.1:9");
        let line = line.replace("HUB ", "http://127.0.0.1:9 ").replace(" HUB", " http://127.0.0.1:9");
        let line = line.split("   #").next().unwrap_or_default();
        let words = shell_words::split(line).expect("words");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told = told_in(folder.path(), &words);
        let is_taken = !["unexpected argument", "unrecognized", "invalid value", "required"]
            .iter()
            .any(|wrong| told.contains(wrong));
        assert!(is_taken, "hubcheck {line}: {told}");
    }
}

/// Each cell of a JSON report with its verdict. Which checks stand behind it, the balancer's choice decides, too.
fn cells(report: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(report).expect("the report was written");
    let document: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    let rows = document["cells"].as_array().expect("the report has cells").iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| (text(&row["cell"]), text(&row["verdict"]))).collect()
}
