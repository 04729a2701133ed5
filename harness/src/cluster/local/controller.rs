//! The one task that owns the cluster's state: it hears from pods and from the harness, and decides.
//!
//! Everything that happens to pods is recorded here, so that the transcript has one order.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::deployment::{Set, Standing, Strategy, decide, first_to_go, pod_suffix, template_hash};
use super::launch::{cgroup_name, command, container_and_grace};
use super::output::{Output, Outputs};
use super::pod::{Command, News, Pod};
use super::request::Request;
use super::routing::{affinity, target_port};
use super::view::{PodView, Status, View};
use super::{Enforcement, Spec};
use crate::cluster::balancer::{Balancer, Endpoint, Routes};
use crate::cluster::companions::Resolver;
use crate::cluster::environment::{Configs, PodFields};
use crate::cluster::lease::{Lease, random};
use crate::cluster::links::service_links;
use crate::cluster::manifest::memory_limit;
use crate::cluster::reach::Reach;
use crate::cluster::supervisor::{Enforcer, Place};
use crate::transcript::{PodChange, Recorder, What};

mod serving;

/// The state, and the ends of everything that changes it.
pub(crate) struct Controller {
    spec: Spec,
    recorder: Recorder,
    lease: Lease,
    balancer: Arc<Balancer>,
    outputs: Arc<Outputs>,
    /// Revisions from the oldest to the newest.
    sets: Vec<Revision>,
    pods: Vec<Member>,
    tasks: JoinSet<()>,
    endpoints: Vec<String>,
    configs: watch::Sender<Configs>,
    view: watch::Sender<Arc<View>>,
    news: UnboundedSender<(u32, News)>,
    heard: UnboundedReceiver<(u32, News)>,
    next_uid: u32,
    /// The namespaces of each container.
    place: Place,
    /// Where the companions are.
    resolver: Arc<Resolver>,
    /// Set when the cluster goes down: what happens then is not part of the cell.
    is_ending: bool,
}

/// A ReplicaSet.
struct Revision {
    hash: String,
    template: PodTemplateSpec,
    wanted: usize,
}

/// A pod of the Deployment.
struct Member {
    uid: u32,
    name: String,
    hash: String,
    reach: Reach,
    /// Where the Service reaches its server; `None` when the Service's port names none of its ports.
    target: Option<u16>,
    grace: Duration,
    created: Instant,
    ready_since: Option<Instant>,
    is_terminating: bool,
    status: Status,
    output: Arc<Output>,
    commands: UnboundedSender<Command>,
}

// === impl Controller ===

impl Controller {
    pub(crate) fn new(
        spec: Spec,
        recorder: Recorder,
        lease: Lease,
        balancer: Arc<Balancer>,
        outputs: Arc<Outputs>,
        view: watch::Sender<Arc<View>>,
        (place, resolver): (Place, Arc<Resolver>),
    ) -> Self {
        let configs = watch::Sender::new(configs(&spec));
        let (news, heard) = unbounded_channel();
        Self {
            spec,
            recorder,
            lease,
            balancer,
            outputs,
            sets: Vec::new(),
            pods: Vec::new(),
            tasks: JoinSet::new(),
            endpoints: Vec::new(),
            configs,
            view,
            news,
            heard,
            next_uid: 0,
            place,
            resolver,
            is_ending: false,
        }
    }

    /// Runs until nobody can ask anything any more.
    pub(crate) async fn run(mut self, mut requests: UnboundedReceiver<Request>) {
        self.reconcile();
        loop {
            tokio::select! {
                Some((uid, news)) = self.heard.recv() => self.hear(uid, news),
                Some(_) = self.tasks.join_next() => continue,
                request = requests.recv() => match request {
                    Some(Request::Down { done }) => {
                        self.end().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(request) => self.serve(request),
                    None => return,
                },
            }
        }
    }

    /// Changes what should be until nothing is left to change, tells what is.
    fn reconcile(&mut self) {
        loop {
            let is_scaled = self.balance_sets();
            for idx in 0..self.sets.len() {
                self.fill_or_drain(idx);
            }
            // A pod that goes makes room for another at once: one that is ending does not count.
            if !is_scaled {
                break;
            }
        }
        self.publish();
    }

    /// Decides how many pods each revision should have; whether that changed.
    fn balance_sets(&mut self) -> bool {
        let Some(spec) = self.spec.manifests.deployment.spec.clone() else { return false };
        let newest = template_hash(&spec.template);
        if self.sets.last().is_none_or(|last| last.hash != newest) {
            // A template that comes back takes up its revision again, as the newest.
            let known = self.sets.iter().position(|set| set.hash == newest).map(|at| self.sets.remove(at));
            let (hash, template) = (newest.clone(), spec.template.clone());
            self.sets.push(known.unwrap_or(Revision { hash, template, wanted: 0 }));
        }
        let desired = desired(&spec);
        let mut sets: Vec<Set> = self.sets.iter().map(|set| self.count(set)).collect();
        decide(&mut sets, desired, Strategy::of(&spec, desired));
        let scaled: Vec<(String, usize, usize)> = self
            .sets
            .iter_mut()
            .zip(&sets)
            .filter(|(set, decided)| set.wanted != decided.wanted)
            .map(|(set, decided)| {
                (set.hash.clone(), std::mem::replace(&mut set.wanted, decided.wanted), decided.wanted)
            })
            .collect();
        let name = self.deployment_name();
        let is_scaled = !scaled.is_empty();
        for (hash, from, to) in scaled {
            let way = if to > from { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {name}-{hash} from {from} to {to}");
            self.event(format!("Deployment/{name}"), "ScalingReplicaSet", message);
        }
        let pods = &self.pods;
        self.sets.retain(|set| {
            set.wanted > 0 || set.hash == newest || pods.iter().any(|pod| pod.hash == set.hash)
        });
        is_scaled
    }

    fn count(&self, set: &Revision) -> Set {
        let of_set = || self.pods.iter().filter(|pod| pod.hash == set.hash);
        Set {
            hash: set.hash.clone(),
            wanted: set.wanted,
            available: of_set().filter(|pod| pod.status.is_ready && !pod.is_terminating).count(),
            existing: of_set().count(),
        }
    }

    /// Creates or deletes pods of a revision until it has as many as it should.
    fn fill_or_drain(&mut self, idx: usize) {
        let (hash, wanted) = (self.sets[idx].hash.clone(), self.sets[idx].wanted);
        let set = format!("{}-{hash}", self.deployment_name());
        let mut staying: Vec<(_, u32)> = self
            .pods
            .iter()
            .filter(|pod| pod.hash == hash && !pod.is_terminating)
            .map(|pod| (first_to_go(&pod.standing()), pod.uid))
            .collect();
        staying.sort();
        let too_many = staying.len().saturating_sub(wanted);
        for (_, uid) in staying.iter().take(too_many) {
            let Some(pod) = self.pods.iter().find(|pod| pod.uid == *uid) else { continue };
            let (name, grace) = (pod.name.clone(), pod.grace);
            self.event(format!("ReplicaSet/{set}"), "SuccessfulDelete", format!("Deleted pod: {name}"));
            self.terminate(*uid, grace);
        }
        for _ in staying.len()..wanted {
            match self.create(&self.sets[idx].template.clone(), &hash) {
                Ok(name) => {
                    let message = format!("Created pod: {name}");
                    self.event(format!("ReplicaSet/{set}"), "SuccessfulCreate", message);
                    self.record(What::Pod { pod: name, change: PodChange::Created });
                }
                Err(message) => {
                    let message = format!("Error creating: {message}");
                    self.event(format!("ReplicaSet/{set}"), "FailedCreate", message);
                    return;
                }
            }
        }
    }

    fn create(&mut self, template: &PodTemplateSpec, hash: &str) -> Result<String, String> {
        let (container, grace) = container_and_grace(template).ok_or("the template has no container")?;
        let addr = self.lease.replica().map_err(|error| error.to_string())?;
        let (argv, cwd) = command(&self.spec.launches, &self.spec.manifests, container)
            .map_err(|error| error.to_string())?;
        let name = format!("{}-{hash}-{}", self.deployment_name(), pod_suffix());
        let metadata = template.metadata.clone().unwrap_or_default();
        let fields = PodFields {
            name: name.clone(),
            namespace: self.spec.manifests.namespace(),
            uid: format!("{:08x}", random()),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            host: addr.ip().to_string(),
            port: addr.port(),
        };
        let uid = self.next_uid;
        self.next_uid += 1;
        let (commands, heeded) = unbounded_channel();
        let reach = Reach::new(addr);
        let output = Arc::new(Output::new(name.clone(), self.recorder.clone()));
        self.outputs.add(Arc::clone(&output));
        let news = self.news.clone();
        let member = Member {
            uid,
            name: name.clone(),
            hash: hash.to_owned(),
            reach: reach.clone(),
            target: target_port(&self.spec.manifests.service, &fields.labels, container, addr.port()),
            grace,
            created: Instant::now(),
            ready_since: None,
            is_terminating: false,
            status: Status::default(),
            output: Arc::clone(&output),
            commands,
        };
        let pod = Pod {
            argv,
            cwd,
            supervisor: self.spec.supervisor.clone(),
            memory: memory_limit(container),
            cgroup: (self.spec.enforcement == Enforcement::Best).then(|| cgroup_name(&name)),
            place: self.place,
            fixed_port: self.spec.fixed_port,
            grace,
            backoff: self.spec.backoff,
            reach,
            prober: self.lease.range().prober(),
            links: service_links(&self.spec.manifests, self.balancer.addr(), &self.resolver),
            resolver: Arc::clone(&self.resolver),
            given_env: self.spec.env.clone(),
            configs: self.configs.subscribe(),
            output,
            news: Box::new(move |told| drop(news.send((uid, told)))),
            commands: heeded,
            container: container.clone(),
            fields,
        };
        self.tasks.spawn(pod.run());
        self.pods.push(member);
        Ok(name)
    }

    /// Begins to delete a pod; it is out of the endpoints before it hears of it.
    fn terminate(&mut self, uid: u32, grace: Duration) {
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.uid == uid) else { return };
        let is_news = !std::mem::replace(&mut pod.is_terminating, true);
        let name = pod.name.clone();
        if is_news {
            self.record(What::Pod { pod: name, change: PodChange::Terminating });
            self.update_endpoints();
        }
        if let Some(pod) = self.pods.iter().find(|pod| pod.uid == uid) {
            let _ = pod.commands.send(Command::Delete { grace });
        }
    }

    /// Takes in what a pod tells.
    fn hear(&mut self, uid: u32, news: News) {
        let Some(idx) = self.pods.iter().position(|pod| pod.uid == uid) else { return };
        let pod = self.pods[idx].name.clone();
        let status = &mut self.pods[idx].status;
        match news {
            News::Event { reason, message } => return self.event(format!("Pod/{pod}"), reason, message),
            News::Probed(said) => {
                // Too frequent to publish: it is shown with the next change, or by who waits in vain.
                status.probed = Some(said);
                return self.publish_quietly();
            }
            News::Waiting { reason, message } => {
                status.waiting = Some((reason.clone(), message.clone()));
                self.record(What::Pod { pod, change: PodChange::Waiting { reason, message } });
            }
            News::Sigterm { main, is_pid_1, below } => {
                return self.record(What::Sigterm { pod, main, is_pid_1, below });
            }
            News::Running { restarts, limited, main } => {
                status.main = Some(main);
                status.is_watched = limited == Some(Enforcer::Watcher);
                status.has_run = true;
                status.is_running = true;
                status.restarts = restarts;
                status.waiting = None;
                self.record(What::Pod { pod, change: PodChange::Running { restarts } });
            }
            News::Ready => self.ready(idx, pod, true),
            News::NotReady => self.ready(idx, pod, false),
            News::Terminated { restarts, reason, exit_code, by, peak } => {
                status.restarts = restarts;
                status.is_running = false;
                status.main = None;
                status.terminated = Some((reason.clone(), exit_code, peak));
                let was_ready = status.is_ready;
                let by = by.map(|by: Enforcer| by.to_string());
                let change = PodChange::Terminated { reason, exit_code, by };
                self.record(What::Pod { pod: pod.clone(), change });
                if was_ready && !self.pods[idx].is_terminating {
                    self.ready(idx, pod, false);
                }
                self.pods[idx].status.is_ready = false;
            }
            News::Gone => {
                self.pods.remove(idx);
                self.record(What::Pod { pod, change: PodChange::Deleted });
            }
        }
        self.update_endpoints();
        self.reconcile();
    }

    fn ready(&mut self, idx: usize, pod: String, is_ready: bool) {
        let member = &mut self.pods[idx];
        member.status.is_ready = is_ready;
        member.ready_since = is_ready.then(Instant::now);
        let change = if is_ready { PodChange::Ready } else { PodChange::NotReady };
        self.record(What::Pod { pod, change });
    }

    /// Gives the balancer the pods that are ready and stay, and records them when they changed.
    fn update_endpoints(&mut self) {
        let serving = |pod: &&Member| pod.status.is_ready && !pod.is_terminating && pod.target.is_some();
        let mut endpoints: Vec<Endpoint> = self
            .pods
            .iter()
            .filter(serving)
            .filter_map(|pod| {
                Some(Endpoint { pod: pod.name.clone(), reach: pod.reach.clone(), port: pod.target? })
            })
            .collect();
        endpoints.sort_by(|left, right| left.pod.cmp(&right.pod));
        let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.pod.clone()).collect();
        if names != self.endpoints {
            self.record(What::Endpoints { ready: names.clone() });
            self.endpoints = names;
        }
        self.balancer.route(Routes { endpoints, affinity: affinity(&self.spec.manifests.service) });
    }

    fn publish(&self) {
        self.view.send_replace(Arc::new(self.look()));
    }

    /// Publishes without waking those who wait: no condition depends on it.
    fn publish_quietly(&self) {
        self.view.send_if_modified(|view| {
            *view = Arc::new(self.look());
            false
        });
    }

    fn look(&self) -> View {
        let newest = self.sets.last().map(|set| set.hash.as_str());
        let pods = self.pods.iter().map(|pod| PodView {
            name: pod.name.clone(),
            reach: pod.reach.clone(),
            is_newest: Some(pod.hash.as_str()) == newest,
            is_terminating: pod.is_terminating,
            status: pod.status.clone(),
            output: Arc::clone(&pod.output),
        });
        let spec = self.spec.manifests.deployment.spec.as_ref();
        View { pods: pods.collect(), endpoints: self.endpoints.clone(), desired: spec.map_or(0, desired) }
    }

    fn event(&self, object: String, reason: &str, message: String) {
        self.record(What::Event { object, reason: reason.to_owned(), message });
    }

    fn record(&self, what: What) {
        if !self.is_ending {
            self.recorder.record(what);
        }
    }

    fn deployment_name(&self) -> String {
        self.spec.manifests.deployment.metadata.name.clone().unwrap_or_default()
    }
}

// === impl Member ===

impl Member {
    fn standing(&self) -> Standing {
        Standing {
            is_running: self.status.is_running,
            is_ready: self.status.is_ready,
            ready_for: self.ready_since.map_or(Duration::ZERO, |since| since.elapsed()),
            restarts: self.status.restarts,
            age: self.created.elapsed(),
        }
    }
}

// === helpers ===

fn desired(spec: &DeploymentSpec) -> usize {
    usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0)
}

fn configs(spec: &Spec) -> Configs {
    Configs { secrets: spec.manifests.secrets.clone(), config_maps: spec.manifests.config_maps.clone() }
}
