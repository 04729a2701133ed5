//! Containers of the image, made by testcontainers as a careful user makes them: nothing to write to, no capability, a
//! memory limit.

use std::time::Duration;

use harness::cluster::kubernetes::{LABEL_MANAGED_BY, LABEL_RUN, MANAGER};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::wait::{ExitWaitStrategy, HttpWaitStrategy};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, Image, ImageExt};
use tokio::runtime::Handle;

use crate::client::http;

/// The port that the image exposes.
const PORT: u16 = 8000;

/// How long a container may take to become ready, or to end when it cannot: a real one takes less than a second.
const START: Duration = Duration::from_secs(30);

/// The memory limit, unless a case needs another: a fifth of it would do.
const MEMORY: i64 = 64 << 20;

/// The secrets that `kind/deployment.yaml` asks for.
const SECRETS: [&str; 3] = ["POSTGRES_PASSWORD", "QDRANT_API_KEY", "NEO4J_PASSWORD"];

/// Seals session ids, the same in every container.
const KEY: &str = "placeholder-not-a-secret-32bytes";

/// The image, and the run that its containers are of.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    pub(crate) reference: String,
    pub(crate) run: String,
}

/// The image as testcontainers takes it.
#[derive(Debug)]
pub(crate) struct HubImage {
    name: String,
    tag: String,
    ready: WaitFor,
}

pub(crate) type Container = ContainerAsync<HubImage>;
pub(crate) type Request = ContainerRequest<HubImage>;

// === impl Hub ===

impl Hub {
    pub(crate) fn new(reference: &str, run: &str) -> Self {
        Self { reference: reference.to_owned(), run: run.to_owned() }
    }

    /// A container with everything that it needs; started, it is ready.
    pub(crate) fn complete(&self) -> Request {
        let bare = self.bare(WaitFor::http(ready_at("/readyz"))).with_env_var("SESSION_KEY", KEY);
        SECRETS.iter().fold(bare, |request, name| request.with_env_var(*name, "placeholder"))
    }

    /// A container that cannot become ready; started, it has ended.
    pub(crate) fn without(&self, missing: &str) -> Request {
        let bare = self.bare(WaitFor::exit(ExitWaitStrategy::new()));
        let given = SECRETS.iter().chain(&["SESSION_KEY"]).filter(|name| **name != missing);
        given.fold(bare, |request, name| request.with_env_var(*name, KEY))
    }

    fn bare(&self, ready: WaitFor) -> Request {
        let (name, tag) = self.reference.rsplit_once(':').expect("our images have a tag");
        let image = HubImage { name: name.to_owned(), tag: tag.to_owned(), ready };
        let request = image
            .with_readonly_rootfs(true)
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges")
            .with_startup_timeout(START)
            .with_env_var("REQUIRED_SECRETS", SECRETS.join(","))
            // By these the next run finds what a killed one left.
            .with_label(LABEL_MANAGED_BY, MANAGER)
            .with_label(LABEL_RUN, &self.run);
        limited(request, MEMORY)
    }
}

/// The same with so many bytes of memory, swap included.
pub(crate) fn limited(request: Request, bytes: i64) -> Request {
    request.with_host_config_modifier(move |config| {
        config.memory = Some(bytes);
        config.memory_swap = Some(bytes);
    })
}

/// Starts a container. One after the other: see [`agree_on_version`].
pub(crate) async fn started(request: Request) -> Container {
    request.start().await.unwrap_or_else(|error| panic!("the container does not start: {error}"))
}

/// Where a container is reached from here.
pub(crate) async fn url(container: &Container) -> String {
    let host = container.get_host().await.expect("Docker is somewhere").to_string();
    let port = container.get_host_port_ipv4(PORT).await.expect("the image exposes its port");
    // The port is that of IPv4, and `localhost` may be another one's at IPv6.
    let host = if host == "localhost" { "127.0.0.1" } else { &host };
    format!("http://{host}:{port}")
}

fn ready_at(path: &str) -> HttpWaitStrategy {
    HttpWaitStrategy::new(path).with_port(PORT.tcp()).with_client(http()).with_expected_status_code(200_u16)
}

// === impl HubImage ===

impl Image for HubImage {
    fn name(&self) -> &str {
        agree_on_version();
        &self.name
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        vec![self.ready.clone()]
    }
}

/// testcontainers 0.28 speaks API 1.53 whatever Docker speaks, and one that is older refuses that. All holders of its
/// client share one version, and it is made anew when nobody holds it: here, in the middle of a start, somebody does.
/// This blocks the task, and asks for a lock that another start in the same task might hold.
fn agree_on_version() {
    tokio::task::block_in_place(|| {
        Handle::current().block_on(async {
            let docker = docker_client_instance().await.expect("there is a Docker");
            docker.negotiate_version().await.expect("Docker tells its version");
        });
    });
}
