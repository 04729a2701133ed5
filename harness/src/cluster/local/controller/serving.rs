//! What the controller does when it is asked to.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Controller, configs};
use crate::cluster::FaultError;
use crate::cluster::balancer::Routes;
use crate::cluster::local::launch::runnable;
use crate::cluster::local::pod::Command;
use crate::cluster::local::request::Request;
use crate::cluster::process::Signal;
use crate::transcript::{Fault, What};

impl Controller {
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Signal { replica, signal, fault, done } => self.signal(&replica, signal, fault, done),
            Request::Delete { replica, grace, done } => {
                let found = self.pods.iter().find(|pod| pod.name == replica).map(|pod| (pod.uid, pod.grace));
                let answer = match found {
                    Some((uid, own)) => {
                        let grace = grace.unwrap_or(own);
                        self.record(What::Fault(Fault::Delete { replica, grace_s: grace.as_secs() }));
                        self.terminate(uid, grace);
                        self.reconcile();
                        Ok(())
                    }
                    None => Err(FaultError::NoReplica(replica)),
                };
                let _ = done.send(answer);
            }
            Request::Apply { manifests, fault, done } => {
                let answer = runnable(&self.spec.launches, &manifests);
                if answer.is_ok() {
                    if let Some(fault) = fault {
                        self.record(What::Fault(fault));
                    }
                    self.spec.manifests = *manifests;
                    self.configs.send_replace(configs(&self.spec));
                    self.update_endpoints();
                    self.reconcile();
                }
                let _ = done.send(answer.map_err(FaultError::from));
            }
            Request::Manifests { reply } => drop(reply.send(self.spec.manifests.clone())),
            // Served where it can wait.
            Request::Down { .. } => {}
        }
    }

    fn signal(
        &mut self,
        replica: &str,
        signal: Signal,
        fault: Fault,
        done: oneshot::Sender<Result<(), FaultError>>,
    ) {
        let Some(pod) = self.pods.iter().find(|pod| pod.name == replica) else {
            let _ = done.send(Err(FaultError::NoReplica(replica.to_owned())));
            return;
        };
        if !pod.status.is_running {
            let _ = done.send(Err(FaultError::NotRunning(replica.to_owned())));
            return;
        }
        let (sent, was_sent) = oneshot::channel();
        let commands = pod.commands.clone();
        self.record(What::Fault(fault));
        let _ = commands.send(Command::Signal(signal, sent));
        let replica = replica.to_owned();
        self.tasks.spawn(async move {
            let answer = match was_sent.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(FaultError::Signal { replica, error }),
                Err(_) => Err(FaultError::NoReplica(replica)),
            };
            let _ = done.send(answer);
        });
    }

    /// Ends every pod at once and waits until they are gone.
    pub(super) async fn end(&mut self) {
        self.is_ending = true;
        self.balancer.route(Routes::default());
        for pod in &self.pods {
            let _ = pod.commands.send(Command::Delete { grace: Duration::ZERO });
        }
        while self.tasks.join_next().await.is_some() {}
    }
}
