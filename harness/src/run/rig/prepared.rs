//! Replicas for the cells of the quick profile: all of them start at once, and how long they take is measured on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::measure::Started;
use super::{Place, Rig, RigError};
use crate::plan::{Affinity, Cell, Planned};
use crate::run::shared::{Shared, leaves_replicas_alone};
use crate::run::{Begins, Probes, Scenario, Setup};
use crate::transcript::measured::Times;

/// The slowest answer that the probes of these replicas allow for. They start before anything was measured beside others; no cell of the
/// profile waits for a probe to fail.
const ALLOWED: Duration = Duration::from_millis(500);

/// A cluster to be started.
struct Wanted {
    replicas: usize,
    affinity: Affinity,
    cells: Vec<Cell>,
}

impl Rig {
    /// Starts the replicas that these cells run on, all at once, and measures how long they take. To be called after [`Rig::survey`],
    /// in place of [`Rig::measure`]. A cell for which there is none gets its own when it runs.
    ///
    /// # Errors
    ///
    /// [`RigError`] when a cluster cannot be started.
    pub async fn prepare(
        &mut self,
        catalog: &[&Scenario],
        planned: &[Planned],
    ) -> Result<Vec<Arc<Shared>>, RigError> {
        self.pace.slowest = self.measured.slowest_answer().max(ALLOWED);
        let probes = |rig: &Self| rig.manifests().and_then(|manifests| manifests.quickened(&rig.pace));
        let asked = probes(self);
        let wanted = self.wanted(catalog, planned);
        let mut prepared = Vec::new();
        let mut replicas = 0;
        for started in join_all(wanted.into_iter().map(|wanted| self.start(wanted))).await {
            let (shared, times) = started?;
            self.measured.beside = self.measured.beside.or_slower(times);
            replicas += shared.cluster().replicas().len();
            prepared.push(Arc::new(shared));
        }
        self.measured.replicas = replicas;
        self.conclude();
        self.pace.slowest = self.pace.slowest.max(ALLOWED);
        if asked != probes(self) {
            // Slower than was allowed for: these replicas would be judged by probes that no other cell has.
            join_all(prepared.drain(..).map(Shared::down)).await;
        }
        Ok(prepared)
    }

    /// Whether replicas can be started before the cells that run on them.
    pub fn can_prepare(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// The clusters that these cells need: one for each number of replicas and each affinity, and one for each cell that changes it.
    fn wanted(&self, catalog: &[&Scenario], planned: &[Planned]) -> Vec<Wanted> {
        let mut common: BTreeMap<(usize, Affinity), Vec<Cell>> = BTreeMap::new();
        let mut own = Vec::new();
        for cell in planned.iter().filter(|planned| planned.lacks.is_none()).map(|planned| planned.cell) {
            let Some(scenario) = catalog.iter().find(|scenario| scenario.outline.id == cell.scenario) else {
                continue;
            };
            let replicas = self.replicas_of(Some(scenario));
            let affinity = cell.affinity.unwrap_or(self.offers.deployed.affinity());
            if !self.is_ordinary(&scenario.setup, replicas, affinity) {
                continue;
            }
            if leaves_replicas_alone(scenario) {
                common.entry((replicas, affinity)).or_default().push(cell);
            } else {
                own.push(Wanted { replicas, affinity, cells: vec![cell] });
            }
        }
        let common =
            common.into_iter().map(|((replicas, affinity), cells)| Wanted { replicas, affinity, cells });
        common.chain(own).collect()
    }

    /// Whether a scenario's cluster is the ordinary one of so many replicas.
    fn is_ordinary(&self, setup: &Setup, replicas: usize, affinity: Affinity) -> bool {
        let Some(given) = self.manifests() else { return false };
        let (mut ordinary, mut here) = (given.clone(), given.clone());
        self.fit(&mut ordinary, replicas, Some(affinity), &Setup::ORDINARY);
        self.fit(&mut here, replicas, Some(affinity), setup);
        setup.begins == Begins::AllReady
            && setup.probes == Probes::Quickened
            && ordinary.differences(&here).is_empty()
    }

    async fn start(&self, wanted: Wanted) -> Result<(Shared, Times), RigError> {
        let Wanted { replicas, affinity, cells } = wanted;
        // Of a cluster that was not ready in time the cells wait again.
        let Started { cluster, recorder, times, clients } = self.started(replicas, affinity).await?;
        Ok((Shared::new(cells, cluster, recorder, clients), times))
    }
}
