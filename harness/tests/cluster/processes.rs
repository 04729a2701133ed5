//! What becomes of processes and their memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::cluster::Condition;
use harness::cluster::local::Enforcement;
use harness::timeouts::SLACK;
use harness::transcript::PodChange;

use crate::support::{
    LIMIT, changes, example, get_at, manifests, marked_processes, names, spec, until, up_with,
};

/// For so long something may outlive the harness.
const AFTERWARDS: Duration = Duration::from_secs(2).saturating_add(SLACK);

/// A name for the processes of one test.
fn marker(test: &str) -> (String, String) {
    (format!("MARK_{}", test.to_uppercase()), std::process::id().to_string())
}

fn cgroups_of(pid: u32) -> Vec<String> {
    let prefix = format!("hubcheck-{pid}-");
    let groups = std::fs::read_dir("/sys/fs/cgroup/memory").into_iter().flatten().flatten();
    let names = groups.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// How a harness comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Death {
    Killed,
    Interrupted,
    Panicked,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_a_harness_that_is_killed() {
    nothing_outlives("killed", Death::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_a_harness_that_is_interrupted() {
    nothing_outlives("interrupted", Death::Interrupted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_a_harness_that_panics() {
    nothing_outlives("panicked", Death::Panicked).await;
}

/// A harness of ours; a test that fails must not leave it behind.
struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn nothing_outlives(test: &str, death: Death) {
    let (name, value) = marker(test);
    let harness = Command::new(example("doomed_harness"))
        .args([&name, &value])
        .args([example("supervisor"), example("tiny_server")])
        .args((death == Death::Panicked).then_some("panic"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the harness starts");
    let mut doomed = Doomed(harness);
    let harness = &mut doomed.0;
    let mut line = String::new();
    let stdout = harness.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says something");
    assert_eq!(line, "ready\n");
    // Two of each: supervisor, server, and two grandchildren in sessions of their own, one with a child.
    until("all have started", LIMIT, || marked_processes(&name, &value).len() == 10).await;
    let can_limit = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
        && rustix::process::geteuid().is_root();
    assert_eq!(cgroups_of(harness.id()).len(), if can_limit { 2 } else { 0 });
    match death {
        Death::Killed => harness.kill().expect("it can be killed"),
        Death::Interrupted => {
            let pid = rustix::process::Pid::from_child(harness);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be signalled");
        }
        Death::Panicked => drop(harness.stdin.take()),
    }
    until("it has ended", LIMIT, || harness.try_wait().expect("it can be asked").is_some()).await;
    let status = harness.wait().expect("it ends");
    let code = match death {
        Death::Killed => None,
        Death::Interrupted => Some(0),
        Death::Panicked => Some(101),
    };
    assert_eq!(status.code(), code);
    until("nothing is left", AFTERWARDS, || marked_processes(&name, &value).is_empty()).await;
    until("no cgroup is left", AFTERWARDS, || cgroups_of(harness.id()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_ends_takes_everything_with_it() {
    let (name, value) = marker("ended");
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.append_args(["--litter"]);
    let mut spec = spec(ours);
    spec.env.push((name.clone(), value.clone()));
    let (cluster, _) = up_with(spec).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    until("all have started", LIMIT, || marked_processes(&name, &value).len() == 5).await;
    let before = marked_processes(&name, &value);
    let replica = names(&cluster).remove(0);
    cluster.kill(&replica).await.unwrap();
    cluster.wait(&Condition::Restarted { replica, more_than: 0 }, LIMIT).await.unwrap();
    until("all have started again", LIMIT, || marked_processes(&name, &value).len() == 5).await;
    let after = marked_processes(&name, &value);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    cluster.down().await;
    assert_eq!(marked_processes(&name, &value), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_is_killed_leaves_nothing_behind() {
    let (name, value) = marker("unsupervised");
    let mut ours = manifests();
    ours.set_replicas(1);
    ours.append_args(["--litter"]);
    let mut spec = spec(ours);
    spec.env.push((name.clone(), value.clone()));
    let (cluster, recorder) = up_with(spec).await;
    cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
    until("all have started", LIMIT, || marked_processes(&name, &value).len() == 5).await;
    let before = marked_processes(&name, &value);
    let supervisor = before.iter().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == b"supervise")
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(*supervisor.unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let replica = names(&cluster).remove(0);
    cluster.wait(&Condition::Restarted { replica: replica.clone(), more_than: 0 }, LIMIT).await.unwrap();
    until("all have started again", LIMIT, || marked_processes(&name, &value).len() == 5).await;
    let after = marked_processes(&name, &value);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    let ended = |change: &PodChange| matches!(change, PodChange::Terminated { exit_code: 137, .. });
    assert!(changes(&recorder, &replica).iter().any(ended));
    cluster.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_cluster_ends_it() {
    let (name, value) = marker("dropped");
    let mut spec = spec(manifests());
    spec.env.push((name.clone(), value.clone()));
    let (cluster, _) = up_with(spec).await;
    cluster.wait(&Condition::Ready(2), LIMIT).await.unwrap();
    drop(cluster);
    until("nothing is left", AFTERWARDS, || marked_processes(&name, &value).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_memory_is_an_oom_kill() {
    for enforcement in [Enforcement::Best, Enforcement::Watched] {
        let mut ours = manifests();
        ours.set_replicas(1);
        ours.set_memory_limit("64Mi");
        let mut spec = spec(ours);
        spec.enforcement = enforcement;
        let (cluster, recorder) = up_with(spec).await;
        cluster.wait(&Condition::Ready(1), LIMIT).await.unwrap();
        let replica = cluster.replicas().remove(0);
        get_at(&cluster, 0, replica.addr, "/allocate/16").await.unwrap();
        // The server dies while it answers.
        get_at(&cluster, 0, replica.addr, "/allocate/400").await.unwrap_err();
        let oom = Condition::State { replica: replica.name.clone(), reason: "OOMKilled".to_owned() };
        cluster.wait(&oom, LIMIT).await.unwrap();
        let restarted = Condition::Restarted { replica: replica.name.clone(), more_than: 0 };
        cluster.wait(&restarted, LIMIT).await.unwrap();
        let ended = changes(&recorder, &replica.name).into_iter().find_map(|change| match change {
            PodChange::Terminated { reason, exit_code, by } => Some((reason, exit_code, by)),
            _ => None,
        });
        let (reason, exit_code, by) = ended.unwrap();
        assert_eq!((reason.as_str(), exit_code), ("OOMKilled", 137));
        let by = by.unwrap();
        assert!(by == "watcher" || enforcement == Enforcement::Best && by == "cgroup", "{by}");
        if Path::new("/sys/fs/cgroup/memory").exists() && rustix::process::geteuid().is_root() {
            assert_eq!(by == "cgroup", enforcement == Enforcement::Best);
        }
        cluster.down().await;
    }
}
