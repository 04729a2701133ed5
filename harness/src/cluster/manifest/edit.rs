//! The typed edits that scenarios make to manifests.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{
    ClientIPConfig, Container, EnvVar, EnvVarSource, PodAffinityTerm, PodSpec, Probe, ResourceRequirements,
    Secret, SecretKeySelector, ServiceSpec, SessionAffinityConfig, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::Manifests;

/// The annotation that `kubectl rollout restart` sets.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The label of a pod that keeps others off its node.
pub const KEEPS_OFF: &str = "hubcheck/keeps-off";

/// The label by which nodes are told apart.
const NODE: &str = "kubernetes.io/hostname";

impl Manifests {
    /// How many replicas the Deployment has.
    pub fn replicas(&self) -> usize {
        let replicas = self.deployment.spec.as_ref().and_then(|spec| spec.replicas);
        usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
    }

    /// Sets how many replicas the Deployment has.
    pub fn set_replicas(&mut self, replicas: usize) {
        self.deployment.spec.get_or_insert_default().replicas = i32::try_from(replicas).ok();
    }

    /// Sets `ClientIP` affinity with this timeout in whole seconds, or none.
    pub fn set_affinity(&mut self, client_ip: Option<Duration>) {
        let spec = self.service.spec.get_or_insert_with(ServiceSpec::default);
        let kind = if client_ip.is_some() { "ClientIP" } else { "None" };
        spec.session_affinity = Some(kind.to_owned());
        spec.session_affinity_config = client_ip.map(|timeout| SessionAffinityConfig {
            client_ip: Some(ClientIPConfig { timeout_seconds: whole_seconds(timeout) }),
        });
    }

    /// Makes the Service select pods that are not there.
    pub fn select_none(&mut self) {
        let selector = self.service.spec.get_or_insert_default().selector.get_or_insert_default();
        for wanted in selector.values_mut() {
            wanted.push_str("-mistyped");
        }
    }

    /// Sets which replicas a node gives connections from outside to: `Cluster` for all, `Local` for its own.
    pub fn set_external_traffic_policy(&mut self, policy: &str) {
        self.service.spec.get_or_insert_default().external_traffic_policy = Some(policy.to_owned());
    }

    /// Keeps new pods off every node that has a pod with the label [`KEEPS_OFF`] in the same namespace.
    pub fn can_be_kept_off(&mut self) {
        let marked = LabelSelectorRequirement {
            key: KEEPS_OFF.to_owned(),
            operator: "Exists".to_owned(),
            values: None,
        };
        let marked = LabelSelector { match_expressions: Some(vec![marked]), ..LabelSelector::default() };
        let term = PodAffinityTerm {
            label_selector: Some(marked),
            topology_key: NODE.to_owned(),
            ..PodAffinityTerm::default()
        };
        let affinity = self.pod().affinity.get_or_insert_default().pod_anti_affinity.get_or_insert_default();
        affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    }

    /// Spreads the pods over the nodes, as evenly as can be.
    pub fn spread_over_nodes(&mut self) {
        let pods = self.deployment.spec.as_ref().map(|spec| spec.selector.clone());
        self.pod().topology_spread_constraints = Some(vec![TopologySpreadConstraint {
            label_selector: pods,
            max_skew: 1,
            topology_key: NODE.to_owned(),
            when_unsatisfiable: "DoNotSchedule".to_owned(),
            ..TopologySpreadConstraint::default()
        }]);
    }

    /// Sets the environment variable to this value, whatever it was.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let variable = EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() };
        let env = self.container().env.get_or_insert_default();
        match env.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = variable,
            None => env.push(variable),
        }
    }

    /// Removes the environment variable.
    pub fn remove_env(&mut self, name: &str) {
        if let Some(env) = &mut self.container().env {
            env.retain(|known| known.name != name);
        }
    }

    /// Adds to the container's arguments.
    pub fn append_args<T: Into<String>>(&mut self, args: impl IntoIterator<Item = T>) {
        self.container().args.get_or_insert_default().extend(args.into_iter().map(Into::into));
    }

    /// Sets the container's command in place of the image's.
    pub fn set_command<T: Into<String>>(&mut self, command: impl IntoIterator<Item = T>) {
        self.container().command = Some(command.into_iter().map(Into::into).collect());
    }

    /// The container's image.
    pub fn image(&self) -> Option<&str> {
        let spec = self.deployment.spec.as_ref()?.template.spec.as_ref()?;
        spec.containers.first()?.image.as_deref()
    }

    /// Sets the container's image.
    pub fn set_image(&mut self, image: &str) {
        self.container().image = Some(image.to_owned());
    }

    /// Sets the container's memory limit, such as `64Mi`; a larger request is lowered to it.
    pub fn set_memory_limit(&mut self, limit: &str) {
        let resources = self.container().resources.get_or_insert_with(ResourceRequirements::default);
        let limit = Quantity(limit.to_owned());
        if let Some(request) = resources.requests.as_mut().and_then(|requests| requests.get_mut("memory")) {
            *request = limit.clone();
        }
        resources.limits.get_or_insert_default().insert("memory".to_owned(), limit);
    }

    /// Sets after how many failures in a row the liveness probe restarts the container.
    pub fn set_liveness_failures(&mut self, failures: u32) {
        if let Some(probe) = &mut self.container().liveness_probe {
            probe.failure_threshold = i32::try_from(failures).ok();
        }
    }

    /// Asks by the liveness probe what the readiness probe asks, every second, where there is no liveness probe.
    pub fn set_liveness_probe(&mut self) {
        let container = self.container();
        if container.liveness_probe.is_none() {
            let asked = container.readiness_probe.clone();
            container.liveness_probe = asked.map(|probe| Probe {
                period_seconds: Some(1),
                initial_delay_seconds: None,
                success_threshold: None,
                ..probe
            });
        }
    }

    /// Removes the startup probe before it is applied: the liveness probe counts from the first second. Out of a Deployment that was
    /// applied it cannot be taken: defaults of its fields would stay, and are no probe.
    pub fn remove_startup_probe(&mut self) {
        self.container().startup_probe = None;
    }

    /// Asks whether the replica is ready by GET of this path at the container's first port; without a path, by a
    /// connection to it.
    pub fn set_ready_path(&mut self, path: Option<&str>) {
        let container = self.container();
        let port = container.ports.iter().flatten().next().map_or(8000, |port| port.container_port);
        let port = IntOrString::Int(port);
        let probe = container.readiness_probe.get_or_insert_with(Probe::default);
        (probe.exec, probe.grpc, probe.http_get, probe.tcp_socket) = (None, None, None, None);
        match path {
            Some(path) => {
                let get = probe.http_get.get_or_insert_default();
                (get.path, get.port) = (Some(path.to_owned()), port);
            }
            None => probe.tcp_socket.get_or_insert_default().port = port,
        }
    }

    /// Sets how many pods a rollout may have beyond those that are wanted, and how many of those may be missing.
    pub fn set_rollout(&mut self, surge: i32, unavailable: i32) {
        let strategy = self.deployment.spec.get_or_insert_default().strategy.get_or_insert_default();
        strategy.type_ = Some("RollingUpdate".to_owned());
        let rolling = strategy.rolling_update.get_or_insert_default();
        (rolling.max_surge, rolling.max_unavailable) =
            (Some(IntOrString::Int(surge)), Some(IntOrString::Int(unavailable)));
    }

    /// Removes the liveness and the startup probe.
    pub fn remove_liveness_probe(&mut self) {
        let container = self.container();
        (container.liveness_probe, container.startup_probe) = (None, None);
    }

    /// Sets how long a pod may take to stop, in whole seconds.
    pub fn set_grace_period(&mut self, grace: Duration) {
        self.pod().termination_grace_period_seconds = i64::try_from(grace.as_secs()).ok();
    }

    /// Changes the template as `kubectl rollout restart` does.
    pub fn restart(&mut self) {
        let template = &mut self.deployment.spec.get_or_insert_default().template;
        let metadata = template.metadata.get_or_insert_default();
        let annotations: &mut BTreeMap<_, _> = metadata.annotations.get_or_insert_default();
        // Finer than kubectl's seconds, so that two restarts in a row differ.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        let now = Timestamp::from_microsecond(micros).unwrap_or_default();
        annotations.insert(RESTARTED_AT.to_owned(), now.to_string());
    }

    /// Sets the environment variable to a key of a Secret, which must be there.
    pub fn set_env_from_secret(&mut self, name: &str, secret: &str, key: &str) {
        self.remove_env(name);
        let from = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
        let source = EnvVarSource { secret_key_ref: Some(from), ..EnvVarSource::default() };
        let variable = EnvVar { name: name.to_owned(), value_from: Some(source), ..EnvVar::default() };
        self.container().env.get_or_insert_default().push(variable);
    }

    /// Sets the container's memory request and limit, such as `64Mi`.
    pub fn set_memory_request(&mut self, request: &str) {
        self.set_memory_limit(request);
        let resources = self.container().resources.get_or_insert_default();
        let requests = resources.requests.get_or_insert_default();
        requests.insert("memory".to_owned(), Quantity(request.to_owned()));
    }

    /// Sets after how long without progress a rollout counts as stuck, in whole seconds.
    pub fn set_progress_deadline(&mut self, deadline: Duration) {
        self.deployment.spec.get_or_insert_default().progress_deadline_seconds = whole_seconds(deadline);
    }

    /// Asks what the liveness probe asks also while the process starts, every second and so often: until it was answered
    /// once, no other probe counts.
    pub fn set_startup_probe(&mut self, failures: u32) {
        let container = self.container();
        let asked = container.liveness_probe.clone().or_else(|| container.readiness_probe.clone());
        container.startup_probe = asked.map(|probe| Probe {
            period_seconds: Some(1),
            failure_threshold: i32::try_from(failures).ok(),
            initial_delay_seconds: None,
            ..probe
        });
    }

    /// Gives pods the network of their node.
    pub fn use_host_network(&mut self) {
        self.pod().host_network = Some(true);
        // Kubernetes would fill it in, and keep it when the rest is taken back: what is said here goes with it.
        for port in self.container().ports.iter_mut().flatten() {
            port.host_port = Some(port.container_port);
        }
    }

    /// Never pulls the container's image: it is loaded into the nodes, or it is not there.
    pub fn never_pull(&mut self) {
        self.container().image_pull_policy = Some("Never".to_owned());
    }

    /// Removes a key of a Secret; whether it was there.
    pub fn remove_secret_key(&mut self, secret: &str, key: &str) -> bool {
        let Some(secret) = self.secret(secret) else { return false };
        let encoded = secret.data.as_mut().and_then(|data| data.remove(key));
        let plain = secret.string_data.as_mut().and_then(|data| data.remove(key));
        encoded.is_some() || plain.is_some()
    }

    /// Sets a key of a Secret, which is made when there is none of that name.
    pub fn set_secret_key(&mut self, secret: &str, key: &str, value: &str) {
        self.remove_secret_key(secret, key);
        if self.secret(secret).is_none() {
            let mut made = Secret::default();
            made.metadata.name = Some(secret.to_owned());
            self.secrets.push(made);
        }
        if let Some(secret) = self.secret(secret) {
            secret.string_data.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        }
    }

    /// Removes a whole Secret; whether it was there.
    pub fn remove_secret(&mut self, name: &str) -> bool {
        let before = self.secrets.len();
        self.secrets.retain(|secret| secret.metadata.name.as_deref() != Some(name));
        self.secrets.len() < before
    }

    fn secret(&mut self, name: &str) -> Option<&mut Secret> {
        self.secrets.iter_mut().find(|secret| secret.metadata.name.as_deref() == Some(name))
    }

    fn pod(&mut self) -> &mut PodSpec {
        self.deployment.spec.get_or_insert_default().template.spec.get_or_insert_default()
    }

    pub(super) fn container(&mut self) -> &mut Container {
        let containers = &mut self.pod().containers;
        if containers.is_empty() {
            containers.push(Container::default());
        }
        &mut containers[0]
    }
}

fn whole_seconds(duration: Duration) -> Option<i32> {
    i32::try_from(duration.as_secs().max(1)).ok()
}
