//! What a kubeconfig tells of the pods behind a URL: which they are, which of them had requests of ours, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use super::seen::Seen;
use super::{Rig, RigError};
use crate::cluster::kubernetes::{Observed, ObservedPod, Observer, Somewhere};
use crate::plan::{Need, Transport};
use crate::run::stage::clients_to_spread;
use crate::transcript::{Recorder, What};
use crate::wire::{Client, Target};

/// How long a line may take from a server's output to the API.
const PRINTED: Duration = Duration::from_secs(5);

/// The parameter of a query by which requests are found in what servers print.
const MARK: &str = "hubcheck";

/// Too many requests: a client that asks on may be locked out.
const TOO_MANY: u16 = 429;

impl Rig {
    /// Reads these pods, which stand behind the URL.
    pub fn observe(&mut self, place: Somewhere, what: Observed) {
        self.observing = Some((place, what));
    }

    /// Finds the pods, and notes them.
    pub(super) async fn start_observing(&mut self) -> Result<(), RigError> {
        let Some((place, what)) = self.observing.clone() else { return Ok(()) };
        let observer = Observer::start(&place, what).await.map_err(RigError::Observed)?;
        let pods = observer.pods().await.map_err(RigError::Observed)?;
        self.noted.push(line(&observer.what(), &pods));
        self.observer = Some(observer);
        Ok(())
    }

    /// Whether pods are read.
    pub(super) fn is_observing(&self) -> bool {
        self.observer.is_some()
    }

    /// The replicas that the pods prove where answers did not: by what the pods print, or by the Service that the URL leads to.
    pub(super) async fn seen_by_pods(&mut self, target: &Target) -> Option<Seen> {
        let observer = self.observer.as_ref()?;
        let pods = observer.pods().await.ok()?;
        let ready: Vec<ObservedPod> = pods.into_iter().filter(|pod| pod.is_ready).collect();
        if ready.len() < 2 {
            return None;
        }
        let mark = format!("{:08x}", getrandom::u32().ok()?);
        let wanted = clients_to_spread(ready.len());
        let asked = self.ask_marked(target, &mark, wanted).await;
        let printing = observer.printing(&ready, &mark, PRINTED).await;
        if printing.len() > 1 {
            let by = format!("their mark in what these pods print: {}", printing.join(", "));
            return Some(Seen::of_requests(printing.len(), asked, by));
        }
        match observer.spreads(target.addr, &ready).await.filter(|_| asked >= wanted) {
            Some(service) => {
                let by = format!(
                    "service/{service}, which gives each connection to a ready pod at random (chance that one got none: below 1 in 1 \
                     million)"
                );
                Some(Seen::of_requests(ready.len(), asked, by))
            }
            None => {
                self.noted.push(format!(
                    "{} pods are ready, and nothing shows that two of them answer at this URL: they print no requests, and it is no \
                     address of a Service of theirs",
                    ready.len()
                ));
                None
            }
        }
    }

    /// Sends requests that carry a mark, each over a connection of its own; how many were sent.
    async fn ask_marked(&self, target: &Target, mark: &str, wanted: usize) -> usize {
        let transports = [Transport::Streamable, Transport::Stateless, Transport::Sse];
        let spoken = transports.into_iter().find(|transport| self.offers.meets(Need::Speaks(*transport)));
        let Some(transport) = spoken else { return 0 };
        for number in 0..wanted {
            let (dialect, timeouts) = (Arc::clone(&self.dialect), Arc::clone(&self.timeouts));
            let client = Client::new(format!("mark-{number}"), None, Recorder::new([]), dialect, timeouts);
            let get = client.get(transport);
            let joined = if get.target.contains('?') { '&' } else { '?' };
            let marked = format!("{}{joined}{MARK}={mark}", get.target);
            if client.exchange(target, get.to(marked)).await.status == Some(TOO_MANY) {
                return number;
            }
        }
        wanted
    }

    /// The pods as they are now, where they can be read.
    pub(in crate::run) async fn observed_pods(&self) -> Option<Vec<ObservedPod>> {
        match self.observer.as_ref()?.pods().await {
            Ok(pods) => Some(pods),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    /// Notes what became of the pods since they were as they were before.
    pub(in crate::run) async fn note_observed(&self, before: Option<Vec<ObservedPod>>, recorder: &Recorder) {
        let Some(before) = before else { return };
        let Some(after) = self.observed_pods().await else { return };
        for (pod, reason, message) in changes(&before, &after) {
            recorder.record(What::Event { object: format!("Pod/{pod}"), reason: reason.to_owned(), message });
        }
    }
}

// === helpers ===

/// The pods in one line.
fn line(what: &str, pods: &[ObservedPod]) -> String {
    let ready = pods.iter().filter(|pod| pod.is_ready).count();
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    match names.as_slice() {
        [] => format!("{what} has no pods"),
        names => format!("{ready} of {} pods of {what} are ready: {}", names.len(), names.join(", ")),
    }
}

/// What became of pods: name, reason, message.
fn changes(before: &[ObservedPod], after: &[ObservedPod]) -> Vec<(String, &'static str, String)> {
    let mut changes = Vec::new();
    for pod in after {
        let Some(earlier) = before.iter().find(|known| known.name == pod.name) else {
            changes.push((pod.name.clone(), "Appeared", "the pod is new since this cell began".to_owned()));
            continue;
        };
        if pod.restarts > earlier.restarts {
            let message = format!(
                "its container was restarted during this cell: {} to {}",
                earlier.restarts, pod.restarts
            );
            changes.push((pod.name.clone(), "Restarted", message));
        }
        if earlier.is_ready && !pod.is_ready {
            changes.push((pod.name.clone(), "Unready", "it was ready when this cell began".to_owned()));
        }
    }
    for pod in before.iter().filter(|pod| after.iter().all(|known| known.name != pod.name)) {
        changes.push((pod.name.clone(), "Gone", "it was there when this cell began".to_owned()));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, is_ready: bool, restarts: u32) -> ObservedPod {
        ObservedPod { name: name.to_owned(), is_ready, restarts, ..ObservedPod::default() }
    }

    #[test]
    fn what_became_of_pods_is_told_by_name() {
        let before = [pod("a", true, 0), pod("b", true, 2), pod("c", true, 0)];
        let after = [pod("a", true, 1), pod("b", false, 2), pod("d", true, 0)];
        let told: Vec<(String, &str)> =
            changes(&before, &after).into_iter().map(|(pod, reason, _)| (pod, reason)).collect();
        let expected = [("a", "Restarted"), ("b", "Unready"), ("d", "Appeared"), ("c", "Gone")];
        assert_eq!(told, expected.map(|(pod, reason)| (pod.to_owned(), reason)));
        assert!(changes(&before, &before).is_empty());
    }

    #[test]
    fn the_pods_are_one_line() {
        let pods = [pod("a", true, 0), pod("b", false, 0)];
        assert_eq!(line("deployment/hub", &pods), "1 of 2 pods of deployment/hub are ready: a, b");
        assert_eq!(line("app=hub", &[]), "app=hub has no pods");
    }
}
