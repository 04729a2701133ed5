//! The one task of a cell that hears what the API tells, records it, and keeps the view.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Event as Told, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::said;
use super::endpoints::{Ready, ready_of, ready_of_slice};
use super::forward::{Forward, Way};
use super::logs::Logs;
use super::objects::Objects;
use super::seen::{Seen, container};
use super::site::Site;
use super::view::{PodView, Rollout, View};
use crate::cluster::manifest::{COMPANION, KEEPS_OFF, Names};
use crate::transcript::{PodChange, Recorder, What};

/// The port of a container that names none.
const PORT: u16 = 8000;

/// The reason of the event by which a kubelet says that it ends a container.
const KILLING: &str = "Killing";

/// What the API tells.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken at once")]
enum News {
    Pod(Event<Pod>),
    Told(Event<Told>),
    Slice(Event<EndpointSlice>),
    Endpoints(Event<Endpoints>),
    Deployment(Event<Deployment>),
    /// The watch of this kind of object broke; it is made again.
    Broken(Cow<'static, str>, watcher::Error),
}

struct Watching {
    pods: Api<Pod>,
    site: Arc<Site>,
    recorder: Recorder,
    logs: Arc<Logs>,
    known: View,
    /// By pod. Kept to the end: a pod whose record is gone may still serve what it has.
    forwards: BTreeMap<String, Forward>,
    /// Pods that a new listing has named so far.
    listed: Option<BTreeSet<String>>,
    /// Events that were recorded, with their messages.
    told: BTreeMap<String, (String, i32)>,
    /// What the Service's objects say of its pods.
    ready: Ready,
    /// Which objects are not of the hub.
    names: Names,
    view: watch::Sender<Arc<View>>,
}

/// Starts to watch the namespace.
pub(super) fn start(
    site: &Arc<Site>,
    objects: &Objects,
    logs: Arc<Logs>,
    recorder: Recorder,
) -> (watch::Receiver<Arc<View>>, JoinHandle<()>) {
    let everything = watcher::Config::default;
    let service = objects.service_name();
    let mut streams: Vec<BoxStream<'static, News>> = vec![
        news(objects.api::<Pod>(), everything().labels(&format!("!{KEEPS_OFF},!{COMPANION}")), News::Pod),
        news(objects.api::<Told>(), everything(), News::Told),
        news(
            objects.api::<Deployment>(),
            everything().fields(&format!("metadata.name={}", objects.deployment_name())),
            News::Deployment,
        ),
    ];
    streams.push(if site.has_slices() {
        let of_service = everything().labels(&format!("kubernetes.io/service-name={service}"));
        news(objects.api::<EndpointSlice>(), of_service, News::Slice)
    } else {
        let of_service = everything().fields(&format!("metadata.name={service}"));
        news(objects.api::<Endpoints>(), of_service, News::Endpoints)
    });
    let (view, seen) = watch::channel(Arc::default());
    let watching = Watching {
        pods: objects.api(),
        site: Arc::clone(site),
        recorder,
        logs,
        known: View::default(),
        forwards: BTreeMap::new(),
        listed: None,
        told: BTreeMap::new(),
        ready: Ready::default(),
        names: objects.names().clone(),
        view,
    };
    (seen, tokio::spawn(watching.run(select_all(streams))))
}

/// Records the events that a watch may not have told yet.
pub(super) async fn last_events(objects: &Objects, recorder: &Recorder) {
    let events = match objects.api::<Told>().list(&ListParams::default()).await {
        Ok(events) => events,
        Err(error) => return tracing::warn!("listing the last events: {error}"),
    };
    let entries = recorder.entries();
    let known: BTreeSet<(&str, &str, &str)> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Event { object, reason, message } => {
                Some((object.as_str(), reason.as_str(), message.as_str()))
            }
            _ => None,
        })
        .collect();
    for event in events {
        let (object, reason, message) = words(&event);
        if objects.names().is_of_companion(&object) {
            continue;
        }
        if !known.contains(&(object.as_str(), reason.as_str(), recorder.mask(&message).as_str())) {
            recorder.record(What::Event { object, reason, message });
        }
    }
}

// === impl Watching ===

impl Watching {
    async fn run(mut self, mut news: impl futures_util::Stream<Item = News> + Unpin) {
        while let Some(news) = news.next().await {
            if let Some(kind) = listed(&news) {
                self.known.unheard.remove(&kind);
            }
            match news {
                News::Pod(event) => self.pod_event(event),
                News::Told(Event::Apply(told) | Event::InitApply(told)) => self.told(&told),
                News::Slice(event) => self.endpoints_event(event, ready_of_slice),
                News::Endpoints(event) => self.endpoints_event(event, ready_of),
                News::Deployment(Event::Apply(deployment) | Event::InitApply(deployment)) => {
                    self.known.rollout = rollout(&deployment);
                }
                News::Told(_) | News::Deployment(_) => continue,
                News::Broken(kind, error) => {
                    tracing::debug!("a watch broke: {error}");
                    let Some(refused) = refused(&error) else { continue };
                    self.known.unheard.insert(kind, refused);
                }
            }
            self.view.send_replace(Arc::new(self.known.clone()));
        }
    }

    fn pod_event(&mut self, event: Event<Pod>) {
        match event {
            Event::Apply(pod) => self.pod(&pod),
            Event::Delete(pod) => {
                self.pod(&pod);
                self.pod_gone(&pod.metadata.name.unwrap_or_default());
            }
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(pod.metadata.name.clone().unwrap_or_default());
                }
                self.pod(&pod);
            }
            Event::InitDone => {
                let Some(listed) = self.listed.take() else { return };
                let missed = self.known.pods.iter().map(|pod| pod.name.clone());
                let missed: Vec<String> = missed.filter(|name| !listed.contains(name)).collect();
                missed.iter().for_each(|name| self.pod_gone(name));
            }
        }
    }

    fn pod(&mut self, pod: &Pod) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut seen = Seen::of(pod);
        let spec = pod.spec.as_ref();
        let before = self.known.pods.iter().position(|known| known.name == name);
        if let Some(known) = before.map(|idx| &self.known.pods[idx]) {
            let code = |container: &str| Some(self.site.exit(known.node.as_deref()?, container)?.code);
            seen.find_out(&known.seen, code);
        }
        let (restarts, ip) = (seen.restarts, seen.ip);
        let changes = seen.changes_since(before.map(|idx| &self.known.pods[idx].seen));
        let node = spec.and_then(|spec| spec.node_name.clone());
        match before {
            Some(idx) => {
                let known = &mut self.known.pods[idx];
                (known.seen, known.node) = (seen, node);
            }
            None => {
                let forward = match Forward::open(self.way_to(&name), port(pod), self.recorder.clone()) {
                    Ok(forward) => forward,
                    Err(error) => return tracing::warn!("no port to forward to {name} from: {error}"),
                };
                let grace_s = spec.and_then(|spec| spec.termination_grace_period_seconds);
                let grace_s = u64::try_from(grace_s.unwrap_or(30)).unwrap_or(30);
                let view = PodView {
                    name: name.clone(),
                    forward: forward.addr(),
                    node,
                    grace_s,
                    is_told: false,
                    seen,
                };
                self.forwards.insert(name.clone(), forward);
                self.known.pods.push(view);
            }
        }
        if let Some(forward) = self.forwards.get(&name) {
            forward.is_at(ip);
        }
        let ran = changes.iter().any(|change| matches!(change, PodChange::Running { .. }));
        let exited_at = || {
            let pod = self.known.pod(&name)?;
            let container = &pod.seen.ended.as_ref()?.container;
            let at = self.site.exit(pod.node.as_deref()?, container)?.at?;
            Some(What::Exited { pod: name.clone(), at_us: self.recorder.at_us(at) })
        };
        let exited = exited_at();
        for change in changes {
            let has_ended = matches!(change, PodChange::Terminated { .. });
            if has_ended {
                // It may have been too short-lived to be seen running.
                self.logs.ended(&name, container(pod), restarts);
            }
            self.recorder.record(What::Pod { pod: name.clone(), change });
            if has_ended && let Some(exited) = &exited {
                self.recorder.record(exited.clone());
            }
        }
        if ran {
            self.logs.follow(&name, container(pod), restarts);
        }
    }

    /// How one replica is reached past the Service.
    fn way_to(&self, pod: &str) -> Way {
        match self.site.kind() {
            Some(kind) => Way::Relay(Arc::clone(kind)),
            None => Way::PortForward(Box::new(self.pods.clone()), pod.to_owned()),
        }
    }

    fn pod_gone(&mut self, name: &str) {
        let before = self.known.pods.len();
        self.known.pods.retain(|pod| pod.name != name);
        if let Some(forward) = self.forwards.get(name) {
            forward.is_at(None);
        }
        if self.known.pods.len() < before {
            self.recorder.record(What::Pod { pod: name.to_owned(), change: PodChange::Deleted });
        }
    }

    fn told(&mut self, event: &Told) {
        let name = event.metadata.name.clone().unwrap_or_default();
        let (object, reason, message) = words(event);
        if self.names.is_of_companion(&object) {
            return;
        }
        if reason == KILLING
            && let Some(name) = object.strip_prefix("Pod/")
            && let Some(pod) = self.known.pods.iter_mut().find(|pod| pod.name == name)
        {
            pod.is_told = true;
        }
        // What happens again is the same event with a higher count.
        let count = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or_default();
        let told = (message.clone(), count);
        if self.told.insert(name, told.clone()).as_ref() != Some(&told) {
            self.recorder.record(What::Event { object, reason, message });
        }
    }

    fn endpoints_event<K: Resource>(&mut self, event: Event<K>, ready_of: impl Fn(&K) -> BTreeSet<String>) {
        let name = |object: &K| object.meta().name.clone().unwrap_or_default();
        match event {
            Event::Apply(object) => self.ready.says(name(&object), ready_of(&object)),
            Event::Delete(object) => self.ready.forget(&name(&object)),
            Event::Init => self.ready.listing_begins(),
            Event::InitApply(object) => self.ready.lists(name(&object), ready_of(&object)),
            Event::InitDone => self.ready.listing_ends(),
        }
        let ready = self.ready.pods();
        if ready != self.known.endpoints {
            self.recorder.record(What::Endpoints { ready: ready.clone() });
            self.known.endpoints = ready;
        }
    }
}

// === helpers ===

fn news<K>(
    api: Api<K>,
    config: watcher::Config,
    wrap: impl Fn(Event<K>) -> News + Send + 'static,
) -> BoxStream<'static, News>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, config).default_backoff();
    events.map(move |event| event.map_or_else(|error| News::Broken(K::kind(&()), error), &wrap)).boxed()
}

/// The kind of object of which everything was told.
fn listed(news: &News) -> Option<Cow<'static, str>> {
    match news {
        News::Pod(Event::InitDone) => Some(Pod::kind(&())),
        News::Told(Event::InitDone) => Some(Told::kind(&())),
        News::Slice(Event::InitDone) => Some(EndpointSlice::kind(&())),
        News::Endpoints(Event::InitDone) => Some(Endpoints::kind(&())),
        News::Deployment(Event::InitDone) => Some(Deployment::kind(&())),
        _ => None,
    }
}

/// Why nothing is told, where we may not hear it: only then does it not help to ask again.
fn refused(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return None;
    };
    matches!(cause, kube::Error::Api(status) if [401, 403].contains(&status.code)).then(|| said(cause))
}

/// What the API said in place of what was to be watched.
pub(super) fn unheard(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => said(cause),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn words(event: &Told) -> (String, String, String) {
    let about = &event.involved_object;
    let object = format!(
        "{}/{}",
        about.kind.as_deref().unwrap_or_default(),
        about.name.as_deref().unwrap_or_default()
    );
    (object, event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default())
}

fn rollout(deployment: &Deployment) -> Rollout {
    let generation = deployment.metadata.generation.unwrap_or_default();
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let all = |count: Option<i32>| count.unwrap_or_default() == desired;
    let is_complete = status.observed_generation.unwrap_or_default() >= generation
        && all(status.replicas)
        && all(status.updated_replicas)
        && all(status.available_replicas);
    let conditions = status.conditions.unwrap_or_default();
    let told = |kind: &str, status: &str| {
        let found = conditions.iter().find(|known| known.type_ == kind && known.status == status)?;
        Some((found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default()))
    };
    let (halted, refused) = (told("Progressing", "False"), told("ReplicaFailure", "True"));
    Rollout { generation, desired: usize::try_from(desired).unwrap_or(0), is_complete, halted, refused }
}

/// The port at which the replica listens.
fn port(pod: &Pod) -> u16 {
    let counts = container(pod);
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let container = containers.find(|container| Some(container.name.as_str()) == counts);
    let named = container.and_then(|container| container.ports.as_ref()?.first());
    let probed = || match container?.readiness_probe.as_ref()?.http_get.as_ref()?.port {
        IntOrString::Int(port) => u16::try_from(port).ok(),
        IntOrString::String(_) => None,
    };
    let named = named.and_then(|port| u16::try_from(port.container_port).ok());
    named.or_else(probed).unwrap_or(PORT)
}
