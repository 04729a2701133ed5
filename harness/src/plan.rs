//! Which cells there are, which of them apply, and why others do not.
//!
//! Decided once, before anything runs, from three inputs: what the scenarios declare, what the user asked
//! for, and what the hub and the backend offer. Knows no cluster, no wire, and does no IO.

pub mod deployed;
mod names;
mod selection;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use deployed::{Deployed, WhatIf};
pub(crate) use selection::nearest_of;
pub use selection::{Selection, UnknownFilter};
pub use tool::Tool;

/// One of the three transport eras of the Model Context Protocol.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP+SSE, revision 2024-11-05: a stream per session, messages posted beside it.
    Sse,
    /// Streamable HTTP with `Mcp-Session-Id`, revisions 2025-03-26 to 2025-11-25. What SDKs call `http` begins a session where the hub
    /// has them.
    #[value(aliases = ["http", "streamable-http"])]
    Streamable,
    /// Revision 2026-07-28: no sessions, every request stands alone.
    Stateless,
}

/// How the path from client to replica picks a replica.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Affinity {
    /// Any ready replica, chosen anew for each TCP connection (`sessionAffinity: None`).
    Off,
    /// The replica that the client's address reached before (`sessionAffinity: ClientIP`).
    ClientIp,
}

/// Something a scenario or a check requires of the hub or of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// At least so many replicas.
    Replicas(usize),
    /// Several replicas answer for certain: they are ours, or they were seen to, behind a URL.
    ReplicasSeen,
    /// The hub speaks this transport.
    Speaks(Transport),
    /// The hub names its sessions over this transport by an id. Over Streamable HTTP it MAY do without. A need that names
    /// a transport is none of the cells over another one.
    SessionIds(Transport),
    /// The hub gives the events of its Streamable HTTP streams ids, by which a client can resume them. It MAY do without.
    EventIds,
    /// The hub answers the GET of its Streamable HTTP endpoint, by a stream or by a refusal: the survey did not see it hang. A need of
    /// cells over that transport alone.
    GetAnswered,
    /// The hub answers the DELETE of a session of Streamable HTTP, if only by a refusal: the survey did not see it hang.
    DeleteAnswered,
    /// The way to the hub is open, over this transport or over any. Lacking where the survey found what stands in it: a finding of
    /// this name.
    Way(&'static str, Option<Transport>),
    /// The hub takes as many requests as a run sends. Lacking once it went on to refuse some (429) after a pause.
    Unlimited,
    /// The hub has a tool that plays this part (`--tool need=name` when it is called otherwise).
    Tool(Tool),
    /// The user allows the tool that plays this part to be called: the hub has it, and does not mark it as read-only.
    Permission(Tool),
    /// The hub has a tool that holds a call: `tally` or `sleep`.
    HeldCall,
    /// Some call takes seconds: one that is held, or one that did so in the survey.
    SlowCall,
    /// Some call reports progress: `count`, or one that did so in the survey.
    Progress,
    /// Some answer repeats what was sent: that of `echo`, or an error that repeats the name of an unknown tool.
    Repeats,
    /// The readiness probe asks the hub itself, and so notices when it hangs.
    ReadinessAsks,
    /// One replica can be reached on its own, past the service.
    Aim,
    /// The backend can edit the Service, so that the affinity is ours to choose. Without it the path is as it is, and a
    /// scenario that varies with affinity has one cell in place of several.
    Affinity,
    /// Clients can have source addresses of their own.
    ClientAddresses,
    /// Which replica a connection through the service reached can be told, by the backend or by `whoami`.
    Routed,
    /// A replica's process can be killed (SIGKILL).
    KillProcess,
    /// A replica's process can be sent other signals (SIGSTOP, SIGCONT).
    SignalProcess,
    /// The processes of a replica's container can be counted.
    Processes,
    /// A pod can be deleted.
    DeletePod,
    /// The Deployment can be scaled.
    Scale,
    /// The Deployment can be rolled to a new revision.
    Rollout,
    /// The manifests can be edited while the cluster runs.
    Edit,
    /// The hub's container takes a value from a Secret that is among the manifests.
    Secret,
    /// The key that seals the reference hub's session ids comes from a Secret among the manifests.
    SessionKey,
    /// The container has a memory limit.
    MemoryLimit,
    /// The container has a liveness probe.
    LivenessProbe,
    /// The user's requests say who asks (`--header Authorization=..`).
    Token,
    /// The user names an origin whose pages may call the hub from a browser (`--origin`).
    Origin,
    /// The hub's process can be replaced or delayed from outside: it is a command line, or the reference hub.
    Outside,
    /// The port that the hub is told to listen at can be given to something else first.
    TakenPort,
    /// The hub is the reference hub: what its settings mean is known.
    ReferenceHub,
    /// Nodes have images, and we bring them there: one can be missing, and be loaded.
    Images,
    /// A scheduler finds a node for each pod, or none.
    Scheduler,
    /// There are several nodes, which can be drained, and by which clients can enter.
    Nodes,
    /// Pods can be evicted, and PodDisruptionBudgets are served.
    Evictions,
    /// The cluster is reached through a kubeconfig.
    Kubeconfig,
}

/// What a scenario declares of itself; the part of it that planning needs.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// `family/what-must-hold`.
    pub id: &'static str,
    /// The affinities it varies with; empty when no client sees a difference.
    pub affinities: &'static [Affinity],
    /// The transports it varies with; empty when no client sees a difference.
    pub transports: &'static [Transport],
    /// What it cannot do without.
    pub needs: &'static [Need],
}

/// What the hub and the backend of this run offer.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// How many replicas the run has.
    pub replicas: usize,
    /// Everything else that is there.
    pub has: BTreeSet<Need>,
    /// What the user deploys: cells judge that.
    pub deployed: Deployed,
    /// Parts whose tools the hub has and that may not be called.
    pub withheld: BTreeSet<Tool>,
    /// Transports that the survey found unusable, with what their cells lack.
    pub barred: BTreeMap<Transport, Need>,
}

/// One scenario in one affinity over one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The scenario's id.
    pub scenario: &'static str,
    /// The affinity, when the scenario varies with it.
    pub affinity: Option<Affinity>,
    /// The transport, when the scenario varies with it.
    pub transport: Option<Transport>,
}

/// A cell and whether it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The cell.
    pub cell: Cell,
    /// The first need that is not met; `None` when the cell runs.
    pub lacks: Option<Need>,
    /// Why it shows what would be, and counts for nothing; `None` for what is deployed.
    pub what_if: Option<WhatIf>,
}

/// Lays out every selected cell, in catalogue order, and decides which of them apply.
///
/// # Errors
///
/// [`UnknownFilter`] when a filter names no family, scenario or cell.
pub fn plan(
    outlines: &[Outline],
    selection: &Selection,
    offers: &Offers,
) -> Result<Vec<Planned>, UnknownFilter> {
    let all: Vec<(&Outline, Cell)> =
        outlines.iter().flat_map(|outline| cells(outline).map(move |cell| (outline, cell))).collect();
    selection.names_cells(all.iter().map(|(_, cell)| cell))?;
    let mut planned: Vec<Planned> = Vec::new();
    for (outline, mut cell) in all.into_iter().filter(|(_, cell)| selection.admits(cell)) {
        if !offers.meets(Need::Affinity) {
            // The path is as it is: there is one of what would otherwise be a cell per affinity.
            cell.affinity = None;
        }
        if !planned.iter().any(|known| known.cell == cell) {
            let (lacks, what_if) = (first_lack(outline, &cell, offers), offers.what_if(outline, &cell));
            planned.push(Planned { cell, lacks, what_if });
        }
    }
    Ok(planned)
}

// === impl Offers ===

impl Offers {
    /// What makes [`plan`] lay out every cell there is: to list them, or to look a name up.
    pub fn every_cell() -> Self {
        Self { has: [Need::Affinity].into(), ..Self::default() }
    }

    /// Whether this need is met.
    pub fn meets(&self, need: Need) -> bool {
        match need {
            Need::Replicas(n) => self.replicas >= n,
            other => self.has.contains(&other),
        }
    }
}

// === impl Cell ===

impl Cell {
    /// The part of the id before the slash.
    pub fn family(&self) -> &'static str {
        self.scenario.split_once('/').map_or(self.scenario, |(family, _)| family)
    }

    /// The part of the id after the slash.
    pub fn name(&self) -> &'static str {
        self.scenario.split_once('/').map_or(self.scenario, |(_, name)| name)
    }

    /// `off-sse`, `sse`, or nothing: the axes that this cell varies with.
    pub fn variant(&self) -> String {
        let affinity = self.affinity.map(|affinity| affinity.to_string());
        let transport = self.transport.map(|transport| transport.to_string());
        [affinity, transport].into_iter().flatten().collect::<Vec<_>>().join("-")
    }

    fn is_named(&self, filter: &str) -> bool {
        let (scenario, variant) = match filter.split_once('@') {
            Some((scenario, variant)) => (scenario, Some(variant)),
            None => (filter, None),
        };
        let scenario_fits = scenario.is_empty()
            || scenario == self.scenario
            || scenario == self.name()
            || scenario == self.family();
        let axis_is = |wanted: &str| {
            self.variant() == wanted
                || self.affinity.is_some_and(|affinity| affinity.to_string() == wanted)
                || self.transport.is_some_and(|transport| transport.to_string() == wanted)
        };
        scenario_fits && variant.is_none_or(axis_is)
    }
}

/// `family/scenario@affinity-transport`: the cell's one name, in reports, baselines and file names.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant();
        if variant.is_empty() { f.write_str(self.scenario) } else { write!(f, "{}@{variant}", self.scenario) }
    }
}

// === helpers ===

fn cells(outline: &Outline) -> impl Iterator<Item = Cell> + use<> {
    let scenario = outline.id;
    let affinities = axis(outline.affinities);
    let transports = axis(outline.transports);
    affinities.into_iter().flat_map(move |affinity| {
        transports.clone().into_iter().map(move |transport| Cell { scenario, affinity, transport })
    })
}

fn axis<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

fn first_lack(outline: &Outline, cell: &Cell, offers: &Offers) -> Option<Need> {
    let speaks = cell.transport.map(Need::Speaks);
    let own = outline.needs.iter().copied().filter(|need| concerns(*need, cell));
    let has_replicas = |need: &Need| matches!(need, Need::Replicas(n) if offers.replicas_of(outline) >= *n);
    let own_lack = || speaks.into_iter().chain(own).find(|need| !offers.meets(*need) && !has_replicas(need));
    barred(cell, offers).or_else(own_lack).map(|need| permission(need, offers))
}

/// What is lacking where a need is not met: the tool, or the permission to call it.
fn permission(need: Need, offers: &Offers) -> Need {
    let parts: &[Tool] = match &need {
        Need::Tool(tool) => &[*tool],
        Need::HeldCall | Need::SlowCall => &[Tool::Tally, Tool::Sleep],
        Need::Repeats => &[Tool::Echo],
        Need::Progress => &[Tool::Count],
        _ => &[],
    };
    let withheld = parts.iter().find(|tool| offers.withheld.contains(tool));
    withheld.map_or(need, |tool| Need::Permission(*tool))
}

/// What stands in a cell's way to the hub. A cell that does not vary with the transport takes any that is spoken.
fn barred(cell: &Cell, offers: &Offers) -> Option<Need> {
    let of_transport = |transport: &Transport| offers.barred.get(transport).copied();
    let is_any_spoken = || Transport::ALL.iter().any(|transport| offers.meets(Need::Speaks(*transport)));
    match &cell.transport {
        Some(transport) => of_transport(transport),
        None if is_any_spoken() => None,
        None => Transport::ALL.iter().find_map(of_transport),
    }
}

/// Whether a need is one of this cell: what a hub does over one transport is nothing to the others.
fn concerns(need: Need, cell: &Cell) -> bool {
    match need {
        Need::SessionIds(transport) => cell.transport.is_none_or(|own| own == transport),
        Need::GetAnswered => cell.transport == Some(Transport::Streamable),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const ROUTES: Outline = Outline {
        id: "routing/routes",
        affinities: &[Affinity::Off, Affinity::ClientIp],
        transports: &[Transport::Sse, Transport::Stateless],
        needs: &[Need::Replicas(2), Need::Tool(Tool::Echo)],
    };
    pub(super) const STARTS: Outline =
        Outline { id: "lifecycle/starts", affinities: &[], transports: &[], needs: &[Need::Scale] };

    fn offers(replicas: usize, has: &[Need]) -> Offers {
        let speaks = [Transport::Sse, Transport::Stateless].map(Need::Speaks);
        let has = speaks.into_iter().chain(has.iter().copied()).collect();
        Offers { replicas, has, ..Offers::default() }
    }

    fn planned(filters: &[&str], offers: &Offers) -> Vec<String> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let selection = Selection { filters, ..Selection::default() };
        let planned = plan(&[ROUTES, STARTS], &selection, offers).unwrap();
        let line = |plan: &Planned| match plan.lacks {
            Some(need) => format!("{} needs {need}", plan.cell),
            None => plan.cell.to_string(),
        };
        planned.iter().map(line).collect()
    }

    #[test]
    fn every_cell_is_laid_out_in_order() {
        let everything = offers(2, &[Need::Affinity, Need::Tool(Tool::Echo), Need::Scale]);
        let cells = [
            "routing/routes@off-sse",
            "routing/routes@off-stateless",
            "routing/routes@client-ip-sse",
            "routing/routes@client-ip-stateless",
            "lifecycle/starts",
        ];
        assert_eq!(planned(&[], &everything), cells);
        assert_eq!(planned(&["starts"], &everything), ["lifecycle/starts"]);
        assert_eq!(planned(&["routing"], &everything), cells[..4]);
        assert_eq!(planned(&["routes@client-ip"], &everything), cells[2..4]);
        assert_eq!(planned(&["@sse"], &everything), [cells[0], cells[2]]);
        assert_eq!(planned(&["routing/routes@off-sse", "starts"], &everything), [cells[0], cells[4]]);
    }

    #[test]
    fn what_stands_in_the_way_of_a_transport_is_what_its_cells_lack() {
        let way = Need::Way("survey/usable", Some(Transport::Sse));
        let mut offers = offers(2, &[Need::Affinity, Need::Tool(Tool::Echo), Need::Scale]);
        offers.barred = [(Transport::Sse, way)].into();
        let barred = "a usable way to the hub: see survey/usable@sse";
        assert_eq!(
            planned(&["@off", "starts"], &offers),
            [
                &format!("routing/routes@off-sse needs {barred}"),
                "routing/routes@off-stateless",
                "lifecycle/starts"
            ]
        );
        offers.has.retain(|need| !matches!(need, Need::Speaks(_)));
        assert_eq!(planned(&["starts"], &offers), [format!("lifecycle/starts needs {barred}")]);
    }

    #[test]
    fn what_one_transport_lacks_is_nothing_to_the_others() {
        let unknown = Outline {
            id: "routing/unknown",
            affinities: &[],
            transports: &[Transport::Sse, Transport::Streamable],
            needs: &[Need::SessionIds(Transport::Streamable)],
        };
        let speaks = [Transport::Sse, Transport::Streamable].map(Need::Speaks);
        let offers = Offers { replicas: 2, has: speaks.into(), ..Offers::default() };
        let planned = plan(&[unknown], &Selection::default(), &offers).unwrap();
        let lacks: Vec<Option<Need>> = planned.into_iter().map(|planned| planned.lacks).collect();
        assert_eq!(lacks, [None, Some(Need::SessionIds(Transport::Streamable))]);
    }

    #[test]
    fn the_first_need_that_is_missing_is_named() {
        let one = offers(1, &[Need::Affinity, Need::Tool(Tool::Echo)]);
        assert_eq!(planned(&["@off-sse"], &one), ["routing/routes@off-sse needs 2 replicas"]);
        assert_eq!(planned(&["starts"], &one), ["lifecycle/starts needs a Deployment to scale"]);
        let silent = Offers { replicas: 2, has: [Need::Affinity].into(), ..Offers::default() };
        assert_eq!(planned(&["@off-sse"], &silent), ["routing/routes@off-sse needs transport sse"]);
    }

    #[test]
    fn without_control_of_the_affinity_there_is_one_cell_in_place_of_several() {
        let as_it_is = offers(2, &[Need::Tool(Tool::Echo)]);
        assert_eq!(planned(&["routes"], &as_it_is), ["routing/routes@sse", "routing/routes@stateless"]);
        assert_eq!(planned(&["routing/routes@sse"], &as_it_is), ["routing/routes@sse"], "its rerun line");
    }
}
