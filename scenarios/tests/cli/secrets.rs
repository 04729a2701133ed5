//! What is secret of what the user gives appears nowhere.

use std::process::Command;

use insta::assert_snapshot;

use super::support::{RunningHub, told, told_in};

#[test]
fn a_header_without_a_value_is_not_repeated() {
    assert_snapshot!(told(&["run", "--header", "Authorization: hush"]), @"
    exit code: 2
    ----- stdout -----
    ----- stderr -----
    error: `--header` needs NAME=VALUE

    hint: such as `--header NAME=VALUE`
    ");
}

#[test]
fn a_secret_header_appears_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "s3cr3t-value-of-this-test";
    let told = told_in(
        folder.path(),
        &[
            "run",
            "--env",
            "SESSIONS=memory",
            "--evidence",
            "evidence",
            "--header",
            &format!("Authorization=Bearer {secret}"),
            "session-survives-any-replica@off-streamable",
        ],
    );
    assert!(told.starts_with("exit code: 1") && !told.contains(secret), "{told}");
    let grep = Command::new("grep").args(["-r", secret, "evidence"]).current_dir(folder.path()).output();
    assert_eq!(grep.expect("grep runs").status.code(), Some(1), "no transcript holds the header's value");
    let grep =
        Command::new("grep").args(["-rl", "<redacted>", "evidence"]).current_dir(folder.path()).output();
    assert_eq!(grep.expect("grep runs").status.code(), Some(0), "but the header was sent");
}

#[test]
fn a_secret_of_a_url_appears_nowhere() {
    let hub = RunningHub::started();
    let folder = tempfile::tempdir().expect("a folder");
    let (token, password) = ("t0ken-of-this-test", "pa55word-of-this-test");
    let url = format!("http://me:{password}@{}/sse?token={token}", hub.addr);
    let told = told_in(
        folder.path(),
        &["run", "--url", &url, "--evidence", "evidence", "--report", "json=report.json", "session@sse"],
    );
    assert!(told.contains("PASS") && !told.contains("t0ken-") && !told.contains("pa55word-"), "{told}");
    let grep = |flags: &str, text: &str| {
        let grep = Command::new("grep").args([flags, text, "."]).current_dir(folder.path()).output();
        grep.expect("grep runs").status.code()
    };
    assert_eq!(grep("-rE", &format!("{token}|{password}")), Some(1), "no file holds them");
    assert_eq!(grep("-rlF", "/sse?token=<secret:query token>"), Some(0), "but the query was sent");
}
