//! Faults that need nothing of the hub: a release of any command line can end at once, start late, or find its port taken.

use super::support::told;

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
