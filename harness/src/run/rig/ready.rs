//! Why the hub never became ready, where the cluster or the manifests say so. Pure.

use super::RigError;
use super::way::{Kind, Obstacle, Rule};
use crate::check::{HUB_CONTRACT, Level};
use crate::cluster::manifest::{Manifests, ServiceFault};
use crate::transcript::{Entry, What};

/// The hub starts, stays up and becomes ready.
const READY: Rule = Rule {
    scenario: "survey/ready",
    sentence: "The hub must start, stay up and become ready.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// What stands in the way when the hub ends by itself again and again.
pub(super) const KEEPS_ENDING: &str = "keeps-ending";

/// The Service leads to the hub.
const SERVICE: Rule = Rule {
    scenario: "survey/service",
    sentence: "The Service must lead to the pods of the Deployment.",
    source: HUB_CONTRACT,
    level: Level::Contract,
};

/// What stands before a pod's output, where backends tell what they saw of it.
const LAST_OUTPUT: &str = "last output";

/// What stands between two lines of it.
const BETWEEN_LINES: &str = " | ";

/// Words by which a line names what went wrong: `socket.gaierror: ..`, `Error: Cannot find module`, `panicked at`, `KEY is missing`.
const ERRORS: [&str; 8] =
    ["error", "exception", "cannot", "could not", "panicked", "missing", "denied", "not found"];

/// What a kubelet says of a probe that was answered with another status than 2xx or 3xx.
const REFUSED: &str = "HTTP probe failed with statuscode: ";

/// What a container runtime says of a command that is not there.
const NO_PROGRAM: [&str; 3] =
    ["unable to start container process", "executable file not found", "no such file or directory"];

/// What a Service's manifest says that leads to no pod.
pub(super) fn of_service(fault: &ServiceFault) -> Obstacle {
    Obstacle {
        id: "service-leads-nowhere",
        rule: &SERVICE,
        kind: Kind::Lasting,
        expected: "a Service that gives connections to the hub's pods".to_owned(),
        seen: fault.to_string(),
        remedy: fault.remedy(),
        at: None,
        has_begun: false,
    }
}

/// Why it never became ready: a probe that the hub refuses, or an end by itself. `None` where the input may be wrong, or nothing tells.
pub(super) fn obstacle(
    entries: &[Entry],
    error: &RigError,
    manifests: Option<&Manifests>,
) -> Option<Obstacle> {
    let (said, remedy) = match error {
        RigError::NotReady(unmet) => {
            let (purpose, why, at) = latest_probe(entries, |_| true)
                .or_else(|| Some((purpose_in(&unmet.last_seen)?, refusal_in(&unmet.last_seen)?, None)))?;
            return refused(&purpose, &why, at, manifests);
        }
        RigError::KeepsEnding(said) => (said, error.hint()),
        _ => return None,
    };
    if let Some(purpose) = killed_by(entries) {
        let (purpose, why, at) = latest_probe(entries, |other| other == purpose)?;
        return refused(&purpose, &why, at, manifests);
    }
    if NO_PROGRAM.iter().any(|words| said.contains(words)) {
        return None;
    }
    let beside = manifests.and_then(Manifests::missing_beside);
    let start = beside.map(|beside| format!("start what the manifests have beside it: {beside}"));
    let steps: Vec<String> = start.into_iter().chain(remedy).collect();
    Some(Obstacle {
        id: KEEPS_ENDING,
        rule: &READY,
        kind: Kind::Lasting,
        expected: "a process that goes on".to_owned(),
        seen: format!("the hub ends as soon as it is started: {}", output_first(said)),
        remedy: steps.join("; "),
        at: None,
        has_begun: false,
    })
}

/// What was last seen of a pod, with what its process said first: that is where the reason stands.
fn output_first(seen: &str) -> String {
    match seen.split_once(LAST_OUTPUT) {
        Some((state, output)) => {
            let state = state.trim_end_matches([',', ';', ' ']);
            // Of a pod on a cluster its name comes between.
            let said = output.split_once(": ").map_or(output, |(_, said)| said);
            format!("it said \"{}\" ({state})", telling(said))
        }
        None => seen.to_owned(),
    }
}

/// The line of a process's last ones that says why it ended: the last that names an error, else the last one. All of them are in the
/// evidence.
fn telling(said: &str) -> &str {
    let from_the_last = || said.rsplit(BETWEEN_LINES).map(str::trim).filter(|line| !line.is_empty());
    let names_an_error = |line: &&str| {
        let line = line.to_lowercase();
        ERRORS.iter().any(|word| line.contains(word))
    };
    from_the_last().find(names_an_error).or_else(|| from_the_last().next()).unwrap_or_default()
}

/// A probe that the hub answered with a status that is none of a healthy hub.
fn refused(purpose: &str, why: &str, at: Option<u32>, manifests: Option<&Manifests>) -> Option<Obstacle> {
    let status: String = why.split(REFUSED).nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    let name = purpose.to_ascii_lowercase();
    let path_of = |name: &str| manifests.and_then(|manifests| manifests.probe_path(name));
    // The survey goes without the startup probe. Where that asks for the same, it is what a cluster would tell of first.
    let is_startup_too =
        name == "readiness" && path_of("startup").is_some() && path_of("startup") == path_of(&name);
    let name = if is_startup_too { "startup".to_owned() } else { name };
    let path = path_of(&name);
    let asked = path.as_ref().map(|path| format!(" `GET {path}`")).unwrap_or_default();
    let flag = if name == "readiness" { ", or give `--ready-path PATH`" } else { "" };
    Some(Obstacle {
        id: "probe-refused",
        rule: &READY,
        kind: Kind::Lasting,
        expected: "a probe that a healthy hub answers with 200 to 399".to_owned(),
        seen: format!("the {name} probe{asked} is answered {status}: {name} probe: {REFUSED}{status}"),
        remedy: format!(
            "Deployment: `{name}Probe.httpGet.path`: a path and port at which the hub answers 2xx{flag}"
        ),
        at,
        has_begun: false,
    })
}

/// The same error, with what an event told last of a probe, where what was last seen of the pod does not say it: clusters keep the two
/// apart.
pub(super) fn with_latest_probe(entries: &[Entry], error: RigError) -> RigError {
    match (error, latest_probe(entries, |_| true)) {
        (RigError::NotReady(mut unmet), Some((purpose, why, _))) if !unmet.last_seen.contains(&why) => {
            unmet.last_seen = format!("last {purpose} probe: {why}; {}", unmet.last_seen);
            RigError::NotReady(unmet)
        }
        (error, _) => error,
    }
}

/// The latest probe that an event tells of as failed, with what it said.
fn latest_probe(entries: &[Entry], is_meant: impl Fn(&str) -> bool) -> Option<(String, String, Option<u32>)> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Event { reason, message, .. } if reason == "Unhealthy" => {
            let (purpose, why) = message.split_once(" probe failed: ")?;
            is_meant(&purpose.to_ascii_lowercase())
                .then(|| (purpose.to_owned(), why.to_owned(), Some(entry.seq)))
        }
        _ => None,
    })
}

/// The probe for which the latest kill was.
fn killed_by(entries: &[Entry]) -> Option<&'static str> {
    entries.iter().rev().find_map(|entry| match &entry.what {
        What::Event { reason, message, .. } if reason == "Killing" => ["startup", "liveness"]
            .into_iter()
            .find(|purpose| message.contains(&format!("failed {purpose} probe"))),
        _ => None,
    })
}

/// `Startup` of `.., last Startup probe: HTTP probe failed with statuscode: 404`.
fn purpose_in(last_seen: &str) -> Option<String> {
    let before = last_seen.split(" probe: ").next()?;
    let purpose = before.rsplit(' ').next()?;
    ["Startup", "Readiness", "Liveness"].contains(&purpose).then(|| purpose.to_owned())
}

fn refusal_in(last_seen: &str) -> Option<String> {
    Some(format!("{REFUSED}{}", last_seen.split(REFUSED).nth(1)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::Unmet;

    fn event(reason: &str, message: &str) -> Entry {
        let object = "Pod/hub-a".to_owned();
        let what = What::Event { object, reason: reason.to_owned(), message: message.to_owned() };
        Entry { seq: 7, at_us: 1, what }
    }

    fn not_ready(last_seen: &str) -> RigError {
        let condition = "exactly 1 pod, ready".to_owned();
        RigError::NotReady(Unmet {
            condition,
            limit: Duration::from_secs(60),
            last_seen: last_seen.to_owned(),
        })
    }

    #[test]
    fn what_a_probe_met_is_told_where_the_pod_does_not_tell_it() {
        let refused =
            "Get \"http://10.0.0.1:4444/ready\": dial tcp 10.0.0.1:4444: connect: connection refused";
        let event = What::Event {
            object: "Pod/hub-a".to_owned(),
            reason: "Unhealthy".to_owned(),
            message: format!("Readiness probe failed: {refused}"),
        };
        let entries = [Entry { seq: 1, at_us: 1, what: event }];
        let unmet = |last_seen: &str| {
            RigError::NotReady(Unmet {
                condition: "1 pod, ready".to_owned(),
                limit: Duration::from_secs(60),
                last_seen: last_seen.to_owned(),
            })
        };
        let told = with_latest_probe(&entries, unmet("hub-a Running, not ready")).to_string();
        assert!(told.contains(&format!("last Readiness probe: {refused}; hub-a Running")), "{told}");
        let known = with_latest_probe(&entries, unmet(refused)).to_string();
        assert_eq!(known.matches("4444/ready").count(), 1, "{known}");
    }

    #[test]
    fn what_the_process_said_comes_before_the_state_of_its_pod() {
        let local = "hub-a Running, not ready, 2 restarts, last ended: Error, exit code 2, last output: KEY is missing: give one";
        let told = "it said \"KEY is missing: give one\" (hub-a Running, not ready, 2 restarts, last ended: Error, exit code 2)";
        assert_eq!(output_first(local), told);
        let cluster = "hub-a Running, not ready; endpoints: ; last output of hub-a: no module named hub";
        assert_eq!(
            output_first(cluster),
            "it said \"no module named hub\" (hub-a Running, not ready; endpoints:)"
        );
        assert_eq!(output_first("hub-a Pending"), "hub-a Pending");
        let python = "Traceback (most recent call last): |   ^^^^ | socket.gaierror: [Errno -2] Name or service not known";
        assert_eq!(telling(python), "socket.gaierror: [Errno -2] Name or service not known");
        assert_eq!(
            telling("Error: Cannot find module 'x' |  |  | Node.js v20.20.2"),
            "Error: Cannot find module 'x'"
        );
        assert_eq!(telling("starting | done"), "done");
    }

    #[test]
    fn a_startup_probe_that_is_refused_is_the_reason_and_not_the_end_of_the_hub() {
        let entries = [
            event("Unhealthy", "Readiness probe failed: dial tcp: connection refused"),
            event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 404"),
            event("Killing", "Container hub failed startup probe, will be restarted"),
        ];
        let ended = RigError::KeepsEnding("hub-a Running, not ready, 2 restarts".to_owned());
        let found = obstacle(&entries, &ended, None).expect("a reason");
        assert_eq!((found.id, found.at), ("probe-refused", Some(7)));
        assert!(
            found.seen.contains("startup probe: HTTP probe failed with statuscode: 404"),
            "{}",
            found.seen
        );
        assert!(found.remedy.contains("`startupProbe.httpGet.path`"), "{}", found.remedy);
        assert_eq!(
            obstacle(&entries[1..], &not_ready("x"), None).map(|found| found.id),
            Some("probe-refused")
        );
    }

    #[test]
    fn a_startup_probe_that_asks_as_the_readiness_probe_does_is_named_first() {
        let probes = |startup: &str| {
            let text = format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: hub}}\nspec:\n  selector: {{matchLabels: {{app: hub}}}}\n  \
                 template:\n    metadata: {{labels: {{app: hub}}}}\n    spec:\n      containers: [{{name: hub, image: 'h:1', \
                 startupProbe: {{httpGet: {{path: {startup}, port: 80}}}}, readinessProbe: {{httpGet: {{path: /health, port: \
                 80}}}}}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: hub}}\nspec: {{selector: {{app: hub}}}}\n"
            );
            Manifests::parse(&[("hub.yaml", &text)]).expect("manifests")
        };
        let entries = [event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")];
        let seen =
            |startup| obstacle(&entries, &not_ready("x"), Some(&probes(startup))).expect("a reason").seen;
        assert!(
            seen("/health").starts_with("the startup probe `GET /health` is answered 404"),
            "{}",
            seen("/health")
        );
        assert!(seen("/live").starts_with("the readiness probe `GET /health` is"), "{}", seen("/live"));
    }

    #[test]
    fn what_was_last_seen_tells_it_too() {
        let seen = "hub-a Running, not ready, 0 restarts, last Readiness probe: HTTP probe failed with statuscode: 503: no";
        let found = obstacle(&[], &not_ready(seen), None).expect("a reason");
        assert!(found.seen.contains("the readiness probe is answered 503"), "{}", found.seen);
        assert!(found.remedy.contains("--ready-path"), "{}", found.remedy);
    }

    #[test]
    fn a_port_that_refuses_and_a_program_that_is_missing_are_no_findings() {
        let refused = [event(
            "Unhealthy",
            "Readiness probe failed: dial tcp 10.0.0.1:8000: connect: connection refused",
        )];
        assert_eq!(obstacle(&refused, &not_ready("hub-a Running"), None), None);
        let missing =
            "unable to start container process: exec: \"x\": executable file not found in $PATH: unknown";
        assert_eq!(obstacle(&[], &RigError::KeepsEnding(missing.to_owned()), None), None);
        let ended = RigError::KeepsEnding("last ended: Error, exit code 3".to_owned());
        assert_eq!(obstacle(&refused, &ended, None).map(|found| found.id), Some("keeps-ending"));
    }
}
