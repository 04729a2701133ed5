//! Questions and edits that fit manifests to a run: another hub, shorter cells.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::quantity::memory_limit;
use super::{Manifests, ProbeKind};
use crate::cluster::environment::secret_values;

impl Manifests {
    /// Whether the container has a readiness probe.
    pub fn has_readiness_probe(&self) -> bool {
        self.first_container().is_some_and(|container| container.readiness_probe.is_some())
    }

    /// Whether the readiness probe asks the hub itself: by HTTP or by a command. An accepting port says nothing about a
    /// process that hangs, and other probes are not simulated.
    pub fn readiness_asks(&self) -> bool {
        let probe = self.first_container().and_then(|container| container.readiness_probe.as_ref());
        probe.is_some_and(|probe| {
            let plain =
                |scheme: Option<&str>| scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case("http"));
            let by_http = probe.http_get.as_ref().is_some_and(|get| plain(get.scheme.as_deref()));
            by_http || probe.exec.is_some()
        })
    }

    /// How long a replica that hangs may stay in the Service: until so many probes in a row, one a period, were waited for in
    /// vain. `None` without a readiness probe. The defaults are those of the API:
    /// <https://kubernetes.io/docs/concepts/workloads/pods/probes/>.
    pub fn readiness_budget(&self) -> Option<Duration> {
        let probe = self.first_container()?.readiness_probe.as_ref()?;
        let or = |value: Option<i32>, default: u64| {
            value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let timeout = or(probe.timeout_seconds, 1);
        // An answer that is waited for keeps the next question back.
        let questions = or(probe.period_seconds, 10).max(timeout) * or(probe.failure_threshold, 3);
        Some(Duration::from_secs(questions + timeout))
    }

    /// The name of the first Secret among the manifests that the container cannot be made without.
    pub fn required_secret(&self) -> Option<String> {
        let container = self.first_container()?;
        let by_key = container.env.iter().flatten().filter_map(|variable| {
            let from = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
            (from.optional != Some(true)).then_some(&from.name)
        });
        let whole = container.env_from.iter().flatten().filter_map(|source| {
            let from = source.secret_ref.as_ref()?;
            (from.optional != Some(true)).then_some(&from.name)
        });
        let is_ours = |name: &&String| {
            self.secrets.iter().any(|secret| secret.metadata.name.as_deref() == Some(name.as_str()))
        };
        by_key.chain(whole).find(is_ours).cloned()
    }

    /// The Secret among the manifests that the environment variable comes from.
    pub fn secret_of_env(&self, variable: &str) -> Option<String> {
        let env = self.first_container()?.env.as_ref()?;
        let source = env.iter().find(|known| known.name == variable)?.value_from.as_ref()?;
        let name = source.secret_key_ref.as_ref()?.name.clone();
        self.secret_key(&name, variable).is_some().then_some(name)
    }

    /// The names of the values of Secrets that end with a line break, which `echo` adds to what it is given.
    pub fn secrets_with_line_break(&self) -> Vec<String> {
        let values = self.secrets.iter().flat_map(secret_values);
        // A key file has several lines, and ends with a line break rightly.
        let ends_so = |value: &str| value.ends_with('\n') && !value.trim_end().contains('\n');
        values.filter(|(_, value)| ends_so(value)).map(|(name, _)| name).collect()
    }

    /// The value of a key of a Secret among the manifests.
    pub fn secret_key(&self, secret: &str, key: &str) -> Option<String> {
        let found = self.secrets.iter().find(|known| known.metadata.name.as_deref() == Some(secret))?;
        secret_values(found).remove(key)
    }

    /// Whether the container has a liveness probe.
    pub fn has_liveness_probe(&self) -> bool {
        self.first_container().is_some_and(|container| container.liveness_probe.is_some())
    }

    /// The port that a probe asks, where it is another one than the hub's.
    pub fn asks_elsewhere(&self, kind: ProbeKind) -> Option<u16> {
        let container = self.first_container()?;
        let probe = probe(container, kind)?;
        let asked = match (&probe.http_get, &probe.tcp_socket) {
            (Some(get), _) => &get.port,
            (None, Some(tcp)) => &tcp.port,
            (None, None) => return None,
        };
        let ports = || container.ports.iter().flatten();
        let number = match asked {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                ports().find(|port| port.name.as_deref() == Some(name))?.container_port
            }
        };
        let own = ports().next()?.container_port;
        (number != own).then(|| u16::try_from(number).ok()).flatten()
    }

    /// Leaves a probe out.
    pub fn drop_probe(&mut self, kind: ProbeKind) {
        let container = self.container();
        match kind {
            ProbeKind::Startup => container.startup_probe = None,
            ProbeKind::Readiness => container.readiness_probe = None,
            ProbeKind::Liveness => container.liveness_probe = None,
        }
    }

    /// A command line stands for the image's entrypoint and for the container's `command`: what of the files it does not pass on is
    /// said. `args` follow the command line, unless they are the script of a shell in `command`.
    pub fn stand_in(&mut self) {
        let container = self.container();
        let command = container.command.clone().unwrap_or_default();
        let is_script = command.iter().any(|word| word == "-c");
        if is_script {
            container.args = None;
            self.remarks.push(
                "your command line replaces the container's `command`; the shell script in `args` does not run".to_owned(),
            );
        } else if command.len() > 1 {
            let dropped = command.len() - 1;
            self.remarks.push(format!(
                "your command line replaces the container's `command`, and {dropped} {} of that with it: add those that the hub needs",
                if dropped == 1 { "argument" } else { "arguments" }
            ));
        }
        if !is_script && self.first_container().is_some_and(|container| container.args.is_some()) {
            self.remarks.push("the container's `args` are added to your command line".to_owned());
        }
    }

    /// The container's memory limit in MiB, rounded down.
    pub fn memory_limit_mib(&self) -> Option<u64> {
        memory_limit(self.first_container()?).map(|bytes| bytes >> 20)
    }

    /// Whether the container has a memory limit.
    pub fn has_memory_limit(&self) -> bool {
        let resources = self.first_container().and_then(|container| container.resources.as_ref());
        resources
            .and_then(|resources| resources.limits.as_ref())
            .is_some_and(|limits| limits.contains_key("memory"))
    }

    /// Whether the container names its own command.
    pub fn has_command(&self) -> bool {
        self.first_container().is_some_and(|container| container.command.is_some())
    }

    /// Leaves of the container only what every hub needs: its port, and what tells a pod who it is. Arguments, Secrets,
    /// probes and memory limits were written for another hub.
    pub fn for_a_plain_command(&mut self) {
        let spec = self.deployment.spec.get_or_insert_default();
        let Some(container) = spec.template.spec.get_or_insert_default().containers.first_mut() else {
            return;
        };
        container.args = None;
        container.env_from = None;
        container.readiness_probe = None;
        container.liveness_probe = None;
        container.startup_probe = None;
        container.lifecycle = None;
        container.resources = None;
        if let Some(env) = &mut container.env {
            let tells_who = |source: &Option<k8s_openapi::api::core::v1::EnvVarSource>| {
                source.as_ref().is_some_and(|source| source.field_ref.is_some())
            };
            env.retain(|variable| tells_who(&variable.value_from));
        }
        self.secrets.clear();
        self.config_maps.clear();
        self.is_for_a_plain_command = true;
    }

    /// Whether they stand in for manifests of the user's, who gave none.
    pub(crate) fn is_for_a_plain_command(&self) -> bool {
        self.is_for_a_plain_command
    }

    pub(super) fn first_container(&self) -> Option<&Container> {
        self.deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()
    }
}

// === helpers ===

/// The container's probe of this kind.
pub(super) fn probe(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
    }
}
