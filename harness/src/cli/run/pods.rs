//! Hubs whose replicas are pods, from the command line.

use clap::ValueEnum;

use super::super::RunArgs;
use super::super::bad_input::CommandError;
use super::rigged::name_value;
use super::{build, manifests, path_arg, rig_error};
use crate::cluster::kubernetes::Context;
use crate::cluster::manifest::Manifests;
use crate::run::kind_hub::{Keep, KindHub};
use crate::run::kube_hub::{KubeGiven, KubeHub};

/// A hub whose pods run on a KIND cluster of this machine.
pub(super) fn kind_hub(args: &RunArgs, run_name: &str) -> Result<KindHub, CommandError> {
    let (manifests, ready_path, env) = of_pods(args)?;
    let built = args.build.as_deref().map(build::image).transpose()?;
    let image = args.image.clone().or(built);
    let keep = if args.keep { Keep::Cluster } else { Keep::Found };
    let hub = KindHub::new(manifests, image, ready_path.as_deref(), env, run_name.to_owned(), keep);
    Ok(hub.map_err(rig_error)?.on(&args.place.cluster).relayed_by(args.relay_image.clone()))
}

/// A hub whose pods run on a cluster that is not ours.
pub(super) fn kube_hub(args: &RunArgs, run_name: &str) -> Result<KubeHub, CommandError> {
    let (manifests, ready_path, env) = of_pods(args)?;
    let Some(name) = args.context.clone() else {
        return Err(CommandError::usage("`--backend kube` runs only on a cluster that is named").hint(
            "give `--context NAME`, one of `kubectl config get-contexts`: the current one is not taken for granted",
        ));
    };
    let given = KubeGiven {
        context: Context { kubeconfig: args.kubeconfig.clone(), name },
        manifests,
        image: args.image.clone(),
        relay_image: args.relay_image.clone(),
        ready_path,
        env,
        apply: args.apply.clone(),
    };
    KubeHub::new(given, run_name.to_owned()).map_err(rig_error)
}

type OfPods = (Option<Manifests>, Option<String>, Vec<(String, String)>);

/// The manifests, the ready path and the environment of a hub whose replicas are pods.
fn of_pods(args: &RunArgs) -> Result<OfPods, CommandError> {
    if args.hub.command.is_some() || !args.hub.image_command.is_empty() {
        let backend =
            args.backend.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        return Err(CommandError::usage(format!("`--backend {backend}` runs images, not command lines"))
            .hint(format!("give `--image IMAGE`, or leave out `--backend {backend}`")));
    }
    let manifests = manifests::manifests(&args.hub, args.image.as_deref())?;
    if let Some(manifests) = &manifests {
        manifests.mounts_are_there().map_err(|error| manifests::of_manifests(&error))?;
    }
    let ready_path = args.hub.ready_path.as_deref().map(|path| path_arg("--ready-path", path)).transpose()?;
    let env = args.hub.env.iter().map(|given| name_value("--env", given)).collect::<Result<Vec<_>, _>>()?;
    Ok((manifests, ready_path, env))
}
