//! The commands `up` and `down`: the KIND cluster without a run.

use std::io::{self, Write};

use super::bad_input::CommandError;
use super::interrupt::Interrupts;
use super::{KindArgs, Place, exit};
use crate::cluster::kind::{Kind, KindError};
use crate::run::kind_hub::{Hurry, Keep, KindHub};
use crate::run::rig::RigError;
use crate::run::rig::error::kind_hint;

/// Makes the cluster and brings the hub's image into it.
pub(super) fn up(args: &KindArgs) -> Result<u8, CommandError> {
    let run = super::run::run_name();
    let hub = KindHub::new(None, args.image.clone(), None, Vec::new(), run, Keep::Cluster);
    let hub = hub.map_err(|error| CommandError::usage(error.to_string()))?.on(&args.place.cluster);
    block_on(async {
        let mut interrupts = Interrupts::heard()?;
        let prepared = tokio::select! {
            prepared = hub.prepare(&say) => prepared.map_err(|error| super::run::rig_error(RigError::from(error))),
            () = interrupts.next() => Err(interrupted()),
        };
        // Relays are of a run; a cluster that is half made is of no use.
        let finished = tokio::select! {
            finished = hub.finish(Hurry::No) => finished,
            () = interrupts.next() => return Err(interrupted().hint("`hubcheck down` removes what is left")),
        };
        prepared?;
        finished.map_err(failed)?;
        let kubeconfig = Kind::kubeconfig_path(&args.place.cluster).map_err(failed)?;
        say(&format!("the cluster is up: kubectl --kubeconfig {}", kubeconfig.display()));
        Ok(exit::CONFORMS)
    })
}

/// Removes the cluster, and everything else of ours that nobody uses.
pub(super) fn down(place: &Place) -> Result<u8, CommandError> {
    block_on(async {
        let mut interrupts = Interrupts::heard()?;
        let removed = tokio::select! {
            removed = Kind::remove(&place.cluster, None) => removed,
            () = interrupts.next() => return Err(interrupted()),
        };
        removed.map_err(failed)?;
        say(&format!("cluster {} and everything else of ours is gone", place.cluster));
        Ok(exit::CONFORMS)
    })
}

/// The name of a KIND cluster, as `kind` takes it.
pub(super) fn cluster_name(given: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if given.is_empty() || !given.bytes().all(fits) {
        return Err("a cluster's name is made of a to z, 0 to 9, `.` and `-`".to_owned());
    }
    Ok(given.to_owned())
}

fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    runtime.block_on(work)
}

fn interrupted() -> CommandError {
    CommandError { message: "interrupted".to_owned(), hint: None, code: exit::INTERRUPTED }
}

fn failed(error: KindError) -> CommandError {
    let code = match &error {
        KindError::InUse { .. } | KindError::NotOurs(_) => exit::USAGE,
        _ => exit::INCONCLUSIVE,
    };
    CommandError { message: error.to_string(), hint: kind_hint(&error), code }
}

fn say(line: &str) {
    // Without a terminal to say it to there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
