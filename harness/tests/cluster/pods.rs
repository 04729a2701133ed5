//! What a pod does with its container.

use std::time::{Duration, Instant};

use harness::cluster::Condition;
use harness::cluster::local::{Namespaces, Spec};
use harness::transcript::{Entry, PodChange, What};

use crate::support::{LIMIT, changes, event_reasons, get_at, manifests, names, spec, up, up_with};

fn state(replica: &str, reason: &str) -> Condition {
    Condition::State { replica: replica.to_owned(), reason: reason.to_owned() }
}

/// The name of the only replica.
async fn the_replica(cluster: &harness::cluster::local::Local) -> String {
    crate::support::until("there is a pod", LIMIT, || !cluster.replicas().is_empty()).await;
    names(cluster).remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_leaves_the_endpoints_and_comes_back() {
    let mut ours = manifests();
    ours.remove_liveness_probe();
    let (cluster, recorder) = up(ours).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    let stopped = names(&cluster).remove(0);
    let began = Instant::now();
    cluster.stop(&stopped).await.unwrap();
    cluster.wait(&Condition::NotReady(stopped.clone()), LIMIT).await.unwrap();
    // Two probes, a second apart, a second for each answer.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(event_reasons(&recorder, &format!("Pod/{stopped}")).contains(&"Unhealthy".to_owned()));
    cluster.cont(&stopped).await.unwrap();
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    assert_eq!(cluster.replicas()[0].restarts + cluster.replicas()[1].restarts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_missing_is_waited_for() {
    let mut ours = manifests();
    ours.set_replicas(1);
    let value =
        ours.secret_values().into_iter().find(|secret| secret.name == "NEO4J_PASSWORD").unwrap().value;
    ours.append_args(["--needs", "NEO4J_PASSWORD"]);
    let whole = ours.clone();
    ours.remove_secret_key("mcp-hub-secrets", "NEO4J_PASSWORD");
    let recorder = harness::transcript::Recorder::new(whole.secret_values());
    let cluster = harness::cluster::local::Local::up(spec(ours.clone()), recorder.clone()).await.unwrap();
    let replica = the_replica(&cluster).await;
    cluster.wait(&state(&replica, "CreateContainerConfigError"), LIMIT).await.unwrap();
    let unmet = cluster.wait(&Condition::Ready(1), Duration::from_millis(1)).await.unwrap_err();
    let message = "couldn't find key NEO4J_PASSWORD in Secret default/mcp-hub-secrets";
    assert!(unmet.last_seen.contains(message), "{unmet}");
    ours.remove_secret("mcp-hub-secrets");
    cluster.apply(ours, None).await.unwrap();
    let not_found = |entry: &harness::transcript::Entry| {
        matches!(&entry.what, What::Pod { change: PodChange::Waiting { message, .. }, .. }
            if message == "secret \"mcp-hub-secrets\" not found")
    };
    crate::support::until("the secret is gone", LIMIT, || recorder.entries().iter().any(not_found)).await;
    cluster.apply(whole, None).await.unwrap();
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    assert_eq!(names(&cluster), std::slice::from_ref(&replica), "the same pod");
    assert_eq!(cluster.logs(&replica)[0], "NEO4J_PASSWORD is <secret:NEO4J_PASSWORD>");
    let text = format!("{:?} {:?}", recorder.entries(), cluster.manifests().await.unwrap());
    assert!(!text.contains(&value), "a secret's value is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_keeps_ending_is_backed_off() {
    for (code, reason) in [("3", "Error"), ("0", "Completed")] {
        let mut ours = manifests();
        ours.set_replicas(1);
        ours.append_args(["--exit", code]);
        let (cluster, recorder) = up(ours).await;
        let replica = the_replica(&cluster).await;
        cluster.wait(&state(&replica, "CrashLoopBackOff"), LIMIT).await.unwrap();
        let again = recorder.entries().len();
        assert_eq!(cluster.replicas()[0].restarts, 1, "the first restart is immediate");
        let exit_code = code.parse().unwrap();
        let ended = PodChange::Terminated { reason: reason.to_owned(), exit_code, by: None };
        assert_eq!(changes(&recorder, &replica)[1..3], [PodChange::Running { restarts: 0 }, ended]);
        crate::support::until("it is restarted after a second", LIMIT, || {
            recorder.entries()[again..].iter().any(|entry| {
                matches!(entry.what, What::Pod { change: PodChange::Running { restarts: 2 }, .. })
            })
        })
        .await;
        let unmet = cluster.wait(&Condition::Ready(1), Duration::from_millis(100)).await.unwrap_err();
        assert!(unmet.last_seen.contains("about to end"), "{unmet}");
        assert!(event_reasons(&recorder, &format!("Pod/{replica}")).contains(&"BackOff".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_exist_is_named() {
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.set_command(["no-such-hub"]);
    let (cluster, recorder) = up(ours).await;
    let replica = the_replica(&cluster).await;
    cluster.wait(&state(&replica, "StartError"), LIMIT).await.unwrap();
    cluster.wait(&state(&replica, "CrashLoopBackOff"), LIMIT).await.unwrap();
    let unmet = cluster.wait(&Condition::Ready(1), Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(cluster.replicas()[0].restarts, 1);
    let message = "exec: \"no-such-hub\": executable file not found in $PATH";
    assert!(unmet.last_seen.contains(message), "{unmet}");
    let waits = changes(&recorder, &replica);
    assert!(waits.iter().any(|change| {
        matches!(change, PodChange::Waiting { reason, message: said }
            if reason == "RunContainerError" && said.contains(message))
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_container_is_restarted() {
    let mut ours = manifests();
    ours.set_replicas(1);
    let (cluster, recorder) = up(ours).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    let replica = cluster.replicas().remove(0);
    get_at(&cluster, 0, replica.addr, "/sick").await.unwrap();
    let restarted = Condition::Restarted { replica: replica.name.clone(), more_than: 0 };
    cluster.wait(&restarted, LIMIT).await.unwrap();
    let events = event_reasons(&recorder, &format!("Pod/{}", replica.name));
    assert_eq!(events, ["Started", "Unhealthy", "Killing", "Started"]);
    let told = recorder.entries().into_iter().find_map(|entry| match entry.what {
        What::Event { reason, message, .. } if reason == "Unhealthy" => Some(message),
        _ => None,
    });
    assert_eq!(told.unwrap(), "Liveness probe failed: HTTP probe failed with statuscode: 500");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_not_ready_says_why() {
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.append_args(["--ready-after", "6000"]);
    let (cluster, recorder) = up(ours).await;
    let unmet = cluster.wait(&Condition::Ready(1), Duration::from_secs(4)).await.unwrap_err();
    let text = unmet.to_string();
    assert!(text.contains("statuscode: 503: still busy") && text.contains("listening at 127."), "{text}");
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    let awaited = recorder.entries().into_iter().filter_map(|entry| match entry.what {
        What::Awaited { condition, unmet, .. } => Some((condition, unmet.is_none())),
        _ => None,
    });
    let ready = "exactly 1 pod, ready".to_owned();
    assert_eq!(awaited.collect::<Vec<_>>(), [(ready.clone(), false), (ready, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_period_ends_with_a_kill() {
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.append_args(["--stubborn"]);
    let (cluster, recorder) = up(ours).await;
    for (grace, at_least) in [(Duration::from_secs(1), 1000), (Duration::ZERO, 0)] {
        cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
        let replica = names(&cluster).remove(0);
        let began = Instant::now();
        cluster.delete(&replica, Some(grace)).await.unwrap();
        cluster.wait(&Condition::Gone(replica.clone()), LIMIT).await.unwrap();
        let took = began.elapsed().as_millis();
        assert!(took >= at_least && took < at_least + 2900, "{took} ms with a grace of {grace:?}");
        let killed = PodChange::Terminated { reason: "Error".to_owned(), exit_code: 137, by: None };
        assert!(changes(&recorder, &replica).contains(&killed));
    }
}

/// Whether PID 1 is what SIGTERM was sent to, and how the container ended.
fn end_of(entries: &[Entry], replica: &str) -> (bool, bool, i32) {
    let told = entries.iter().find_map(|entry| match &entry.what {
        What::Sigterm { pod, main, is_pid_1, .. } if pod == replica => Some((*is_pid_1, main.heeds_sigterm)),
        _ => None,
    });
    let (is_pid_1, heeds) = told.expect("SIGTERM is told");
    let exit_code = entries.iter().find_map(|entry| match &entry.what {
        What::Pod { pod, change: PodChange::Terminated { exit_code, .. } } if pod == replica => {
            Some(*exit_code)
        }
        _ => None,
    });
    (is_pid_1, heeds, exit_code.expect("it ended"))
}

/// Where namespaces can be had, which not every machine allows, the container's own `/proc` says who is PID 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_handler_ends_on_sigterm_unless_it_is_pid_1() {
    for namespaces in [Namespaces::Best, Namespaces::Shared] {
        let mut ours = manifests();
        ours.set_replicas(1);
        ours.set_grace_period(Duration::from_secs(1));
        ours.append_args(["--deaf"]);
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("first");
        ours.set_env("FIRST", first.to_str().unwrap());
        let look = serde_json::json!({"exec": {"command": ["sh", "-c", "cat /proc/1/cmdline > $FIRST"]}, "periodSeconds": 1});
        let template = &mut ours.deployment.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].startup_probe = serde_json::from_value(look).unwrap();
        let (cluster, recorder) = up_with(Spec { namespaces, ..spec(ours) }).await;
        cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
        let replica = names(&cluster).remove(0);
        cluster.delete(&replica, None).await.unwrap();
        cluster.wait(&Condition::Gone(replica.clone()), LIMIT).await.unwrap();
        let is_first = std::fs::read_to_string(first).unwrap().contains("tiny_server");
        assert!(!is_first || namespaces == Namespaces::Best);
        let exit_code = if is_first { 137 } else { 143 };
        assert_eq!(end_of(&recorder.entries(), &replica), (is_first, false, exit_code), "{namespaces:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_and_commands_as_probes_run_in_the_containers_environment() {
    let mut ours = manifests();
    ours.set_replicas(1);
    let dir = tempfile::tempdir().unwrap();
    let stopped = dir.path().join("stopped");
    ours.set_env("STOPPED", stopped.to_str().unwrap());
    let json = serde_json::json!({
        "startupProbe": {"exec": {"command": ["sh", "-c", "test -n \"$POD_NAME\""]}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo $POD_NAME > $STOPPED"]}}},
    });
    let template = &mut ours.deployment.spec.as_mut().unwrap().template;
    let container = &mut template.spec.as_mut().unwrap().containers[0];
    container.startup_probe = serde_json::from_value(json["startupProbe"].clone()).unwrap();
    container.lifecycle = serde_json::from_value(json["lifecycle"].clone()).unwrap();
    let (cluster, _) = up_with(spec(ours)).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    let replica = names(&cluster).remove(0);
    cluster.delete(&replica, None).await.unwrap();
    cluster.wait(&Condition::Gone(replica.clone()), LIMIT).await.unwrap();
    assert_eq!(std::fs::read_to_string(stopped).unwrap().trim(), replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_takes_the_whole_grace_is_cut_and_the_process_told_all_the_same() {
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.set_grace_period(Duration::from_secs(1));
    let hook = serde_json::json!({"preStop": {"exec": {"command": ["sh", "-c", "sleep 60"]}}});
    let template = &mut ours.deployment.spec.as_mut().unwrap().template;
    template.spec.as_mut().unwrap().containers[0].lifecycle = serde_json::from_value(hook).unwrap();
    let (cluster, recorder) = up_with(spec(ours)).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    let replica = names(&cluster).remove(0);
    cluster.delete(&replica, None).await.unwrap();
    cluster.wait(&Condition::Gone(replica.clone()), LIMIT).await.unwrap();
    let ended = PodChange::Terminated { reason: "Error".to_owned(), exit_code: 143, by: None };
    let ends = |entry: &Entry| matches!(&entry.what, What::Pod { pod, change } if *pod == replica && *change == ended);
    assert!(recorder.entries().iter().any(ends), "SIGTERM, as a kubelet sends it: {:?}", recorder.entries());
}
