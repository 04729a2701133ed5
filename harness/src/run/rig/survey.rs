//! The look at a hub before anything is planned: does it start, which way leads to it, what does it speak, which tools has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::look::{Look, Looking};
use super::surveyed::{SURVEY, Surveyed};
use super::tools::Tools;
use super::{Place, REFERENCE_IMAGE, Rig, RigError, calls, listening, ready, rehearsal, target};
use crate::cluster::Condition;
use crate::cluster::backend::Cluster;
use crate::cluster::manifest::{Manifests, ProbeKind};
use crate::plan::{Cell, Need, Transport};
use crate::run::Setup;
use crate::transcript::{Path, Recorder, Transcript, What};

/// How often a hub may end by itself before the survey gives up on it.
const ENDINGS: u32 = 2;

impl Rig {
    /// Looks at the hub once, with one replica: which of these transports it speaks, and which tools it has. What stands in the way
    /// of a transport that the hub had begun to speak, that was asked for by name, or of all of them, is a finding, and the cells
    /// behind it do not apply.
    ///
    /// # Errors
    ///
    /// [`RigError`] when the input is wrong (no such program, nothing listens), or when the harness could not tell.
    pub async fn survey(&mut self, wanted: &[Transport], by_name: bool) -> Result<Surveyed, RigError> {
        let began = Instant::now();
        let recorder = Recorder::new(self.secrets());
        self.start_observing().await?;
        // A probe that the hub fails would end it before it is looked at.
        self.pace.without = vec![ProbeKind::Startup, ProbeKind::Liveness];
        let looked = self.looked_at(wanted, by_name, &recorder).await;
        let mut looked = self.with_flags(looked, wanted, by_name, &recorder).await;
        if let Err(RigError::ListensElsewhere { fixed_port, .. }) = &looked
            && self.give_networks(*fixed_port)
        {
            match self.looked_at(wanted, by_name, &recorder).await {
                // It needs another machine to start, or has several ports: what was seen before says more.
                Err(error) if !matches!(error, RigError::LoopbackOnly { .. }) => {
                    tracing::debug!("in a network of its own: {error}");
                    self.take_networks();
                }
                found => looked = found,
            }
        }
        self.measured.alone = self.times_of(&recorder);
        self.pace.without = Vec::new();
        let looked = looked.map(|(surveyed, failing)| {
            self.pace.without = failing;
            surveyed
        });
        if let Ok(surveyed) = &looked {
            self.tools = surveyed.tools.clone();
            self.offers.has.extend(self.tools.needs());
            self.offers.withheld.clone_from(self.tools.withheld());
            self.noted.extend(self.tools.notes().iter().cloned());
            self.noted.extend(self.limit_line());
            self.offers.has.extend(surveyed.offers.iter().copied());
            self.offers.barred.extend(surveyed.barred.iter().map(|(transport, need)| (*transport, *need)));
            self.has_long_list = surveyed.has_long_list;
            let (listens, says_goodbye) =
                (self.offers.meets(Need::GetAnswered), self.offers.meets(Need::DeleteAnswered));
            let dialect = Arc::make_mut(&mut self.dialect);
            (dialect.listens, dialect.says_goodbye) = (listens, says_goodbye);
        }
        // Without a way to the hub nothing could be counted, and each question would count against a rate limit.
        if looked.as_ref().is_ok_and(|surveyed| surveyed.nothing_spoken().is_none()) {
            self.count_replicas().await;
        }
        let header = self.header(Cell { scenario: SURVEY, affinity: None, transport: None }, 1);
        let transcript = Transcript { header, entries: recorder.entries() };
        match looked {
            Ok(surveyed) => Ok(surveyed.told(&self.evidence, &transcript, began.elapsed())),
            Err(error) => {
                if !transcript.entries.is_empty() {
                    Surveyed::keep(&self.evidence, &transcript);
                }
                Err(error)
            }
        }
    }

    /// Where the survey's transcript is, if one was written.
    pub fn survey_file(&self) -> Option<PathBuf> {
        Some(self.evidence.join(format!("{SURVEY}.jsonl"))).filter(|file| file.is_file())
    }

    pub(super) async fn looked_at(
        &mut self,
        wanted: &[Transport],
        by_name: bool,
        recorder: &Recorder,
    ) -> Result<(Surveyed, Vec<ProbeKind>), RigError> {
        if let Some(fault) = self.manifests().and_then(Manifests::service_fault) {
            return Ok((Surveyed::without_a_way(ready::of_service(&fault), wanted), Vec::new()));
        }
        let cluster = self.up(1, None, &Setup::ORDINARY, recorder).await?;
        let mut offers = Vec::new();
        offers.extend(cluster.tells_routes().await.then_some(Need::Routed));
        offers.extend(cluster.evicts().then_some(Need::Evictions));
        let surveyed = self.survey_on(&cluster, wanted, by_name, recorder).await;
        let failing =
            if surveyed.is_ok() { self.failing_probes(&cluster, recorder).await } else { Vec::new() };
        let listening = listening::listening(&cluster);
        self.leave_out_unserved(&cluster).await;
        cluster.down().await;
        let mut surveyed = self.heard_at(listening, surveyed)?;
        surveyed.offers.extend(offers);
        Ok((surveyed, failing))
    }

    async fn survey_on(
        &self,
        cluster: &Cluster,
        wanted: &[Transport],
        by_name: bool,
        recorder: &Recorder,
    ) -> Result<Surveyed, RigError> {
        let not_ready = tokio::select! {
            ready = cluster.wait(&Condition::Ready(1), self.timeouts.ready) => ready.err().map(RigError::NotReady),
            // What ends as soon as it is started will not become ready, however long it is waited for.
            () = keeps_ending(cluster) => {
                let seen = cluster.wait(&Condition::Ready(1), Duration::ZERO).await;
                Some(RigError::KeepsEnding(seen.err().map(|unmet| unmet.last_seen).unwrap_or_default()))
            }
            () = self.until_elsewhere(cluster) => {
                cluster.wait(&Condition::Ready(1), Duration::ZERO).await.err().map(RigError::NotReady)
            }
        };
        if let Some(error) = not_ready {
            return match ready::obstacle(&recorder.entries(), &error, self.manifests()) {
                Some(obstacle) => Ok(Surveyed::without_a_way(obstacle, wanted)),
                None => Err(ready::with_latest_probe(&recorder.entries(), error)),
            };
        }
        let target = target(Path::Service, cluster.service());
        let mut looks = Vec::new();
        for transport in wanted {
            let source = cluster.client_address(looks.len()).await.ok().flatten();
            looks.push(Look::new(self.survey_client(*transport, source, recorder), *transport));
        }
        let looking = Looking::new(self, &target, recorder);
        looking.until_decided(&mut looks).await;
        let is_ours = self.is_ours(&looking);
        let listed = looking.listed();
        let mut tools = Tools::cast(&listed, &self.asked, is_ours);
        let spoken = looks.iter().find(|look| look.is_spoken()).map(Look::transport);
        if spoken.is_some() && !looking.lists_in_parts() {
            self.asked.are_listed(&listed)?;
        }
        if let Some(transport) = spoken.filter(|_| !is_ours) {
            let replica = cluster.replicas().into_iter().next().map(|replica| replica.name);
            let client = self.survey_client(transport, None, recorder);
            rehearsal::rehearse(&mut tools, &client, transport, &target, replica).await;
            rehearsal::ask_for_none(&mut tools, &client, transport, &target).await;
            rehearsal::at_once(&tools, &client, transport, &target).await;
            let calls = calls::to_try(listed.values(), self.asked.calls());
            rehearsal::try_calls(&mut tools, calls, &client, transport, &looking, &target).await;
        }
        let is_decided = looks.iter().all(Look::is_spoken);
        // Then what was heard, or not, was not the hub.
        if let Some(reason) = broken(recorder).filter(|_| !is_decided) {
            return Err(RigError::NoWay(reason));
        }
        let mut surveyed = Surveyed::of(looks.into_iter().map(Look::into_parts).collect(), by_name)?;
        surveyed.has_long_list = looking.has_long_list();
        surveyed.tools = tools;
        Ok(surveyed)
    }
}

impl Rig {
    /// Whether the hub's tools are those that we wrote, which may be called: it was started as the reference hub, or it runs where we
    /// did not start it, or from manifests with the image of ours, and calls itself so.
    fn is_ours(&self, looking: &Looking<'_>) -> bool {
        let may_be = match &self.place {
            Place::Local(hub) => hub.manifests.image() == Some(REFERENCE_IMAGE) && hub.deployed.is_some(),
            Place::Kind(_) | Place::Kube(_) | Place::Url { .. } => true,
        };
        self.place.is_reference() || may_be && looking.is_called_ours()
    }
}

// === helpers ===

/// Returns when the only replica has ended by itself several times.
async fn keeps_ending(cluster: &Cluster) {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while cluster.replicas().iter().all(|replica| replica.restarts < ENDINGS) {
        look.tick().await;
    }
}

/// Why it was not the hub that failed, when it was not.
fn broken(recorder: &Recorder) -> Option<String> {
    recorder.latest(
        |_| false,
        |entry| match &entry.what {
            What::Broken { reason } => Some(reason.clone()),
            _ => None,
        },
    )
}
