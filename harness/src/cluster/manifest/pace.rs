//! Faster probes, so that cells take seconds; never less time for a replica to start, to answer or to stop.
//!
//! What the numbers of a probe mean: <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Manifests, probe};

/// Between two questions of every probe of a cell.
const PERIOD: Duration = Duration::from_secs(1);

/// A probe gives up no sooner than after so many times the slowest answer that the survey saw.
pub const PROBE_PATIENCE: u32 = 20;

/// So many failures in a row take a replica out of the Service, unless the hub is slow.
const READINESS_FAILURES: u32 = 2;

/// So many failures in a row restart a replica: it leaves the Service before that.
const LIVENESS_FAILURES: u32 = 10;

/// What is asked of the manifests' probes in the cells of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The slowest answer of an idle replica that the survey saw, beside as many others as the run starts at once.
    pub slowest: Duration,
    /// Probes of the manifests that a fresh idle replica fails: they say nothing about it, and would end it again and again.
    pub without: Vec<ProbeKind>,
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Nothing else is asked before this one succeeds.
    Startup,
    /// Whether the replica receives connections.
    Readiness,
    /// Whether it is restarted.
    Liveness,
}

/// What a probe asks by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// In a probe's name.
impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProbeKind::Startup => "startup",
            ProbeKind::Readiness => "readiness",
            ProbeKind::Liveness => "liveness",
        })
    }
}

impl Manifests {
    /// Gives the probes the numbers of a cell. The time to start, the time for an answer and the grace period stay as they are;
    /// the initial delay of the liveness probe becomes a startup probe of the same budget.
    pub fn quicken(&mut self, pace: &Pace) {
        let container = self.container();
        let start = container.startup_probe.clone().or_else(|| container.liveness_probe.clone());
        let budget = start_budget(container);
        // A liveness probe that waits although a startup probe comes first was told to.
        let keeps_delay = container.startup_probe.is_some();
        if let (Some(start), Some(budget)) = (start, budget) {
            container.startup_probe = Some(Probe {
                initial_delay_seconds: None,
                success_threshold: None,
                failure_threshold: count(in_periods(budget)),
                ..faster(start)
            });
        }
        if let Some(readiness) = container.readiness_probe.take() {
            let failures = failures(&readiness, READINESS_FAILURES, pace.slowest);
            container.readiness_probe =
                Some(Probe { failure_threshold: count(failures), ..faster(readiness) });
        }
        if let Some(liveness) = container.liveness_probe.take() {
            let failures = failures(&liveness, LIVENESS_FAILURES, 2 * pace.slowest);
            container.liveness_probe = Some(Probe {
                failure_threshold: count(failures),
                initial_delay_seconds: liveness.initial_delay_seconds.filter(|_| keeps_delay),
                ..faster(liveness)
            });
        }
        for kind in &pace.without {
            match kind {
                ProbeKind::Startup => container.startup_probe = None,
                ProbeKind::Readiness => {}
                // The startup probe may be made of it.
                ProbeKind::Liveness if !keeps_delay => {
                    (container.liveness_probe, container.startup_probe) = (None, None);
                }
                ProbeKind::Liveness => container.liveness_probe = None,
            }
        }
    }

    /// What [`Manifests::quicken`] changes, in a line for people; `None` where there is no probe.
    pub fn quickened(&self, pace: &Pace) -> Option<String> {
        let mut fast = self.clone();
        fast.quicken(pace);
        let (was, is) = (self.first_container()?, fast.first_container()?);
        let mut parts = Vec::new();
        let numbers = |probe: &Probe| {
            format!("every {} s, {} failures", period(probe).as_secs(), number(probe.failure_threshold, 3))
        };
        for (name, was, is) in [
            ("readiness", &was.readiness_probe, &is.readiness_probe),
            ("liveness", &was.liveness_probe, &is.liveness_probe),
        ] {
            match (was, is) {
                (Some(was), Some(is)) if numbers(was) != numbers(is) => {
                    parts.push(format!("{name} {} (deployed: {})", numbers(is), numbers(was)));
                }
                (Some(_), None) => parts.push(format!("no {name} probe: an idle replica fails it")),
                _ => {}
            }
        }
        if let Some(startup) = &is.startup_probe
            && was.startup_probe.is_none()
        {
            let seconds = number(startup.failure_threshold, 3);
            parts.push(format!(
                "a startup probe of {seconds} s, which is what the liveness probe allows a start"
            ));
        }
        (!parts.is_empty()).then(|| {
            format!(
                "probes are asked more often, so that cells take seconds: {}. Time to start, to answer and to stop is as deployed",
                parts.join("; ")
            )
        })
    }

    /// What the probe asks, where it asks by plain HTTP, without headers, at the port that the hub serves: the container's first.
    pub fn asks_by_http(&self, kind: ProbeKind) -> Option<Asked> {
        let container = self.first_container()?;
        let probe = probe(container, kind)?;
        let get = probe.http_get.as_ref()?;
        let first = container.ports.iter().flatten().next();
        let is_own = match (&get.port, first) {
            (IntOrString::Int(number), Some(first)) => first.container_port == *number,
            (IntOrString::String(name), Some(first)) => first.name.as_ref() == Some(name),
            (_, None) => false,
        };
        let is_plain = get.scheme.as_deref().is_none_or(|scheme| scheme.eq_ignore_ascii_case("http"));
        let path = get.path.clone().unwrap_or_else(|| "/".to_owned());
        (is_own && is_plain && get.http_headers.is_none()).then(|| Asked { path, timeout: timeout(probe) })
    }

    /// How long a container that never answers may take to start before its probes end it; `None` where none does.
    pub fn start_budget(&self) -> Option<Duration> {
        self.first_container().and_then(start_budget)
    }

    /// Within which time each probe is asked for the first time, and an answer was waited for.
    pub fn probes_asked_within(&self) -> Duration {
        self.longest(|probe| delay(probe) + period(probe) + timeout(probe))
    }

    /// Within which time a probe that fails has its consequence.
    pub fn probes_give_up_within(&self) -> Duration {
        self.longest(|probe| period(probe).max(timeout(probe)) * (number(probe.failure_threshold, 3) + 1))
    }

    fn longest(&self, of: impl Fn(&Probe) -> Duration) -> Duration {
        let Some(container) = self.first_container() else { return Duration::ZERO };
        let probes = [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
        probes.into_iter().flatten().map(of).max().unwrap_or_default()
    }

    /// How long a pod may take to stop; 30 s unless the manifests say otherwise.
    pub fn grace_period(&self) -> Duration {
        let pod = self.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let seconds = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

// === helpers ===

/// The kubelet asks for the first time after the initial delay, then once a period.
fn start_budget(container: &Container) -> Option<Duration> {
    let probe = container.startup_probe.as_ref().or(container.liveness_probe.as_ref())?;
    Some(delay(probe) + period(probe) * number(probe.failure_threshold, 3))
}

/// The same probe, asked once a second. For an answer it waits as long as before.
fn faster(probe: Probe) -> Probe {
    Probe { period_seconds: i32::try_from(PERIOD.as_secs()).ok(), ..probe }
}

/// After how many failures a faster probe gives up: after its usual number unless answers are slow, and never later than the
/// deployed probe would.
fn failures(deployed: &Probe, usual: u32, slowest: Duration) -> u32 {
    let patient = in_periods(PROBE_PATIENCE * slowest).max(usual);
    patient.min(in_periods(period(deployed) * number(deployed.failure_threshold, 3))).max(1)
}

/// So many seconds, rounded up: periods of a faster probe.
fn in_periods(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(PERIOD.as_millis())).unwrap_or(u32::MAX)
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(u64::from(number(probe.period_seconds, 10)))
}

/// The API's rule for the numbers of a probe: nothing and 0 mean the default.
fn number(field: Option<i32>, default: u32) -> u32 {
    field.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
}

fn delay(probe: &Probe) -> Duration {
    Duration::from_secs(u64::from(number(probe.initial_delay_seconds, 0)))
}

fn timeout(probe: &Probe) -> Duration {
    Duration::from_secs(u64::from(number(probe.timeout_seconds, 1)))
}

fn count(failures: u32) -> Option<i32> {
    i32::try_from(failures).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(probes: &str) -> Manifests {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: hub}}\nspec:\n  selector: {{matchLabels: {{app: hub}}}}\n  \
             template:\n    metadata: {{labels: {{app: hub}}}}\n    spec:\n      containers:\n      - name: hub\n        image: hub:1\n{probes}---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: hub}}\nspec: {{ports: [{{port: 80}}]}}\n"
        );
        Manifests::parse(&[("hub.yaml", &text)]).unwrap()
    }

    /// Period, timeout, failures and initial delay.
    fn numbers(probe: Option<&Probe>) -> Option<[Option<i32>; 4]> {
        probe.map(|probe| {
            [
                probe.period_seconds,
                probe.timeout_seconds,
                probe.failure_threshold,
                probe.initial_delay_seconds,
            ]
        })
    }

    const ORDERS: &str = "\x20       readinessProbe: {httpGet: {path: /health, port: 8000}, initialDelaySeconds: 5, periodSeconds: 5}
        livenessProbe: {httpGet: {path: /health, port: 8000}, initialDelaySeconds: 20, periodSeconds: 10, timeoutSeconds: 3}\n";

    #[test]
    fn a_replica_has_as_long_to_start_to_answer_and_to_stop_as_deployed() {
        let mut orders = manifests(ORDERS);
        assert_eq!(orders.start_budget(), Some(Duration::from_secs(50)));
        orders.quicken(&Pace::default());
        let container = orders.first_container().unwrap();
        let startup = container.startup_probe.as_ref().unwrap();
        assert_eq!(numbers(Some(startup)), Some([Some(1), Some(3), Some(50), None]));
        assert_eq!(startup.http_get, container.liveness_probe.as_ref().unwrap().http_get);
        let readiness = numbers(container.readiness_probe.as_ref());
        assert_eq!(
            readiness,
            Some([Some(1), None, Some(2), Some(5)]),
            "it is ready when the manifests say so"
        );
        let liveness = numbers(container.liveness_probe.as_ref());
        assert_eq!(liveness, Some([Some(1), Some(3), Some(10), None]));
        assert_eq!(orders.grace_period(), Duration::from_secs(30));
    }

    #[test]
    fn a_startup_probe_keeps_its_budget_and_leaves_the_liveness_probe_its_delay() {
        let mut hub = manifests(
            "\x20       startupProbe: {tcpSocket: {port: 8000}, initialDelaySeconds: 2, periodSeconds: 3, failureThreshold: 40}
        livenessProbe: {httpGet: {path: /health, port: 8000}, initialDelaySeconds: 15}\n",
        );
        hub.quicken(&Pace::default());
        let container = hub.first_container().unwrap();
        assert_eq!(numbers(container.startup_probe.as_ref()), Some([Some(1), None, Some(122), None]));
        assert_eq!(numbers(container.liveness_probe.as_ref()), Some([Some(1), None, Some(10), Some(15)]));
    }

    #[test]
    fn probes_of_a_slow_hub_give_up_later_and_never_later_than_deployed() {
        let failures = |slowest_ms| {
            let mut orders = manifests(ORDERS);
            orders.quicken(&Pace { slowest: Duration::from_millis(slowest_ms), without: Vec::new() });
            let container = orders.first_container().unwrap();
            let of = |probe: &Option<Probe>| probe.as_ref().unwrap().failure_threshold.unwrap();
            (of(&container.readiness_probe), of(&container.liveness_probe))
        };
        assert_eq!(failures(50), (2, 10));
        assert_eq!(failures(400), (8, 16));
        assert_eq!(failures(5000), (15, 30), "three failures, one every 5 s and one every 10 s");
    }

    #[test]
    fn a_probe_that_an_idle_replica_fails_is_asked_by_no_cell() {
        let mut orders = manifests(ORDERS);
        orders.quicken(&Pace { slowest: Duration::ZERO, without: vec![ProbeKind::Liveness] });
        let container = orders.first_container().unwrap();
        assert!(container.liveness_probe.is_none() && container.startup_probe.is_none());
        assert!(container.readiness_probe.is_some());
    }

    #[test]
    fn without_probes_there_is_nothing_to_say() {
        assert_eq!(manifests("").quickened(&Pace::default()), None);
        let said = manifests(ORDERS).quickened(&Pace::default()).unwrap();
        assert!(said.contains("readiness every 1 s, 2 failures (deployed: every 5 s, 3 failures)"), "{said}");
        assert!(said.contains("a startup probe of 50 s"), "{said}");
    }
}
