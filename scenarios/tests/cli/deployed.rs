//! What the user's manifests deploy is judged; what differs from it is shown and not counted.

use std::path::Path;

use super::support::told_in;

/// The cells of a hub whose sessions live in one process, by manifests like those of `kind/` with this Service and so many replicas.
fn of_memory(affinity: &str, replicas: usize, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let kind = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind");
    for name in ["deployment.yaml", "service.yaml", "secret.yaml"] {
        let text = std::fs::read_to_string(kind.join(name)).expect("our manifests");
        let text = text.replace("sessionAffinity: None", &format!("sessionAffinity: {affinity}"));
        let text = text.replace("replicas: 2", &format!("replicas: {replicas}"));
        std::fs::write(folder.path().join(name), text).expect("a manifest");
    }
    let manifests = folder.path().display().to_string();
    let scenario = "routing/session-survives-any-replica";
    let args = ["run", "--manifests", &manifests, "--env", "SESSIONS=memory", "--transport", "sse", scenario];
    told_in(Path::new(env!("CARGO_TARGET_TMPDIR")), &[&args[..], more].concat())
}

#[test]
fn with_client_ip_deployed_sessions_in_memory_are_right_and_without_it_is_a_what_if() {
    let told = of_memory("ClientIP", 2, &[]);
    assert!(told.starts_with("exit code: 0"), "{told}");
    assert!(told.contains("judged as deployed: 2 replicas, affinity client-ip (10800 s)"), "{told}");
    assert!(told.contains("fail, not counted: affinity `off`, `client-ip` is deployed"), "{told}");
    assert!(!told.contains("remedy:"), "what would mend it is in place: {told}");
}

#[test]
fn flags_say_which_affinity_is_judged_and_no_remedy_repeats_what_is_deployed() {
    let told = of_memory("ClientIP", 2, &["--affinity", "off"]);
    assert!(told.starts_with("exit code: 1"), "{told}");
    assert!(told.contains("remedy: a hub that finds a session from every replica"), "{told}");
    let off = of_memory("None", 2, &[]);
    assert!(
        off.starts_with("exit code: 1") && off.contains("remedy: Service: `spec.sessionAffinity: ClientIP`"),
        "{off}"
    );
}

#[test]
fn one_replica_is_judged_as_one_and_of_many_three_run() {
    let one = of_memory("None", 1, &["routing/rolling-update", "routing/scale-up"]);
    assert!(one.starts_with("exit code: 0"), "{one}");
    assert!(one.contains("fail, not counted: 2 replicas, 1 is deployed"), "{one}");
    let many = of_memory("ClientIP", 7, &["--affinity", "client-ip"]);
    assert!(many.starts_with("exit code: 0"), "{many}");
    assert!(many.contains("the manifests deploy 7 replicas: cells begin with 3"), "{many}");
}
