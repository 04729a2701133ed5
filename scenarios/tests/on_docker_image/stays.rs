//! What the image is, and what is left when its containers are gone.

use harness::cluster::kind::{Kind, KindError, RunLock};
use harness::cluster::kubernetes::LABEL_RUN;
use serde_json::Value;
use testcontainers::ImageExt;

use crate::RUN;
use crate::container::{Hub, started};
use crate::docker::{docker, inspect, layers};

/// What the image may weigh, in bytes.
const WEIGHT: u64 = 15_000_000;

/// What a network's name begins with; the run's follows.
const NETWORK: &str = "hubcheck-";

impl Hub {
    /// The network of this run's containers.
    pub(crate) fn network(&self) -> String {
        format!("{NETWORK}{}", self.run)
    }
}

pub(crate) async fn contents(hub: Hub) {
    let told = inspect(&hub.reference).await;
    let weight = told["Size"].as_u64().expect("an image has a size");
    crate::say(&format!("{weight} bytes"));
    assert!(weight < WEIGHT, "{weight} bytes");
    let user = told["Config"]["User"].as_str().unwrap_or_default();
    assert!(is_nobody(user), "it runs as `{user}`");
    assert_eq!(told["Config"]["Entrypoint"], serde_json::json!(["/hub"]), "no shell before it");
    assert_eq!(told["Config"]["Volumes"], Value::Null, "nothing to write to");
    let mut files: Vec<String> = layers(&hub.reference).await.into_iter().flatten().collect();
    files.sort();
    assert_eq!(files, ["hub", "relay"], "in its layers, one after the other");
}

/// A case that fails while two containers run on a network.
pub(crate) async fn panics(hub: Hub) {
    let network = hub.network();
    let own = hub.clone();
    let failing = tokio::spawn(async move {
        let _one = started(own.complete().with_network(&network)).await;
        let _other = started(own.complete().with_network(&network)).await;
        assert_eq!(left(&own).await.len(), 3, "two containers and a network");
        // No message: this is no failure.
        std::panic::resume_unwind(Box::new("meant"));
    });
    let ended: Result<(), _> = failing.await;
    let panic = ended.expect_err("it ends in a panic").into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"meant"), "and in none before");
    assert_eq!(left(&hub).await, Vec::<String>::new());
}

/// The containers and networks of this run that are there, running or not.
pub(crate) async fn left(hub: &Hub) -> Vec<String> {
    let label = format!("label={LABEL_RUN}={}", hub.run);
    let containers = docker(&["ps", "--all", "--format", "{{.ID}}", "--filter", &label]).await;
    let name = format!("name=^{}$", hub.network());
    let networks = docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &name]).await;
    containers.lines().chain(networks.lines()).map(str::to_owned).collect()
}

/// Removes what this run made, and what runs left that were killed: testcontainers removes what is dropped, and a
/// container that was made and could not be started has nobody who drops it.
pub(crate) async fn sweep(lock: &RunLock) -> Result<(), KindError> {
    Kind::remove(lock.cluster(), Some(lock)).await?;
    let ours = format!("name=^{NETWORK}{RUN}");
    let networks = docker(&["network", "ls", "--format", "{{.Name}}", "--filter", &ours]).await;
    let run = |network: &&str| network.strip_prefix(NETWORK).unwrap_or_default().to_owned();
    let is_over = |run: &str| run == lock.run() || !RunLock::is_held(run);
    for network in networks.lines().filter(|network| is_over(&run(network))) {
        docker(&["network", "rm", network]).await;
    }
    Ok(())
}

/// Whether a user is none that a host knows, and not root: a number, since the image has no list of users.
fn is_nobody(user: &str) -> bool {
    let ids = user.split(':').map(|id| id.parse::<u32>().unwrap_or_default());
    ids.clone().count() == 2 && ids.into_iter().all(|id| id >= 1000)
}
