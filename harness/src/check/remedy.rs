//! Which steps of a remedy are of use: not what is in place already, nor what cannot work behind what stands in front.
//!
//! A remedy is a text of steps, parted by `; ` or `, or `. A step that names a line of the manifests is left out where
//! [`LINES`] says so; a test of the catalogue compares the two.

use crate::plan::deployed::{Front, Readiness};
use crate::plan::{Affinity, Deployed};
use crate::transcript::Header;

/// A line of the manifests that remedies name.
pub struct Line {
    /// The words by which a step names it.
    pub words: &'static str,
    /// Whether it is in place, or cannot work.
    pub is_no_use: fn(&Deployed) -> bool,
}

/// Every line of the manifests that a remedy names.
pub const LINES: &[Line] = &[
    // A Service sees one address for all clients of a proxy, and every client would get the same replica.
    Line {
        words: "`spec.sessionAffinity: ClientIP`",
        is_no_use: |deployed| deployed.has_client_ip() || deployed.front != Front::Service,
    },
    Line {
        words: "`nginx.ingress.kubernetes.io/upstream-hash-by: $binary_remote_addr`",
        is_no_use: |deployed| !matches!(&deployed.front, Front::Proxy(name) if name.starts_with("ingress/")),
    },
    Line { words: "`spec.replicas: 1`", is_no_use: |deployed| deployed.replicas == Some(1) },
    // What is lost although the calls of a cell are much shorter is not mended by more time.
    Line {
        words: "`terminationGracePeriodSeconds` longer than",
        is_no_use: |deployed| deployed.grace_s.is_some_and(|grace_s| grace_s >= 30),
    },
    Line { words: "`externalTrafficPolicy: Local`", is_no_use: |deployed| deployed.keeps_client_addresses },
    Line {
        words: "a `readinessProbe` that asks the hub",
        is_no_use: |deployed| deployed.readiness.is_some_and(|probe| probe.asks),
    },
    Line {
        words: "a `readinessProbe` with a short",
        is_no_use: |deployed| deployed.readiness.is_some_and(is_short),
    },
    Line { words: "Ingress:", is_no_use: has_no_proxy },
    Line { words: "ingress:", is_no_use: has_no_proxy },
];

/// What parts two steps.
const BETWEEN: [&str; 2] = ["; ", ", or "];

/// What is deployed, and what the cell of this transcript had.
pub fn in_place(header: &Header) -> Deployed {
    let mut in_place = header.deployed.clone();
    if header.affinity == Some(Affinity::ClientIp) {
        in_place.affinities = vec![Affinity::ClientIp];
    }
    if header.replicas == 1 {
        in_place.replicas = Some(1);
    }
    in_place
}

/// The steps of a remedy that are of use; empty where none is.
pub fn of_use(remedy: &str, deployed: &Deployed) -> String {
    let is_of_use =
        |step: &str| !LINES.iter().any(|line| step.contains(line.words) && (line.is_no_use)(deployed));
    let mut kept = String::new();
    for (between, step) in steps(remedy) {
        if is_of_use(step) {
            kept += if kept.is_empty() { "" } else { between };
            kept += step;
        }
    }
    kept
}

/// Each step with what parts it from the one before. Parentheses belong to their step.
pub(crate) fn steps(remedy: &str) -> Vec<(&'static str, &str)> {
    let mut steps = Vec::new();
    let (mut start, mut before, mut depth) = (0, "", 0_usize);
    for (at, character) in remedy.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 || at < start => {}
            _ => {
                if let Some(between) = BETWEEN.into_iter().find(|between| remedy[at..].starts_with(between)) {
                    steps.push((before, &remedy[start..at]));
                    (start, before) = (at + between.len(), between);
                }
            }
        }
    }
    steps.push((before, &remedy[start..]));
    steps
}

/// Whether a replica that hangs leaves the Service within seconds.
fn is_short(probe: Readiness) -> bool {
    probe.asks && probe.period_s <= 2 && probe.timeout_s <= 2 && probe.failures <= 3
}

fn has_no_proxy(deployed: &Deployed) -> bool {
    deployed.by_manifests && deployed.front == Front::Service
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: &str = "Service: `spec.sessionAffinity: ClientIP` (and `timeoutSeconds: 10800`, or more), or a hub that finds a \
                            session from every replica, or Deployment: `spec.replicas: 1`";

    #[test]
    fn a_line_that_is_in_place_is_left_out() {
        assert_eq!(of_use(SESSIONS, &Deployed::default()), SESSIONS);
        let client_ip = Deployed { affinities: vec![Affinity::ClientIp], ..Deployed::default() };
        let rest = "a hub that finds a session from every replica, or Deployment: `spec.replicas: 1`";
        assert_eq!(of_use(SESSIONS, &client_ip), rest);
        let one = Deployed { replicas: Some(1), ..client_ip };
        assert_eq!(of_use(SESSIONS, &one), "a hub that finds a session from every replica");
    }

    #[test]
    fn client_ip_cannot_work_behind_a_proxy() {
        for front in [Front::Unknown, Front::Proxy("ingress/edge".to_owned())] {
            let behind = Deployed { front, ..Deployed::default() };
            assert!(!of_use(SESSIONS, &behind).contains("ClientIP"), "{behind:?}");
        }
        let hash = "Ingress: `nginx.ingress.kubernetes.io/upstream-hash-by: $binary_remote_addr`; hub: x";
        let behind = |front| Deployed { front, ..Deployed::default() };
        assert_eq!(of_use(hash, &behind(Front::Proxy("ingress/edge".to_owned()))), hash);
        assert_eq!(of_use(hash, &behind(Front::Unknown)), "hub: x", "nothing says that it is nginx");
    }

    #[test]
    fn a_remedy_may_have_nothing_left() {
        let grace = "Deployment: `terminationGracePeriodSeconds` longer than the longest call";
        let long = Deployed { grace_s: Some(30), ..Deployed::default() };
        assert_eq!(of_use(grace, &long), "");
        assert_eq!(of_use(grace, &Deployed { grace_s: Some(5), ..Deployed::default() }), grace);
    }
}
