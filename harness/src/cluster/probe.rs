//! Startup, readiness and liveness probes with the kubelet's rules.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until, timeout};

use super::process::{Launching, plain_order, run};
use super::reach::Reach;
use super::supervisor::Place;

/// How soon a replica that just started is asked for the first time; doubles until the probe's own period.
///
/// The kubelet asks once a period; asking more often before the first success only finds it sooner.
const EAGER: Duration = Duration::from_millis(20);

/// The longest pause between such early questions.
const EAGER_AT_MOST: Duration = Duration::from_millis(200);

/// The largest part of an answer that is read.
const ANSWER: usize = 1024;

/// How long the body of an answer is waited for.
const BODY: Duration = Duration::from_millis(50);

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing else is asked before this one succeeds.
    Startup,
    /// Whether it receives connections.
    Readiness,
    /// Whether it is restarted.
    Liveness,
}

/// One answer, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) purpose: Purpose,
    /// In the kubelet's words; the beginning of the body follows when there is one.
    pub(crate) said: Result<String, String>,
    /// Whether enough answers in a row were like this one.
    pub(crate) decisive: bool,
    /// Whether a failure is worth an event: not while the replica still starts.
    pub(crate) eventful: bool,
    /// How long the container may take to stop when this ends it.
    pub(crate) grace: Option<Duration>,
}

/// Where and how a pod is asked.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) reach: Reach,
    /// Where probes come from.
    pub(crate) from: IpAddr,
    /// How a command in the container is run; its order is replaced.
    pub(crate) exec: Launching,
    /// Where a command in the container is run.
    pub(crate) place: Place,
    /// Its first container.
    pub(crate) container: Container,
    /// When the container was started: initial delays count from then, whatever comes first.
    pub(crate) started: Instant,
}

// === impl Target ===

impl Target {
    /// The port that stands here for a container's port, by number or name.
    ///
    /// The replica's own port stands for the first container port; another number stays what it is.
    pub(crate) fn port(&self, port: &IntOrString) -> Option<u16> {
        real_port(&self.container, port, self.reach.own().port())
    }

    /// Asks for as long as it is polled and sends each answer.
    pub(crate) async fn watch(self, purpose: Purpose, probe: Probe, answers: UnboundedSender<Answer>) {
        let seconds = |field: Option<i32>, default: u64| {
            Duration::from_secs(field.map_or(default, |n| n.max(0) as u64))
        };
        let at_least_one = |field: Option<i32>, default: u32| field.map_or(default, |n| n.max(1) as u32);
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let limit = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let failures_needed = at_least_one(probe.failure_threshold, 3);
        let successes_needed = at_least_one(probe.success_threshold, 1);
        let grace = probe.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
        let began = first_asked(Instant::now(), self.started, seconds(probe.initial_delay_seconds, 0));
        let mut eager = (purpose != Purpose::Liveness).then_some(EAGER.min(period));
        let mut next = if eager.is_some() { began } else { began + period };
        let (mut successes, mut failures) = (0, 0);
        let mut counted = began;
        loop {
            sleep_until(next).await;
            let said = self.ask(&probe, limit).await;
            let now = Instant::now();
            if said.is_ok() {
                (successes, failures) = (successes + 1, 0);
                eager = None;
                next = now.max(next + period);
            } else {
                successes = 0;
                // An early question is not one of those the threshold counts.
                let counts = eager.is_none() || now >= counted + period;
                if counts {
                    failures += 1;
                    counted = now;
                }
                next = match &mut eager {
                    Some(pause) => {
                        let at = now + *pause;
                        *pause = (*pause * 2).min(EAGER_AT_MOST).min(period);
                        at
                    }
                    None => now.max(next + period),
                };
            }
            let decisive =
                if said.is_ok() { successes >= successes_needed } else { failures >= failures_needed };
            let eventful = eager.is_none() || failures > 0;
            let answer = Answer { purpose, said, decisive, eventful, grace: grace.map(Duration::from_secs) };
            let succeeded = answer.said.is_ok();
            if answers.send(answer).is_err() || purpose == Purpose::Startup && succeeded && decisive {
                return;
            }
        }
    }

    /// One answer, which takes at most `limit`.
    async fn ask(&self, probe: &Probe, limit: Duration) -> Result<String, String> {
        if let Some(get) = &probe.http_get {
            let url = self.url(get);
            return match timeout(limit, self.http(get, &url)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
            };
        }
        if let Some(tcp) = &probe.tcp_socket {
            let port = self.port(&tcp.port).ok_or_else(|| unknown_port(&tcp.port))?;
            let host = self.reach.own().ip();
            return match timeout(limit, self.reach.connect(self.from, port)).await {
                Ok(Ok(_)) => Ok("connected".to_owned()),
                Ok(Err(error)) => Err(dial_error(host, port, &error)),
                Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
            };
        }
        if let Some(exec) = &probe.exec {
            let argv = exec.command.clone().unwrap_or_default();
            let ran = timeout(limit, self.run_command(&argv)).await;
            return ran.unwrap_or_else(|_| Err("command timed out".to_owned()));
        }
        Ok("nothing to ask".to_owned())
    }

    /// Runs a command in the container's environment.
    pub(crate) async fn run_command(&self, argv: &[String]) -> Result<String, String> {
        let launching = Launching { order: plain_order(argv, self.place), ..self.exec.clone() };
        match run(&launching).await? {
            (exit, output) if exit.code == 0 => Ok(output),
            (exit, output) if output.is_empty() => Err(format!("command exited with {}", exit.code)),
            (_, output) => Err(output),
        }
    }

    /// One GET, on a connection of its own; what answers with 200 to 399 is healthy.
    pub(crate) async fn http(&self, get: &HTTPGetAction, url: &str) -> Result<String, String> {
        let port = self.port(&get.port).ok_or_else(|| unknown_port(&get.port))?;
        let failed = |what: &dyn fmt::Display| format!("Get \"{url}\": {what}");
        let mut stream = self
            .reach
            .connect(self.from, port)
            .await
            .map_err(|error| failed(&dial_error(self.reach.own().ip(), port, &error)))?;
        let own_headers = get.http_headers.iter().flatten();
        let named = |name: &str| own_headers.clone().any(|header| header.name.eq_ignore_ascii_case(name));
        let mut head = format!("GET {} HTTP/1.1\r\n", path(get));
        for (name, value) in [
            ("Host", format!("{}:{port}", self.reach.address().ip())),
            ("User-Agent", "kube-probe/1.33".to_owned()),
            ("Accept", "*/*".to_owned()),
            ("Connection", "close".to_owned()),
        ] {
            if !named(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        for header in own_headers.clone() {
            head.push_str(&format!("{}: {}\r\n", header.name, header.value));
        }
        head.push_str("\r\n");
        let broken = |error: &std::io::Error| failed(error);
        stream.write_all(head.as_bytes()).await.map_err(|error| broken(&error))?;
        let answer = read_answer(&mut stream).await;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
        match status {
            Some(code) if (200..400).contains(&code) => Ok(format!("{code} {body}").trim_end().to_owned()),
            Some(code) if body.is_empty() => Err(format!("HTTP probe failed with statuscode: {code}")),
            Some(code) => Err(format!("HTTP probe failed with statuscode: {code}\n{body}")),
            None if answer.is_empty() => Err(failed(&"EOF")),
            None => Err(failed(&"malformed HTTP response")),
        }
    }

    /// The address of a GET as the kubelet prints it.
    pub(crate) fn url(&self, get: &HTTPGetAction) -> String {
        let port = self.port(&get.port).map_or_else(|| format!("{:?}", get.port), |port| port.to_string());
        format!("http://{}:{port}{}", self.reach.address().ip(), path(get))
    }
}

/// When a probe that may be asked from now on is asked first: its initial delay counts from the container's start, also where a
/// startup probe came before (<https://kubernetes.io/docs/concepts/workloads/pods/probes/>).
fn first_asked(now: Instant, started: Instant, delay: Duration) -> Instant {
    now.max(started + delay)
}

/// The port at which a replica with this own port serves what the container calls so.
pub(crate) fn real_port(container: &Container, port: &IntOrString, own: u16) -> Option<u16> {
    let first = container.ports.as_ref().and_then(|ports| ports.first());
    match port {
        IntOrString::Int(number) => match first {
            Some(first) if first.container_port != *number => u16::try_from(*number).ok(),
            // Without a declared port the one that is asked for is the server's.
            _ => Some(own),
        },
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name))?;
            real_port(container, &IntOrString::Int(named.container_port), own)
        }
    }
}

/// Reads the head, and of a failure's body what comes soon: it often says why.
async fn read_answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::with_capacity(ANSWER);
    let is_complete = |answer: &[u8]| answer.windows(4).any(|window| window == b"\r\n\r\n");
    while answer.len() < ANSWER && !is_complete(&answer) {
        if !matches!(stream.read_buf(&mut answer).await, Ok(length) if length > 0) {
            return answer;
        }
    }
    // A server may keep the connection open although it was asked not to.
    let rest = async {
        while answer.len() < ANSWER && matches!(stream.read_buf(&mut answer).await, Ok(length) if length > 0)
        {
        }
    };
    let _ = timeout(BODY, rest).await;
    answer
}

fn path(get: &HTTPGetAction) -> String {
    let path = get.path.as_deref().unwrap_or("/");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn unknown_port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name}"),
    }
}

fn dial_error(host: IpAddr, port: u16, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {host}:{port}: {why}")
}

/// `Readiness`, as events begin.
impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Startup => "Startup",
            Purpose::Readiness => "Readiness",
            Purpose::Liveness => "Liveness",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initial_delay_counts_from_the_start_of_the_container() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        let first = |now, delay| first_asked(after(now), started, Duration::from_secs(delay));
        assert_eq!(first(0, 10), after(10));
        assert_eq!(first(14, 10), after(14), "the startup probe has taken longer than the delay");
        assert_eq!(first(4, 10), after(10));
    }
}
