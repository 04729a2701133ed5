//! What the user deploys. Cells judge that; every other cell shows what would be, and counts for nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Affinity, Cell, Need, Offers, Outline};

/// What the user's manifests and flags say. It stands in the header of each transcript, so that `hubcheck check` prints the same
/// remedies again. Without manifests and flags nothing is known, and every mode is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployed {
    /// Whether the user gave manifests.
    pub by_manifests: bool,
    /// The affinities that are judged: those of `--affinity`, else the Service's. Empty for every affinity.
    pub affinities: Vec<Affinity>,
    /// `sessionAffinityConfig.clientIP.timeoutSeconds` of a Service with `ClientIP`.
    pub affinity_timeout_s: Option<u32>,
    /// `spec.replicas`, unless `--replicas` says something else.
    pub replicas: Option<usize>,
    /// What clients meet before the Service.
    pub front: Front,
    /// The numbers of the readiness probe.
    pub readiness: Option<Readiness>,
    /// `terminationGracePeriodSeconds`.
    pub grace_s: Option<u64>,
    /// Whether the Service has `externalTrafficPolicy: Local`.
    pub keeps_client_addresses: bool,
}

/// What clients meet before the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Front {
    /// Nothing: the Service sees the addresses of the clients.
    #[default]
    Service,
    /// A proxy that is named in the manifests, such as `ingress/hub`: it picks replicas itself, or the Service sees only its address.
    Proxy(String),
    /// Whatever stands behind `--url`.
    Unknown,
}

/// The numbers of a readiness probe, in seconds and failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Between two questions.
    pub period_s: u32,
    /// For an answer.
    pub timeout_s: u32,
    /// So many failures in a row take the replica out of the Service.
    pub failures: u32,
    /// Whether it asks the hub itself, and not only whether its port accepts.
    pub asks: bool,
}

/// Why a cell shows what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// The cell has another affinity than the one that is deployed.
    Affinity {
        /// What the cell has.
        here: Affinity,
        /// What is deployed.
        deployed: Affinity,
    },
    /// The cell has more replicas than are deployed.
    Replicas {
        /// What the cell has.
        here: usize,
        /// What is deployed.
        deployed: usize,
    },
    /// The cell changes the affinity under a client: it expires early, or the client comes by another node.
    Path,
}

// === impl Deployed ===

impl Deployed {
    /// The affinity of cells that do not vary with it.
    pub fn affinity(&self) -> Affinity {
        match self.affinities.as_slice() {
            [] => Affinity::Off,
            affinities if affinities.contains(&Affinity::Off) => Affinity::Off,
            _ => Affinity::ClientIp,
        }
    }

    /// Whether the Service sends a client to the replica that it reached before: as deployed, or in every cell that is judged.
    pub fn has_client_ip(&self) -> bool {
        self.affinity_timeout_s.is_some() || self.affinity() == Affinity::ClientIp
    }

    /// Whether cells that need several replicas get them although one is deployed.
    fn has_one_replica(&self) -> bool {
        self.by_manifests && self.replicas == Some(1)
    }
}

// === impl Offers ===

impl Offers {
    /// Why a cell shows what would be; `None` for what is deployed.
    pub fn what_if(&self, outline: &Outline, cell: &Cell) -> Option<WhatIf> {
        let deployed = &self.deployed;
        if let Some(here) = cell.affinity
            && !deployed.affinities.is_empty()
            && !deployed.affinities.contains(&here)
        {
            return Some(WhatIf::Affinity { here, deployed: deployed.affinity() });
        }
        let here = self.replicas_of(outline);
        if here > self.replicas {
            return Some(WhatIf::Replicas { here, deployed: self.replicas });
        }
        let changes_path = deployed.by_manifests && outline.needs.contains(&Need::Affinity);
        changes_path.then_some(WhatIf::Path)
    }

    /// How many replicas a scenario begins with: as many as it needs, where the manifests deploy one.
    pub fn replicas_of(&self, outline: &Outline) -> usize {
        let needed = outline.needs.iter().filter_map(|need| match need {
            Need::Replicas(n) => Some(*n),
            _ => None,
        });
        let needed = needed.max().filter(|_| self.deployed.has_one_replica());
        needed.unwrap_or(0).max(self.replicas)
    }
}

// === impl WhatIf ===

/// What the cell has and what is deployed: `2 replicas, 1 is deployed`.
impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhatIf::Affinity { here, deployed } => {
                write!(f, "affinity `{here}`, `{deployed}` is deployed")
            }
            WhatIf::Replicas { here, deployed } => write!(f, "{here} replicas, {deployed} is deployed"),
            WhatIf::Path => {
                f.write_str("the deployed affinity expires early, or the client comes by another node")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Selection, Transport, plan};

    const ROUTES: Outline = Outline {
        id: "routing/routes",
        affinities: &[Affinity::Off, Affinity::ClientIp],
        transports: &[],
        needs: &[Need::Replicas(2)],
    };
    const STOPS: Outline = Outline { id: "lifecycle/stops", affinities: &[], transports: &[], needs: &[] };
    const EXPIRES: Outline = Outline {
        id: "routing/expires",
        affinities: &[Affinity::ClientIp],
        transports: &[],
        needs: &[Need::Affinity],
    };

    fn planned(replicas: usize, deployed: Deployed) -> Vec<String> {
        let has = [Need::Affinity, Need::Speaks(Transport::Sse)].into();
        let offers = Offers { replicas, has, deployed, ..Offers::default() };
        let planned = plan(&[ROUTES, STOPS, EXPIRES], &Selection::default(), &offers).unwrap();
        let line = |planned: &crate::plan::Planned| match (planned.lacks, planned.what_if) {
            (Some(need), _) => format!("{} needs {need}", planned.cell),
            (None, Some(what_if)) => format!("{}: {what_if}", planned.cell),
            (None, None) => planned.cell.to_string(),
        };
        planned.iter().map(line).collect()
    }

    #[test]
    fn without_manifests_and_flags_every_mode_is_judged() {
        let every = [
            "routing/routes@off",
            "routing/routes@client-ip",
            "lifecycle/stops",
            "routing/expires@client-ip",
        ];
        assert_eq!(planned(2, Deployed::default()), every);
        let one = planned(1, Deployed::default());
        assert_eq!(
            one[0], "routing/routes@off needs 2 replicas",
            "of `--replicas 1`: nothing says that there are more"
        );
    }

    #[test]
    fn another_affinity_than_the_deployed_one_is_a_what_if() {
        let client_ip =
            Deployed { by_manifests: true, affinities: vec![Affinity::ClientIp], ..Deployed::default() };
        let path = "routing/expires@client-ip: the deployed affinity expires early, or the client comes by another node";
        assert_eq!(
            planned(2, client_ip.clone()),
            [
                "routing/routes@off: affinity `off`, `client-ip` is deployed",
                "routing/routes@client-ip",
                "lifecycle/stops",
                path
            ]
        );
        assert_eq!(client_ip.affinity(), Affinity::ClientIp, "for cells that do not vary with it");
        let both = Deployed { affinities: vec![Affinity::ClientIp, Affinity::Off], ..client_ip };
        assert_eq!(
            planned(2, both)[..2],
            ["routing/routes@off", "routing/routes@client-ip"],
            "`--affinity` names both"
        );
    }

    #[test]
    fn one_replica_is_judged_as_one_and_two_are_a_what_if() {
        let one = Deployed {
            by_manifests: true,
            replicas: Some(1),
            affinities: vec![Affinity::Off],
            ..Deployed::default()
        };
        let told = planned(1, one);
        assert_eq!(told[0], "routing/routes@off: 2 replicas, 1 is deployed");
        assert_eq!(told[2], "lifecycle/stops");
    }
}
