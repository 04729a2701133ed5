//! What a run judges: what the user's manifests deploy, unless flags say something else.

use crate::plan::deployed::Front;
use crate::plan::{Affinity, Deployed};
use crate::run::rig::Hub;

/// How many replicas a cell begins with, where neither manifests nor flags say so.
const REPLICAS: usize = 2;

/// More replicas than these show nothing that three do not show, and take their time.
const MOST: usize = 3;

/// What a run judges.
pub(super) struct Judged {
    /// How many replicas a cell begins with.
    pub(super) replicas: usize,
    /// What plan, cells and remedies go by.
    pub(super) deployed: Deployed,
    /// The same for the user, a line each; none without manifests.
    pub(super) notes: Vec<String>,
}

/// What the hub's manifests deploy, and these flags in place of it.
pub(super) fn judged(replicas: Option<usize>, affinities: &[Affinity], hub: &Hub) -> Judged {
    if let Hub::Url(_) = hub {
        let deployed = Deployed { front: Front::Unknown, ..Deployed::default() };
        return Judged { replicas: replicas.unwrap_or(REPLICAS), deployed, notes: Vec::new() };
    }
    of(replicas, affinities, hub.deployed())
}

fn of(asked: Option<usize>, affinities: &[Affinity], manifests: Option<&Deployed>) -> Judged {
    let mut deployed = manifests.cloned().unwrap_or_default();
    let mut notes = Vec::new();
    if !affinities.is_empty() {
        deployed.affinities = affinities.to_vec();
    }
    let replicas = match (asked, deployed.replicas) {
        (Some(asked), _) => {
            deployed.replicas = None;
            asked
        }
        (None, Some(0)) => {
            notes.push(format!("the manifests deploy 0 replicas: cells begin with {REPLICAS}"));
            REPLICAS
        }
        (None, Some(many)) if many > MOST => {
            notes.push(format!("the manifests deploy {many} replicas: cells begin with {MOST}"));
            MOST
        }
        (None, Some(replicas)) => replicas,
        (None, None) => REPLICAS,
    };
    if deployed.by_manifests {
        notes.insert(0, line(replicas, &deployed, affinities.is_empty()));
    }
    Judged { replicas, deployed, notes }
}

/// `judged as deployed: 2 replicas, affinity client-ip (10800 s); cells that differ are marked WHAT IF and not counted`.
fn line(replicas: usize, deployed: &Deployed, is_deployed: bool) -> String {
    let noun = if replicas == 1 { "replica" } else { "replicas" };
    let affinities: Vec<String> = deployed.affinities.iter().map(ToString::to_string).collect();
    let has_timeout = deployed.affinities.contains(&Affinity::ClientIp);
    let timeout = deployed.affinity_timeout_s.filter(|_| has_timeout);
    let timeout = timeout.map(|seconds| format!(" ({seconds} s)")).unwrap_or_default();
    let by = if is_deployed && deployed.replicas.is_some() { "as deployed" } else { "as the flags say" };
    format!(
        "judged {by}: {replicas} {noun}, affinity {}{timeout}; cells that differ are marked WHAT IF and not counted",
        affinities.join(" and "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(replicas: usize) -> Deployed {
        Deployed {
            by_manifests: true,
            replicas: Some(replicas),
            affinities: vec![Affinity::ClientIp],
            affinity_timeout_s: Some(600),
            ..Deployed::default()
        }
    }

    #[test]
    fn manifests_say_how_many_replicas_up_to_three() {
        let replicas = |many| of(None, &[], Some(&sticky(many)));
        assert_eq!(replicas(1).replicas, 1);
        assert_eq!(replicas(3).replicas, 3);
        assert_eq!(replicas(5).replicas, 3);
        assert_eq!(replicas(5).notes[1], "the manifests deploy 5 replicas: cells begin with 3");
        assert_eq!(replicas(0).replicas, 2);
        assert_eq!(of(None, &[], None).replicas, 2, "without manifests");
    }

    #[test]
    fn flags_come_before_manifests() {
        let flags = of(Some(2), &[Affinity::Off], Some(&sticky(1)));
        assert_eq!((flags.replicas, flags.deployed.replicas), (2, None), "two are no what if");
        assert_eq!(flags.deployed.affinities, [Affinity::Off]);
        assert!(
            flags.notes[0].starts_with("judged as the flags say: 2 replicas, affinity off;"),
            "{:?}",
            flags.notes
        );
        let deployed = of(None, &[], Some(&sticky(2)));
        let line = "judged as deployed: 2 replicas, affinity client-ip (600 s); cells that differ are marked WHAT IF and not counted";
        assert_eq!(deployed.notes, [line]);
        assert!(of(Some(3), &[], None).notes.is_empty());
    }
}
