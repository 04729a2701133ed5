//! What a scenario is: a situation, how its cluster differs from the ordinary one, and which checks judge what was seen.

use futures_util::future::BoxFuture;

use super::Stage;
use crate::check::Check;
use crate::cluster::manifest::Manifests;
use crate::plan::Outline;

/// Something a hub must survive: how to bring it about, and which checks judge what was seen.
///
/// A scenario is a value. It drives and never asserts.
pub struct Scenario {
    /// Its id, axes and needs.
    pub outline: Outline,
    /// One line: what must hold.
    pub title: &'static str,
    /// Why anyone should care: what users see when it does not hold.
    pub why: &'static str,
    /// The specification's places it rests on, or [`check::HUB_CONTRACT`].
    pub spec: &'static [&'static str],
    /// The manifest line, or the change of the hub, that mends a failure.
    pub remedy: &'static str,
    /// The operators' issue that it brings about, where it does.
    pub guide: Option<Guide>,
    /// How its cluster differs from the ordinary one.
    pub setup: Setup,
    /// What judges its transcript, beside the ambient checks.
    pub checks: &'static [&'static Check],
    /// Brings it about. An error means that the harness could not go on, not that the hub is broken.
    pub drive: for<'s> fn(&'s Stage) -> BoxFuture<'s, anyhow::Result<()>>,
}

/// An issue of the troubleshooting guide that operators work by; its remedy is the scenario's.
#[derive(Clone, Copy, Debug)]
pub struct Guide {
    /// Its number and title there.
    pub issue: &'static str,
    /// What an operator sees first.
    pub symptom: &'static str,
    /// Why it is so.
    pub cause: &'static str,
}

/// How a scenario's cluster differs from the ordinary one.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// `sessionAffinityConfig.clientIP.timeoutSeconds`; `None` for what is deployed, else Kubernetes' default.
    pub affinity_timeout_s: Option<u32>,
    /// How many replicas it begins with; `None` for as many as the run has. A hub that is running already has what it has.
    pub replicas: Option<usize>,
    /// What is edited before the cluster comes up, after the number of replicas and the affinity were set.
    pub edit: fn(&mut Manifests),
    /// What the reference hub is told. Of any other hub the user tells what it was told.
    pub reference: Told,
    /// What is waited for before the scenario is driven.
    pub begins: Begins,
    /// How the manifests' probes are asked.
    pub probes: Probes,
}

/// How a cell asks the probes of the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// More often than deployed, so that the cell takes seconds.
    Quickened,
    /// As deployed: the scenario is about them.
    AsDeployed,
}

/// What a hub is told about who may call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The bearer token that it asks for.
    pub token: Option<&'static str>,
    /// The origin of the pages that may call it from a browser.
    pub origin: Option<&'static str>,
}

/// What a scenario begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Every replica is ready.
    AllReady,
    /// Nothing is waited for: the scenario is about replicas that are not ready.
    Unready,
}

impl Setup {
    /// What is deployed, with nothing edited.
    pub const ORDINARY: Setup = Setup {
        affinity_timeout_s: None,
        replicas: None,
        edit: |_| {},
        reference: Told { token: None, origin: None },
        begins: Begins::AllReady,
        probes: Probes::Quickened,
    };

    /// One replica, for rules about a single one: it is up in less time than several.
    pub const ONE_REPLICA: Setup = Setup { replicas: Some(1), ..Setup::ORDINARY };

    /// Makes the edits; those of the reference hub only where it is the one that runs.
    pub(super) fn apply(&self, manifests: &mut Manifests, is_reference: bool) {
        (self.edit)(manifests);
        let Told { token, origin } = self.reference;
        for (name, value) in [("TOKEN", token), ("ALLOW_ORIGIN", origin)] {
            if let Some(value) = value.filter(|_| is_reference) {
                manifests.set_env(name, value);
            }
        }
    }
}
