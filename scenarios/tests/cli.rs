//! The command as users meet it: what it prints, where, and with which exit code.

#[path = "cli/catalogue.rs"]
mod catalogue;
#[path = "cli/deployed.rs"]
mod deployed;
#[path = "cli/given.rs"]
mod given;
#[path = "cli/idle.rs"]
mod idle;
#[path = "cli/manifests.rs"]
mod manifests;
#[path = "cli/outside.rs"]
mod outside;
#[path = "cli/processes.rs"]
mod processes;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/support.rs"]
mod support;

use std::net::TcpListener;
use std::path::Path;

use insta::assert_snapshot;

use self::support::{RunningHub, hubcheck, soon, told, told_in};

#[test]
fn an_unknown_filter_names_the_nearest() {
    assert_snapshot!(told(&["run", "routing/owner-kiled"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: no scenario or cell is called `routing/owner-kiled`; the nearest is `routing/owner-killed`

    hint: `hubcheck list` names them all
    ");
}

#[test]
fn no_replicas_leave_nothing_to_check() {
    assert_snapshot!(told(&["run", "--replicas", "0"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--replicas 0` leaves no hub to check

    hint: give 1 or more
    ");
}

#[test]
fn too_many_replicas_are_refused() {
    assert_snapshot!(told(&["run", "--replicas", "99"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--replicas 99` takes more clients than a cell has addresses for

    hint: give 8 or fewer
    ");
}

#[test]
fn a_real_cluster_takes_more_replicas() {
    let told = told(&["run", "--backend", "kube", "--context", "dev", "--replicas", "15"]);
    assert!(told.contains("hint: give 14 or fewer"), "{told}");
}

#[test]
fn help_names_every_tool_and_exit_code() {
    let told = told(&["run", "--help"]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    for tool in harness::plan::Tool::ALL {
        assert!(told.contains(&tool.to_string()), "{tool} in {told}");
    }
    use harness::cli::exit;
    let codes = [exit::CONFORMS, exit::DOES_NOT_CONFORM, exit::USAGE, exit::INCONCLUSIVE];
    for code in codes.into_iter().chain([exit::NOTHING_SELECTED, exit::INTERRUPTED]) {
        assert!(told.contains(&format!("\n  {code:<3}  ")), "{code} in {told}");
    }
    for variable in ["HUBCHECK_LOG", "HUBCHECK_CONTEXT", "[[failure]]", "[default: those of the manifests"] {
        assert!(told.contains(variable), "{variable} in {told}");
    }
}

#[test]
fn a_filter_of_the_log_that_is_none_is_refused() {
    let output =
        hubcheck(Path::new(env!("CARGO_TARGET_TMPDIR")), &["list"]).env("HUBCHECK_LOG", "a=b=c").output();
    let output = output.expect("hubcheck starts");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("error: HUBCHECK_LOG=`a=b=c`: "), "{told}");
}

#[test]
fn a_report_that_cannot_be_written_hides_no_other_and_no_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("taken")).expect("a folder");
    let reports = ["--report", "json=taken", "--report", "junit=taken"];
    let run =
        |cell| told_in(folder.path(), &[&["run", "--env", "SESSIONS=memory", cell][..], &reports].concat());
    let conforms = run("routing/stateless-any-replica@stateless");
    assert!(conforms.starts_with("exit code: 2"), "{conforms}");
    assert_eq!(conforms.matches("error: writing `taken`: ").count(), 2, "{conforms}");
    let does_not = run("routing/session-survives-any-replica@off-sse");
    assert!(does_not.starts_with("exit code: 1") && does_not.contains("error: writing"), "{does_not}");
}

#[test]
fn a_command_line_is_no_image() {
    assert_snapshot!(told(&["run", "--backend", "kind", "--command", "hub"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--backend kind` runs images, not command lines

    hint: give `--image IMAGE`, or leave out `--backend kind`
    ");
}

#[test]
fn an_unknown_tool_names_the_known_ones() {
    assert_snapshot!(told(&["run", "--tool", "who=me"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--tool who=me`: no scenario needs a tool `who`; known are whoami, echo, count, tally, work, allocate, sleep, ask
    ");
}

#[test]
fn an_unknown_report_is_refused() {
    assert_snapshot!(told(&["run", "--report", "xml=out.xml"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--report xml=out.xml` is not known

    hint: write `--report json=FILE` or `--report junit=FILE`
    ");
}

#[test]
fn a_manifest_that_is_no_kubernetes_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hub.yaml"), "apiVersion: v1\nkind: Service\nmetadata: [oops\n")
        .expect("a file");
    let told = told_in(folder.path(), &["run", "--manifests", "hub.yaml"]);
    assert!(told.starts_with("exit code: 2"), "{told}");
    assert!(told.contains("error: hub.yaml:3: not YAML: "), "{told}");
}

#[test]
fn manifests_without_a_deployment_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hub.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: hub}\n")
        .expect("a file");
    assert_snapshot!(told_in(folder.path(), &["run", "--manifests", "hub.yaml"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: there is no Deployment in hub.yaml
    ");
}

#[test]
fn an_image_without_a_command_says_how_to_give_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifests = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: hub}
spec:
  selector: {matchLabels: {app: hub}}
  template:
    metadata: {labels: {app: hub}}
    spec:
      containers: [{name: hub, image: 'example.com/hub:1', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: hub}
spec:
  selector: {app: hub}
  ports: [{port: 80}]
";
    std::fs::write(folder.path().join("hub.yaml"), manifests).expect("a file");
    assert_snapshot!(told_in(folder.path(), &["run", "--manifests", "hub.yaml"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: nothing says how to run image `example.com/hub:1` as a process

    hint: give `--image-command 'example.com/hub:1=COMMAND'`, or `--command COMMAND` for the hub's own
    ");
}

#[test]
fn a_command_that_does_not_exist_is_told_soon() {
    let told = soon(&["run", "--command", "no-such-hub --port {port}"]);
    assert!(told.contains("exit code: 2"), "{told}");
    assert!(told.contains("the hub ends as soon as it is started"), "{told}");
    assert!(told.contains(r#"exec: "no-such-hub": executable file not found in $PATH"#), "{told}");
}

#[test]
fn a_command_that_ends_is_told_with_its_last_output() {
    let told = soon(&["run", "--command", "sh -c 'echo it is not plugged in >&2; exit 3'"]);
    assert!(told.contains("exit code: 1"), "{told}");
    assert!(told.contains("it is not plugged in") && told.contains("exit code 3"), "{told}");
}

#[test]
fn a_port_in_use_is_told_in_the_hubs_own_words() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("some port is free");
    let port = taken.local_addr().expect("it has an address").port();
    let program = format!(
        "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
         s.bind((\"127.0.0.1\", {port})); s.listen()"
    );
    let told = soon(&["run", "--command", &format!("python3 -c '{program}'")]);
    assert!(told.contains("exit code: 1") && told.contains("Address already in use"), "{told}");
}

#[test]
fn a_hub_that_is_never_ready_is_told_with_its_probes_last_answer() {
    let told = soon(&[
        "run",
        "--command",
        "python3 -m http.server {port} --bind {host}",
        "--ready-path",
        "/no-such-path",
        "--ready-timeout",
        "3",
    ]);
    assert!(told.contains("exit code: 1"), "{told}");
    assert!(
        told.contains("survey/ready")
            && told.contains("the readiness probe `GET /no-such-path` is answered 404"),
        "{told}"
    );
    assert!(told.contains("HTTP probe failed with statuscode: 404"), "{told}");
}

#[test]
fn a_server_that_is_no_hub_is_told() {
    let told = soon(&["run", "--command", "python3 -m http.server {port} --bind {host}"]);
    assert!(told.contains("exit code: 1"), "{told}");
    assert!(told.contains("survey/usable") && told.contains("`GET /sse` was answered 404"), "{told}");
    assert!(told.contains("remedy: `--sse-path` and `--mcp-path` say where"), "{told}");
    assert!(
        told.contains("survey.jsonl") && told.contains("cells not applicable: needs a usable way"),
        "{told}"
    );
}

#[test]
fn a_hub_that_is_not_there_is_told() {
    let told = soon(&["run", "--url", "http://127.0.0.1:9"]);
    assert!(told.contains("exit code: 2") && told.contains("Connection refused"), "{told}");
}

#[test]
fn a_hub_that_is_already_running_is_checked_as_it_is() {
    let running = RunningHub::started();
    let url = format!("http://{}", running.addr);
    let whole = told(&["run", "--url", &url, "@stateless", "@streamable"]);
    let one_path = told(&["run", "--url", &format!("{url}/sse"), "--transport", "sse", "unknown-session"]);
    assert!(whole.starts_with("exit code: 0"), "{whole}");
    for transport in ["streamable", "stateless"] {
        let cell = ["session/string-ids", "-", transport];
        let passed = |line: &str| {
            line.trim().starts_with("PASS")
                && line.split_whitespace().rev().take(3).eq(cell.into_iter().rev())
        };
        assert!(whole.lines().any(passed), "{whole}");
    }
    // One process proves nothing about several.
    assert!(whole.contains("note one replica seen"), "{whole}");
    let about_several = |line: &&str| line.contains("routing/reconnecting-client");
    let are_left_out =
        |line: &str| line.trim_start().starts_with("N/A") && line.contains("two replicas that are seen");
    assert_eq!(whole.lines().filter(about_several).filter(|line| are_left_out(line)).count(), 2, "{whole}");
    let promised = told(&["run", "--url", &url, "--replicas", "2", "reconnecting-client@streamable"]);
    assert!(promised.starts_with("exit code: 3") && promised.contains("one replica seen"), "{promised}");
    assert!(one_path.starts_with("exit code: 0") && one_path.contains("1 cell: 1 passed"), "{one_path}");
}

#[test]
fn a_must_that_the_field_ignores_warns_and_fails_under_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = ["run", "--env", "DEFECT=ignores-origin", "--evidence", "evidence", "session/origin@sse"];
    let told = told_in(folder.path(), &run);
    assert!(told.starts_with("exit code: 0") && told.contains("WARN"), "{told}");
    let runs = std::fs::read_dir(folder.path().join("evidence")).expect("the evidence is there");
    let run_folder = runs.flatten().next().expect("a run").path();
    let transcript = run_folder.join("session/origin@sse.jsonl");
    let transcript = transcript.to_str().expect("a readable path");
    let ordinary = told_in(folder.path(), &["check", transcript]);
    assert!(ordinary.starts_with("exit code: 0") && ordinary.contains("warn origin-validated"), "{ordinary}");
    let strict = told_in(folder.path(), &["check", "--strict", transcript]);
    assert!(strict.starts_with("exit code: 1") && strict.contains("fail origin-validated"), "{strict}");
    let strict = told_in(folder.path(), &[&run[..], &["--strict"]].concat());
    assert!(strict.starts_with("exit code: 1") && strict.contains("FAIL"), "{strict}");
}

#[test]
fn a_transcript_is_judged_again_offline() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let run = told_in(
        folder.path(),
        &[
            "run",
            "--env",
            "SESSIONS=memory",
            "--evidence",
            "evidence",
            "--report",
            &format!("json={}", report.display()),
            "session-survives-any-replica@off-sse",
        ],
    );
    assert!(run.starts_with("exit code: 1"), "{run}");
    assert!(run.contains("rerun: ") && run.contains("routing/session-survives-any-replica@off-sse"), "{run}");
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&report).expect("a report")).expect("JSON");
    let cell = &document["cells"][0];
    assert_eq!((&document["schema"], &cell["verdict"]), (&1.into(), &"fail".into()));
    let transcript = cell["transcript"].as_str().expect("a failing cell has a transcript");
    let judged = told_in(folder.path(), &["check", transcript]);
    assert!(judged.starts_with("exit code: 1"), "{judged}");
    for finding in cell["findings"].as_array().expect("findings") {
        let actual = finding["actual"].as_str().expect("what was seen");
        assert!(judged.contains(actual), "offline and online find the same: {actual} in {judged}");
    }
}

#[test]
fn a_file_that_is_no_transcript_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x.jsonl"), "{\"format\":99}\n").expect("a file");
    assert_snapshot!(told_in(folder.path(), &["check", "x.jsonl"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `x.jsonl` is not a transcript: it has format 99, this hubcheck reads format 1
    ");
}

#[test]
fn a_stale_expected_failure_fails_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = "[[failure]]\ncell = \"routing/stateless-any-replica@stateless\"\nreason = \"it once did\"\n";
    std::fs::write(folder.path().join("expected.toml"), list).expect("a file");
    let told = told_in(folder.path(), &["run", "--expected", "expected.toml", "stateless-any-replica"]);
    assert!(told.starts_with("exit code: 1"), "{told}");
    assert!(told.contains("stale: routing/stateless-any-replica@stateless"), "{told}");
}

#[test]
fn an_expected_failure_is_one_cell_by_its_whole_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = "[[failure]]\ncell = \"owner-killed@off-sse\"\nreason = \"r\"\n";
    std::fs::write(folder.path().join("expected.toml"), list).expect("a file");
    insta::assert_snapshot!(told_in(folder.path(), &["run", "--expected", "expected.toml"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: in the list of expected failures: `owner-killed@off-sse` is not the whole name of a cell

    hint: it may be `routing/owner-killed@off-sse`
    ");
}

#[test]
fn an_image_on_the_embedded_cluster_is_refused() {
    insta::assert_snapshot!(told(&["run", "--image", "my-hub:1"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--image` means nothing to `--backend local`, whose replicas are processes

    hint: it is for `--backend kind` or `--backend kube`; on `local` give `--command`
    ");
}

#[test]
fn an_expected_failure_does_not_fail_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let cell = "routing/session-survives-any-replica@off-sse";
    let list = format!("[[failure]]\ncell = \"{cell}\"\nreason = \"sessions are in memory\"\n");
    std::fs::write(folder.path().join("expected.toml"), list).expect("a file");
    let told =
        told_in(folder.path(), &["run", "--env", "SESSIONS=memory", "--expected", "expected.toml", cell]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    assert!(told.contains(&format!("expected to fail: {cell} (sessions are in memory)")), "{told}");
}

#[test]
fn nothing_that_applies_is_its_own_exit_code() {
    let told = told(&["run", "--replicas", "1", "wrong-replica-answers-fast"]);
    assert!(told.starts_with("exit code: 4"), "{told}");
    assert!(told.contains("needs 2 replicas"), "{told}");
}
