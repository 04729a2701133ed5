//! What a run has to work with: the hub, where its replicas run, and what both offer.

mod budget;
pub(crate) mod calls;
mod command_line;
pub(super) mod deployed;
pub(crate) mod error;
mod experiment;
mod flags;
mod listening;
mod local_hub;
mod look;
mod measure;
mod observed;
mod offers;
mod prepared;
mod probed;
mod ready;
mod rehearsal;
pub(crate) mod secrets;
mod seen;
mod serving;
mod survey;
pub(crate) mod surveyed;
mod tools;
mod url;
mod way;

use std::path::PathBuf;
use std::sync::Arc;

use self::budget::Budget;
use self::tools::{Asked, Tools};
use super::kind_hub::{Hurry, KindHub, Phase};
use super::kube_hub::KubeHub;
use super::{Scenario, Setup, Told};
use crate::check::Strictness;
use crate::cluster::backend::{Address, Cluster};
use crate::cluster::isolation;
use crate::cluster::kind::KindError;
use crate::cluster::kubernetes::Observer;
use crate::cluster::local::{Local, Spec};
use crate::cluster::manifest::{Manifests, Pace};
use crate::plan::{Affinity, Cell, Need, Offers, Tool, Transport};
use crate::timeouts::{self, SETTLE_REAL, Timeouts};
use crate::transcript::measured::Measured;
use crate::transcript::{FORMAT, Header, Path, Recorder, Secret};
use crate::wire::{Dialect, Target};

pub use crate::cluster::kubernetes::{Observed, Somewhere};
pub use calls::NamedCall;
pub use error::RigError;
pub use local_hub::LocalHub;
pub(super) use secrets::secret_env;
pub use surveyed::Surveyed;
pub use url::RunningHub;

/// The image of the reference hub in the manifests of `kind/`.
pub const REFERENCE_IMAGE: &str = "mcp-hub:dev";

/// The hub under test.
pub enum Hub {
    /// Replicas that we run as processes.
    Local(Box<LocalHub>),
    /// Replicas that are pods of a KIND cluster.
    Kind(Box<KindHub>),
    /// Replicas that are pods of a cluster that is not ours.
    Kube(Box<KubeHub>),
    /// A hub that is already running.
    Url(Box<RunningHub>),
}

/// Everything a run has to work with.
pub struct Rig {
    /// The hub, as the user named it.
    pub hub: String,
    /// How many replicas a cell begins with.
    pub replicas: usize,
    /// Whether a MUST that the field ignores fails.
    pub strictness: Strictness,
    /// What hub and backend offer; complete after [`Rig::survey`].
    pub offers: Offers,
    /// Every limit.
    pub timeouts: Arc<Timeouts>,
    /// How cells ask the manifests' probes.
    pub pace: Pace,
    /// How long the hub takes; complete after [`Rig::measure`].
    pub measured: Measured,
    /// Where transcripts are written.
    pub evidence: PathBuf,
    /// An origin whose pages may call the hub from a browser, where the user names one.
    pub origin: Option<String>,
    pub(super) dialect: Arc<Dialect>,
    /// Whether the user said how many replicas there are.
    replicas_are_asked: bool,
    /// What the survey saw that is worth a line.
    noted: Vec<String>,
    /// Which pods are to be read that stand behind the URL.
    observing: Option<(Somewhere, Observed)>,
    /// What reads them, once the survey has begun.
    observer: Option<Observer>,
    /// Whether the hub's list of tools is too long for small requests.
    pub(super) has_long_list: bool,
    asked: Asked,
    tools: Tools,
    /// How often tools may be called that are only marked as read-only.
    budget: Budget,
    place: Place,
}

enum Place {
    Local(Box<LocalHub>),
    Kind(Box<KindHub>),
    Kube(Box<KubeHub>),
    Url { address: Address, secrets: Vec<Secret>, has_path: bool },
}

// === impl Rig ===

impl Rig {
    /// A rig whose hub has not been looked at yet.
    ///
    /// # Errors
    ///
    /// [`RigError::Url`] for a URL that names no reachable address.
    pub fn new(
        hub: Hub,
        replicas: usize,
        dialect: Dialect,
        mut timeouts: Timeouts,
        tools: Vec<(Tool, String)>,
        evidence: PathBuf,
    ) -> Result<Self, RigError> {
        let (name, place) = match hub {
            Hub::Local(local) => (local.name.clone(), Place::Local(local)),
            Hub::Kind(hub) => (hub.name.clone(), Place::Kind(hub)),
            Hub::Kube(hub) => (hub.name.clone(), Place::Kube(hub)),
            Hub::Url(hub) => {
                let address = hub.address(timeouts.connect)?;
                (hub.origin(), Place::Url { address, secrets: hub.secrets(), has_path: hub.path().is_some() })
            }
        };
        let mut offers = Offers { replicas, has: place.offers(), ..Offers::default() };
        offers.has.extend(dialect.authorization().map(|_| Need::Token));
        if matches!(place, Place::Kind(_) | Place::Kube(_)) {
            timeouts.settle = timeouts.settle.max(SETTLE_REAL);
        }
        timeouts.way = timeouts::way(place.backend_name());
        Ok(Self {
            hub: name,
            replicas: offers.replicas,
            strictness: Strictness::Ordinary,
            offers,
            timeouts: Arc::new(timeouts),
            pace: Pace::default(),
            measured: Measured::default(),
            evidence,
            origin: None,
            dialect: Arc::new(dialect),
            replicas_are_asked: false,
            noted: Vec::new(),
            observing: None,
            observer: None,
            has_long_list: false,
            asked: Asked::new(tools),
            budget: Budget::of(matches!(place, Place::Url { .. })),
            tools: if place.is_reference() { Tools::of_reference() } else { Tools::default() },
            place,
        })
    }

    /// Takes this number of replicas for what the user says there is, and not for a default.
    #[must_use]
    pub fn with_asked_replicas(self, are_asked: bool) -> Self {
        Self { replicas_are_asked: are_asked, ..self }
    }

    /// The same hub, which pages of this origin may call from a browser.
    pub fn allow_origin(&mut self, origin: String) {
        self.origin = Some(origin);
        self.offers.has.insert(Need::Origin);
    }

    /// How the requests of a cell look, and the origin that its hub allows: the reference hub is told both by the scenario.
    pub(super) fn manners(&self, setup: &Setup) -> (Arc<Dialect>, Option<String>) {
        let told = if self.place.is_reference() { setup.reference } else { Told::default() };
        let dialect = told.token.map(|token| Arc::new(self.dialect.authorized(&format!("Bearer {token}"))));
        let origin = told.origin.map(str::to_owned).or_else(|| self.origin.clone());
        (dialect.unwrap_or_else(|| Arc::clone(&self.dialect)), origin)
    }

    /// A cell's own cluster, not yet ready.
    pub(super) async fn cluster_up(
        &self,
        cell: Cell,
        scenario: &Scenario,
        recorder: &Recorder,
    ) -> Result<Cluster, RigError> {
        self.up(self.replicas_of(Some(scenario)), cell.affinity, &scenario.setup, recorder).await
    }

    /// What must not be recorded.
    pub fn secrets(&self) -> Vec<Secret> {
        let headers = self.dialect.headers.iter();
        let mut secrets: Vec<Secret> =
            headers.flat_map(|(name, value)| secrets::of_header(name, value)).collect();
        secrets.extend(
            [&self.dialect.sse_path, &self.dialect.mcp_path]
                .into_iter()
                .flat_map(|path| secrets::of_path(path)),
        );
        secrets.extend(self.manifests().into_iter().flat_map(Manifests::secret_values));
        secrets.extend(match &self.place {
            Place::Local(hub) => secret_env(&hub.env),
            Place::Kind(hub) => hub.secret_env.clone(),
            Place::Kube(hub) => hub.secret_env.clone(),
            Place::Url { secrets, .. } => secrets.clone(),
        });
        secrets
    }

    /// The header of a cell's transcript.
    pub(super) fn header(&self, cell: Cell, replicas: usize) -> Header {
        let tools = Tool::ALL.into_iter().filter(|tool| self.offers.meets(Need::Tool(*tool)));
        Header {
            format: FORMAT,
            cell: cell.to_string(),
            scenario: cell.scenario.to_owned(),
            affinity: cell.affinity,
            transport: Some(self.transport(cell)),
            backend: self.backend_name().to_owned(),
            hub: self.hub.clone(),
            replicas,
            tools: tools.map(|tool| tool.to_string()).collect(),
            echo: self.tools.echo().clone(),
            measured: self.measured,
            deployed: self.offers.deployed.clone(),
            what_if: None,
            edits: Vec::new(),
        }
    }

    /// The manifests, before any scenario edits them.
    pub(super) fn manifests(&self) -> Option<&Manifests> {
        match &self.place {
            Place::Local(hub) => Some(&hub.manifests),
            Place::Kind(hub) => Some(&hub.manifests),
            Place::Kube(hub) => Some(&hub.manifests),
            Place::Url { .. } => None,
        }
    }

    /// The transport that the clients of a cell speak.
    pub(super) fn transport(&self, cell: Cell) -> Transport {
        let spoken = [Transport::Streamable, Transport::Sse, Transport::Stateless];
        let spoken = || spoken.into_iter().find(|transport| self.offers.meets(Need::Speaks(*transport)));
        cell.transport.or_else(spoken).unwrap_or(Transport::Streamable)
    }

    /// Where the replicas run.
    pub fn backend_name(&self) -> &'static str {
        self.place.backend_name()
    }

    /// Where the time of the run went, cells aside; nothing where there is no more to it.
    pub fn phases(&self) -> Vec<Phase> {
        match &self.place {
            Place::Kind(hub) => hub.phases(),
            Place::Local(_) | Place::Kube(_) | Place::Url { .. } => Vec::new(),
        }
    }

    /// Ends what the run made beside its cells.
    ///
    /// # Errors
    ///
    /// [`KindError`] when something of it stays.
    pub async fn finish(&self, hurry: Hurry) -> Result<(), KindError> {
        match &self.place {
            Place::Kind(hub) => hub.finish(hurry).await,
            Place::Kube(hub) => {
                hub.finish(hurry).await;
                Ok(())
            }
            Place::Local(_) | Place::Url { .. } => Ok(()),
        }
    }

    /// With what that goes which [`Rig::finish`] did not end, for people.
    pub fn goes_with(&self) -> &'static str {
        match &self.place {
            Place::Kind(_) => "what is left in Docker goes with the next run, or with `hubcheck down`",
            Place::Kube(_) => "namespaces that are left go with the next run on that cluster",
            Place::Local(_) | Place::Url { .. } => "replicas end with this process",
        }
    }

    /// At which paths a hub was found that the user knows by its address alone; `None` for every other hub.
    pub fn found_at(&self) -> Option<String> {
        let Place::Url { has_path: false, .. } = &self.place else { return None };
        let speaks = |transport: &Transport| self.offers.meets(Need::Speaks(*transport));
        let named = |transports: &[Transport]| {
            let spoken: Vec<String> =
                transports.iter().filter(|one| speaks(one)).map(ToString::to_string).collect();
            (!spoken.is_empty()).then(|| spoken.join(", "))
        };
        let paths = [
            (&self.dialect.mcp_path, named(&[Transport::Streamable, Transport::Stateless])),
            (&self.dialect.sse_path, named(&[Transport::Sse])),
        ];
        let found: Vec<String> = paths
            .into_iter()
            .filter_map(|(path, spoken)| Some(format!("{} ({})", path.split('?').next()?, spoken?)))
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// What the survey saw that is worth a line.
    pub fn noted(&self) -> &[String] {
        &self.noted
    }

    /// What of the manifests was read otherwise than it stands there.
    pub fn remarks(&self) -> &[String] {
        self.manifests().map_or(&[], Manifests::remarks)
    }

    /// The typed edits of the manifests, and the fields that are not simulated, in a few lines.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.manifests().and_then(|manifests| manifests.quickened(&self.pace)).into_iter().collect();
        notes.extend(self.remarks().iter().cloned());
        notes.extend(self.measured_line());
        let local = match &self.place {
            Place::Local(local) => local,
            Place::Kind(_) | Place::Kube(_) | Place::Url { .. } => return notes,
        };
        if let Err(why) = isolation::tried(&local.supervisor) {
            notes.push(format!(
                "replicas are not PID 1 as in a pod ({why}): SIGTERM ends a replica that has no handler for it, and \
                 `exits-in-grace` reads from /proc whether it has one"
            ));
        }
        if let Some(port) = local.fixed_port {
            notes.push(format!(
                "the hub listens at port {port} whatever PORT says: each replica has a network of its own, from which it reaches no \
                 other machine, no other replica and no companion (`--backend kind` has no such limit)"
            ));
        }
        notes.extend(local.companions_noted());
        let ignored = local.manifests.not_simulated();
        if local.deployed.is_some() && !ignored.is_empty() {
            notes.push(format!("not simulated on local: {}", ignored.join(", ")));
        }
        notes
    }

    async fn up(
        &self,
        replicas: usize,
        affinity: Option<Affinity>,
        setup: &Setup,
        recorder: &Recorder,
    ) -> Result<Cluster, RigError> {
        let fit = |manifests: &mut Manifests| self.fit(manifests, replicas, affinity, setup);
        let local = match &self.place {
            Place::Local(local) => local,
            Place::Kind(hub) => {
                let cell = hub.cell(fit, recorder.clone()).await?;
                return Ok(Cluster::Kubernetes(Box::new(cell)));
            }
            Place::Kube(hub) => {
                let cell = hub.cell(fit, recorder.clone()).await?;
                return Ok(Cluster::Kubernetes(Box::new(cell)));
            }
            Place::Url { address, .. } => return Ok(Cluster::Fixed(address.clone())),
        };
        let spec = Self::spec(local, fit);
        recorder.mask_also(spec.manifests.secret_values());
        Ok(Cluster::Local(Local::up(spec, recorder.clone()).await?))
    }

    fn spec(local: &LocalHub, fit: impl FnOnce(&mut Manifests)) -> Spec {
        let mut manifests = local.manifests.clone();
        fit(&mut manifests);
        Spec {
            launches: local.launches.clone(),
            env: local.env.clone(),
            fixed_port: local.fixed_port,
            companions: local.companions.clone(),
            ..Spec::new(manifests, local.supervisor.clone())
        }
    }
}

// === helpers ===

/// Where cluster and wire meet: an address of the one is a target of the other.
pub(super) fn target(path: Path, address: Address) -> Target {
    Target { path, addr: address.addr, authority: address.authority, tls: address.tls }
}
