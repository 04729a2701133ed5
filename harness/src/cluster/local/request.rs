//! What the harness asks of the controller.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::cluster::FaultError;
use crate::cluster::manifest::Manifests;
use crate::cluster::process::Signal;
use crate::transcript::Fault;

type Done = oneshot::Sender<Result<(), FaultError>>;

/// One thing to do. It is answered when it has been done and can be seen.
#[derive(Debug)]
pub(crate) enum Request {
    Signal { replica: String, signal: Signal, fault: Fault, done: Done },
    Delete { replica: String, grace: Option<Duration>, done: Done },
    Apply { manifests: Box<Manifests>, fault: Option<Fault>, done: Done },
    Manifests { reply: oneshot::Sender<Manifests> },
    Down { done: oneshot::Sender<()> },
}
