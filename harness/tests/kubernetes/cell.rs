//! A cell on such an API server, by the front door: a kubeconfig, a run, and our own manifests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::cluster::Condition;
use harness::cluster::kubernetes::{Context, Kubernetes, Site, UpError};
use harness::cluster::manifest::Manifests;
use harness::transcript::{Recorder, What};
use serde_json::Value;

use super::ages::Age;
use super::api::{Api, LIMIT};

/// The namespace of the first cell of a run.
pub(crate) const NAMESPACE: &str = "/api/v1/namespaces/hubcheck-run-0";

/// What a user has who may do everything.
pub(crate) const USER: &str = "token: let-me-in";

/// A running cell.
pub(crate) struct Cell {
    pub(crate) api: Arc<Api>,
    pub(crate) cell: Kubernetes,
    pub(crate) recorder: Recorder,
    _folder: tempfile::TempDir,
}

/// A cell on a server of this age.
pub(crate) async fn up(age: Age) -> Cell {
    let api = Api::start(age).await;
    up_on(api).await.unwrap()
}

/// A cell on a server that was told before how to answer.
pub(crate) async fn up_on(api: Arc<Api>) -> Result<Cell, UpError> {
    up_with(api, Manifests::embedded().unwrap()).await
}

/// The same with these manifests.
pub(crate) async fn up_with(api: Arc<Api>, manifests: Manifests) -> Result<Cell, UpError> {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new([]);
    let site = Arc::new(site(&api, folder.path(), USER).await?);
    site.open_relays("hub:1").await?;
    let cell = Kubernetes::up(site, manifests, recorder.clone()).await?;
    Ok(Cell { api, cell, recorder, _folder: folder })
}

/// The cluster of a kubeconfig with this user.
pub(crate) async fn site(api: &Api, folder: &Path, user: &str) -> Result<Site, UpError> {
    let path = kubeconfig(api, folder, user);
    Site::of_context(&Context { kubeconfig: Some(path), name: "dev".to_owned() }, "run".to_owned()).await
}

/// A kubeconfig with this user, whose context is called `dev`.
pub(crate) fn kubeconfig(api: &Api, folder: &Path, user: &str) -> PathBuf {
    let path = folder.join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: far, cluster: {{server: 'http://{}'}}}}]\n\
         users: [{{name: me, user: {{{user}}}}}]\n\
         contexts: [{{name: dev, context: {{cluster: far, user: me}}}}]\n",
        api.addr
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A collection of the cell's namespace, of the core.
pub(crate) fn core(kind: &str) -> String {
    format!("{NAMESPACE}/{kind}")
}

/// A collection of the cell's namespace, of a group and version.
pub(crate) fn of(group: &str, kind: &str) -> String {
    format!("{}/{kind}", NAMESPACE.replacen("/api/v1", &format!("/apis/{group}"), 1))
}

// === impl Cell ===

impl Cell {
    pub(crate) fn put(&self, kind: &str, object: Value) {
        self.api.put(&core(kind), object);
    }

    pub(crate) fn put_slice(&self, slice: Value) {
        self.api.put(&of("discovery.k8s.io/v1", "endpointslices"), slice);
    }

    pub(crate) async fn wait(&self, condition: Condition) {
        self.cell.wait(&condition, LIMIT).await.unwrap();
    }

    /// The ready pods of the Service, each time that they were told to have changed.
    pub(crate) fn endpoints_told(&self) -> Vec<Vec<String>> {
        let told = |what| match what {
            What::Endpoints { ready } => Some(ready),
            _ => None,
        };
        self.recorder.entries().into_iter().filter_map(|entry| told(entry.what)).collect()
    }
}
