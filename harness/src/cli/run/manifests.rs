//! The manifests that flags point at.

use super::super::HubArgs;
use super::super::bad_input::CommandError;
use super::rigged::name_value;
use crate::cluster::companions::{GivenCompanion, Runs};
use crate::cluster::manifest::{Choice, ManifestError, Manifests};

/// The hub's manifests, when there are any. `image` is that of `--image`.
pub(super) fn manifests(args: &HubArgs, image: Option<&str>) -> Result<Option<Manifests>, CommandError> {
    let choice = choice(args, image)?;
    let read = match (args.manifests.as_slice(), &args.kustomize, &args.chart) {
        ([], None, None) => {
            is_of_use_without(args)?;
            return Ok(None);
        }
        ([], Some(folder), _) => Manifests::kustomized(folder, &choice),
        ([], None, Some(chart)) => Manifests::templated(chart, &args.values, &choice),
        (paths, _, _) => Manifests::read_for(paths, &choice),
    };
    read.map(Some).map_err(|error| of_manifests(&error))
}

/// An error of manifests for the user.
pub(super) fn of_manifests(error: &ManifestError) -> CommandError {
    CommandError { hint: error.hint(), ..CommandError::usage(error.to_string()) }
}

/// The companions of `--companion`.
pub(super) fn companions(given: &[String]) -> Result<Vec<GivenCompanion>, CommandError> {
    let parsed = given.iter().map(|given| {
        let (name, what) = name_value("--companion", given)?;
        let runs = Runs::parse(&what).map_err(|why| {
            CommandError::usage(format!("`--companion {name}=..`: {why}"))
                .hint("give a command line, such as `redis='redis-server --port {port}'`, or an address")
        })?;
        Ok(GivenCompanion { name, runs })
    });
    parsed.collect()
}

fn choice(args: &HubArgs, image: Option<&str>) -> Result<Choice, CommandError> {
    let mut images: Vec<String> = image.map(str::to_owned).into_iter().collect();
    for given in &args.image_command {
        images.push(name_value("--image-command", given)?.0);
    }
    Ok(Choice {
        deployment: args.deployment.clone(),
        service: args.service.clone(),
        container: args.container.clone(),
        images,
    })
}

/// A flag that chooses among manifests says nothing without them.
fn is_of_use_without(args: &HubArgs) -> Result<(), CommandError> {
    let given = [
        ("--image-command", !args.image_command.is_empty()),
        ("--deployment", args.deployment.is_some()),
        ("--service", args.service.is_some()),
        ("--container", args.container.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(CommandError::usage(format!("`{flag}` means nothing without manifests"))
            .hint("give them by `--manifests`, or a command line alone by `--command`")),
        None => Ok(()),
    }
}
