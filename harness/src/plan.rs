//! Which cells there are, which of them apply, and why others do not.
//!
//! Decided once, before anything runs, from three inputs: what the scenarios declare, what the user asked
//! for, and what the hub and the backend offer. Knows no cluster, no wire, and does no IO.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the three transport eras of the Model Context Protocol.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// HTTP+SSE, revision 2024-11-05: a stream per session, messages posted beside it.
    Sse,
    /// Streamable HTTP with `Mcp-Session-Id`, revisions 2025-03-26 to 2025-11-25.
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
    /// The hub speaks this transport.
    Speaks(Transport),
    /// The hub has a tool that plays this part (`--tool need=name` when it is called otherwise).
    Tool(Tool),
    /// The hub has a tool that holds a call: `tally` or `sleep`.
    HeldCall,
    /// The readiness probe asks the hub itself, and so notices when it hangs.
    ReadinessAsks,
    /// One replica can be reached on its own, past the service.
    Aim,
    /// The backend can edit the Service, so that the affinity is ours to choose.
    Affinity,
    /// Which replica a connection through the service reached can be told, by the backend or by `whoami`.
    Routed,
    /// A replica's process can be killed (SIGKILL).
    KillProcess,
    /// A replica's process can be sent other signals (SIGSTOP, SIGCONT).
    SignalProcess,
    /// A pod can be deleted.
    DeletePod,
    /// The Deployment can be scaled.
    Scale,
    /// The Deployment can be rolled to a new revision.
    Rollout,
}

/// The part that a hub's tool plays in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Names the replica that answers.
    Whoami,
    /// Returns its argument `text`.
    Echo,
    /// Sends `n` progress notifications, `interval_ms` apart.
    Count,
    /// Adds `add` to a counter named `key`, reports progress once, holds for `hold_ms`, returns the counter.
    Tally,
    /// Allocates `mib` MiB and keeps them.
    Allocate,
    /// Answers after `ms` milliseconds.
    Sleep,
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
}

/// What the user wants to run. Empty fields select everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Families, scenario ids, scenario names, or whole cell ids.
    pub filters: Vec<String>,
    /// Only cells of these affinities, and those that do not vary with it.
    pub affinities: Vec<Affinity>,
    /// Only cells of these transports, and those that do not vary with it.
    pub transports: Vec<Transport>,
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
}

/// A filter that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scenario or cell is called `{filter}`{}", nearest.as_ref().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default())]
pub struct UnknownFilter {
    /// What the user wrote.
    pub filter: String,
    /// The nearest thing that exists, when one is near.
    pub nearest: Option<String>,
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
    for filter in &selection.filters {
        if !all.iter().any(|(_, cell)| cell.is_named(filter)) {
            return Err(UnknownFilter { filter: filter.clone(), nearest: nearest(filter, &all) });
        }
    }
    let planned = all
        .into_iter()
        .filter(|(_, cell)| selection.admits(cell))
        .map(|(outline, cell)| Planned { cell, lacks: first_lack(outline, &cell, offers) })
        .collect();
    Ok(planned)
}

// === impl Selection ===

impl Selection {
    fn admits(&self, cell: &Cell) -> bool {
        let named = self.filters.is_empty() || self.filters.iter().any(|filter| cell.is_named(filter));
        let affinity = admits_axis(&self.affinities, cell.affinity);
        let transport = admits_axis(&self.transports, cell.transport);
        named && affinity && transport
    }
}

// === impl Offers ===

impl Offers {
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
        scenario_fits && variant.is_none_or(|variant| variant == self.variant())
    }
}

/// `family/scenario@affinity-transport`: the cell's one name, in reports, baselines and file names.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant();
        if variant.is_empty() { f.write_str(self.scenario) } else { write!(f, "{}@{variant}", self.scenario) }
    }
}

// === names of the axes and needs ===

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Sse => "sse",
            Transport::Streamable => "streamable",
            Transport::Stateless => "stateless",
        })
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Affinity::Off => "off",
            Affinity::ClientIp => "client-ip",
        })
    }
}

impl Transport {
    /// Every transport, the oldest first.
    pub const ALL: [Transport; 3] = [Transport::Sse, Transport::Streamable, Transport::Stateless];
}

impl Tool {
    /// Every part a tool can play.
    pub const ALL: [Tool; 6] =
        [Tool::Whoami, Tool::Echo, Tool::Count, Tool::Tally, Tool::Allocate, Tool::Sleep];
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::Whoami => "whoami",
            Tool::Echo => "echo",
            Tool::Count => "count",
            Tool::Tally => "tally",
            Tool::Allocate => "allocate",
            Tool::Sleep => "sleep",
        })
    }
}

impl FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Tool::ALL.map(|tool| tool.to_string()).join(", ");
        Tool::ALL
            .into_iter()
            .find(|tool| tool.to_string() == text)
            .ok_or_else(|| format!("no scenario needs a tool `{text}`; known are {}", known()))
    }
}

/// Reads after "needs": `needs 2 replicas`, `needs tool whoami`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Replicas(n) => write!(f, "{n} replicas"),
            Need::Speaks(transport) => write!(f, "transport {transport}"),
            Need::Tool(tool) => write!(f, "tool {tool}"),
            Need::HeldCall => f.write_str("tool tally or sleep"),
            Need::ReadinessAsks => f.write_str("a readiness probe that asks the hub (`--ready-path`)"),
            Need::Aim => f.write_str("a way to reach one replica"),
            Need::Affinity => f.write_str("control of the Service's affinity"),
            Need::Routed => f.write_str("a way to tell which replica answered"),
            Need::KillProcess => f.write_str("a way to kill a replica's process"),
            Need::SignalProcess => f.write_str("a way to signal a replica's process"),
            Need::DeletePod => f.write_str("a way to delete a pod"),
            Need::Scale => f.write_str("a Deployment to scale"),
            Need::Rollout => f.write_str("a Deployment to roll"),
        }
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

fn admits_axis<T: PartialEq>(wanted: &[T], value: Option<T>) -> bool {
    wanted.is_empty() || value.is_none_or(|value| wanted.contains(&value))
}

fn first_lack(outline: &Outline, cell: &Cell, offers: &Offers) -> Option<Need> {
    let by_cell = [cell.transport.map(Need::Speaks), cell.affinity.map(|_| Need::Affinity)];
    by_cell.into_iter().flatten().chain(outline.needs.iter().copied()).find(|need| !offers.meets(*need))
}

fn nearest(filter: &str, all: &[(&Outline, Cell)]) -> Option<String> {
    let names = all.iter().flat_map(|(_, cell)| {
        [cell.to_string(), cell.scenario.to_owned(), cell.name().to_owned(), cell.family().to_owned()]
    });
    let (score, name) = names
        .map(|name| (strsim::jaro_winkler(filter, &name), name))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (score > 0.6).then_some(name)
}
