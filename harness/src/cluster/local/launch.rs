//! What runs as a container of these manifests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use tokio::net::TcpSocket;

use super::Launch;
use crate::cluster::Unrunnable;
use crate::cluster::image_name;
use crate::cluster::manifest::Manifests;

/// Whether the first container can be run here.
pub(crate) fn runnable(launches: &[(String, Launch)], manifests: &Manifests) -> Result<(), Unrunnable> {
    let name = manifests.deployment.metadata.name.clone().unwrap_or_default();
    let template = manifests.deployment.spec.as_ref().map(|spec| &spec.template);
    let (container, _) = template.and_then(container_and_grace).ok_or(Unrunnable::NoContainer(name))?;
    command(launches, manifests, container).map(drop)
}

/// The variable of a container that says how many seconds its process starts late: a fault that needs nothing of the hub.
pub(crate) const START_DELAY: &str = "HUBCHECK_START_DELAY";

/// The variable of a container that says that something else has its port.
pub(crate) const PORT_TAKEN: &str = "HUBCHECK_PORT_TAKEN";

/// Takes a container's port before its process starts, where its variables say so. Nothing listens there: whoever connects is refused.
pub(crate) fn taken_port(env: &[(String, String)], host: &str, port: u16) -> Option<TcpSocket> {
    env.iter().find(|(name, _)| name == PORT_TAKEN)?;
    let addr = SocketAddr::new(host.parse().ok()?, port);
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.ok()?;
    socket.bind(addr).ok()?;
    Some(socket)
}

/// Waits, and then becomes the process. Who is told to end meanwhile ends.
const LATE: &str = "trap 'exit 143' TERM; sleep \"$0\" & wait \"$!\"; exec \"$@\"";

/// What runs as this container, and where, at once or late.
pub(crate) fn command(
    launches: &[(String, Launch)],
    manifests: &Manifests,
    container: &Container,
) -> Result<(Vec<String>, Option<PathBuf>), Unrunnable> {
    let (argv, cwd) = at_once(launches, manifests, container)?;
    let delay = container.env.iter().flatten().find(|variable| variable.name == START_DELAY);
    let Some(delay) = delay.and_then(|variable| variable.value.clone()) else { return Ok((argv, cwd)) };
    let late = ["sh", "-c", LATE, &delay].map(str::to_owned).into_iter().chain(argv).collect();
    Ok((late, cwd))
}

/// What runs as this container, and where: a `command` that the harness set as it is, else the launch of its image,
/// which stands for the image's entrypoint and the `command` that the files had, else that `command`.
fn at_once(
    launches: &[(String, Launch)],
    manifests: &Manifests,
    container: &Container,
) -> Result<(Vec<String>, Option<PathBuf>), Unrunnable> {
    let image = container.image.clone().unwrap_or_default();
    let own = container.command.clone().filter(|command| !command.is_empty());
    let launch =
        launches.iter().find(|(name, _)| image_name::is_same(name, &image)).map(|(_, launch)| launch);
    let is_from_files = container.command == manifests.command_in_files;
    match (launch, own) {
        (Some(launch), Some(own)) if !is_from_files => Ok((own, launch.cwd.clone())),
        (Some(launch), _) => Ok((launch.argv.clone(), launch.cwd.clone())),
        (None, Some(own)) => Ok((own, None)),
        (None, None) => Err(Unrunnable::NoCommand { image, container: container.name.clone() }),
    }
}

/// The first container, and how long it may take to stop.
pub(crate) fn container_and_grace(template: &PodTemplateSpec) -> Option<(&Container, Duration)> {
    let spec = template.spec.as_ref()?;
    let grace = spec.termination_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Some((spec.containers.first()?, Duration::from_secs(grace.unwrap_or(30))))
}

/// What the cgroups of a pod are called.
#[cfg(target_os = "linux")]
pub(crate) fn cgroup_name(pod: &str) -> String {
    format!("{}{}-{pod}", crate::cluster::memory::PREFIX, std::process::id())
}

/// What the cgroups of a pod are called.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cgroup_name(pod: &str) -> String {
    pod.to_owned()
}
