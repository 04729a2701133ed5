//! Command lines of hubs of another make: what is done to their releases, and what is found out of one that does not listen.

use super::support::{hubcheck, told};

#[test]
fn a_hub_of_another_make_meets_releases_that_end_or_start_late() {
    let hub = harness::run::reference::build(harness::run::reference::Messages::Quiet)
        .expect("the reference hub builds");
    let command = format!("{} --ephemeral-key", hub.display());
    let told = told(&[
        "run",
        "--command",
        &command,
        "--affinity",
        "client-ip",
        "crash-loop",
        "slow-start",
        "port-in-use",
    ]);
    assert_eq!(told.matches(" PASS ").count(), 3, "{told}");
    assert!(
        told.contains("not judged: last-words: in which words the last line should say it is not known"),
        "{told}"
    );
}

#[test]
fn what_is_asked_for_its_flags_gets_no_variable_that_a_replica_would_not_get() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo \"$1 ${OF_MY_SHELL:-unset} ${GIVEN:-unset}\" >> asked\n";
    std::fs::write(folder.path().join("hub.sh"), script).expect("a file");
    let args = ["run", "--command", "sh hub.sh", "--env", "GIVEN=given", "--ready-timeout", "10", "ping"];
    let output =
        hubcheck(folder.path(), &args).env("OF_MY_SHELL", "leaked").output().expect("hubcheck starts");
    assert!(!output.status.success(), "{output:?}");
    let asked = std::fs::read_to_string(folder.path().join("asked")).expect("it was started");
    assert!(asked.lines().any(|line| line == "--help unset given"), "{asked}");
    assert!(!asked.contains("leaked"), "{asked}");
}
