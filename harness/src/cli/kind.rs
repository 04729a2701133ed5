//! The commands `up` and `down`: the KIND cluster without a run.

use std::io::{self, Write};

use super::bad_input::CommandError;
use super::{KindArgs, exit};
use crate::cluster::kind::{Kind, KindError, RunLock};
use crate::run::kind_hub::{Hurry, Keep, KindHub};

/// Makes the cluster and brings the hub's image into it.
pub(super) fn up(args: &KindArgs) -> Result<u8, CommandError> {
    let run = super::run::run_name();
    let hub = KindHub::new(None, args.image.clone(), None, Vec::new(), run, Keep::Cluster);
    let hub = hub.map_err(|error| CommandError::usage(error.to_string()))?;
    block_on(async {
        let prepared = hub.prepare(&say).await;
        // Relays are of a run.
        let finished = hub.finish(Hurry::No).await;
        prepared.map_err(|error| CommandError::inconclusive(error.to_string()))?;
        finished.map_err(failed)?;
        say(&format!("the cluster is up: kubectl --kubeconfig {}", Kind::kubeconfig_path().display()));
        Ok(exit::CONFORMS)
    })
}

/// Removes the cluster, and everything else that is ours.
pub(super) fn down() -> Result<u8, CommandError> {
    block_on(async {
        if let Some(run) = RunLock::any() {
            let message = format!("run {run} is going on");
            return Err(CommandError::usage(message).hint("interrupt it first; it cleans up by itself"));
        }
        Kind::remove().await.map_err(failed)?;
        say("the cluster and everything else of ours is gone");
        Ok(exit::CONFORMS)
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::inconclusive(format!("starting the runtime: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = super::run::interrupted() => Err(CommandError {
                message: "interrupted".to_owned(),
                hint: None,
                code: exit::INTERRUPTED,
            }),
        }
    })
}

fn failed(error: KindError) -> CommandError {
    CommandError::inconclusive(error.to_string())
}

fn say(line: &str) {
    // Without a terminal to say it to there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
