//! A command line that does not listen where it was asked to: does its `--help` list flags that make it listen, or does it speak MCP over
//! its standard input and output?

use std::time::Duration;

use serde_json::{Value, json};

use super::flags::Flags;
use super::surveyed::Surveyed;
use super::{Place, Rig, RigError};
use crate::cluster::environment::harness_environment;
use crate::cluster::manifest::ProbeKind;
use crate::cluster::process::{self, Launching};
use crate::cluster::supervisor::Place as Namespaces;
use crate::plan::Transport;
use crate::transcript::{PodChange, Recorder, What};
use crate::wire;

/// How long a program may take to print its help, or to answer on its standard output: launchers fetch what they start.
const ANSWERS: Duration = Duration::from_secs(20);

/// The same for a program that listens, though not where it was asked to: if it heeds no `--help`, it is up and runs for ever.
const LISTENS: Duration = Duration::from_secs(10);

/// Gives a program one line, and an input that stays open behind it.
const ONE_LINE: &str = r#"{ printf '%s\n' "$0"; exec tail -f /dev/null; } | { "$@"; kill $$; }"#;

/// The version of MCP that it is asked for; it may answer with another.
const ASKED: &str = "2025-11-25";

/// What a survey comes to.
type Looked = Result<(Surveyed, Vec<ProbeKind>), RigError>;

impl Rig {
    /// What the survey came to; where the hub of a command line never became ready, once more with the flags that its `--help` lists. What
    /// was tried is said.
    pub(super) async fn with_flags(
        &mut self,
        looked: Looked,
        wanted: &[Transport],
        by_name: bool,
        recorder: &Recorder,
    ) -> Looked {
        let exit = latest_exit(recorder);
        let may_help = !has_been_ready(recorder) && may_want_flags(&looked, exit);
        let Some(argv) = self.command_line().filter(|_| may_help) else { return looked };
        let listens =
            matches!(looked, Err(RigError::ListensElsewhere { .. } | RigError::LoopbackOnly { .. }));
        let limit = if listens { LISTENS } else { ANSWERS };
        let help = self.printed([&argv[..], &["--help".to_owned()]].concat(), limit, |_| false).await;
        let flags = Flags::listed_in(&help, &argv, wanted);
        if !flags.is_empty() {
            self.start_as(flags.added_to(&argv));
            let again = self.looked_at(wanted, by_name, recorder).await;
            if is_usable(&again) {
                self.noted.push(format!(
                    "the command line alone did not listen at HOST and PORT: `{}` was added, which its `--help` lists",
                    flags.typed()
                ));
                return again;
            }
            self.start_as(argv.clone());
        }
        // A server whose input ends, ends well.
        let may_speak = !listens && matches!(exit, None | Some(0));
        if may_speak && self.speaks_stdio(&argv).await {
            let tried = if flags.is_empty() { None } else { Some(flags.typed()) };
            return Err(RigError::SpeaksStdio { command: shell_words::join(&argv), tried });
        }
        looked
    }

    /// The words that start the hub, where the user gave them.
    fn command_line(&self) -> Option<Vec<String>> {
        let Place::Local(local) = &self.place else { return None };
        if local.is_reference {
            return None;
        }
        let image = local.manifests.image().unwrap_or_default();
        let launch = local.launches.iter().find(|(name, _)| name == image);
        launch.map(|(_, launch)| launch.argv.clone())
    }

    fn start_as(&mut self, argv: Vec<String>) {
        let Place::Local(local) = &mut self.place else { return };
        let image = local.manifests.image().unwrap_or_default().to_owned();
        for (_, launch) in local.launches.iter_mut().filter(|(name, _)| *name == image) {
            launch.argv.clone_from(&argv);
        }
    }

    /// Whether the program answers a request that comes on its standard input.
    async fn speaks_stdio(&self, argv: &[String]) -> bool {
        let params = wire::initialize_asking(ASKED);
        let asked =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string();
        let shell = ["sh", "-c", ONE_LINE].map(str::to_owned);
        let printed = self.printed([&shell[..], &[asked], argv].concat(), ANSWERS, is_answer).await;
        printed.lines().any(is_answer)
    }

    /// What a program prints until it ends, a line of it says enough, or its time is over; nothing of it is left then.
    async fn printed(&self, argv: Vec<String>, limit: Duration, is_enough: fn(&str) -> bool) -> String {
        let Place::Local(local) = &self.place else { return String::new() };
        let launching = Launching {
            supervisor: local.supervisor.clone(),
            order: process::plain_order(&argv, Namespaces::Shared),
            env: harness_environment().into_iter().chain(local.env.iter().cloned()).collect(),
            cwd: None,
        };
        process::printed(&launching, limit, is_enough).await
    }
}

// === helpers ===

/// Whether some replica has become ready.
fn has_been_ready(recorder: &Recorder) -> bool {
    let ready = |what: &What| matches!(what, What::Pod { change: PodChange::Ready, .. }).then_some(());
    recorder.latest(|_| false, |entry| ready(&entry.what)).is_some()
}

/// With which code the process ended last, if it has ended.
fn latest_exit(recorder: &Recorder) -> Option<i32> {
    let code = |what: &What| match what {
        What::Pod { change: PodChange::Terminated { exit_code, .. }, .. } => Some(*exit_code),
        _ => None,
    };
    // A process that is stopped in the end was not ending by itself.
    let stopped = |what: &What| matches!(what, What::Pod { change: PodChange::Terminating, .. });
    let entries = recorder.entries();
    entries.iter().take_while(|entry| !stopped(&entry.what)).filter_map(|entry| code(&entry.what)).last()
}

/// Whether a flag may be what is missing: the hub did not listen where it was asked to, and did not fail in its own words. A command
/// line that lacks an argument ends with code 2.
fn may_want_flags(looked: &Looked, exit: Option<i32>) -> bool {
    match looked {
        Ok((surveyed, _)) => surveyed.keeps_ending() && matches!(exit, Some(0 | 2)),
        Err(RigError::KeepsEnding(_) | RigError::NotReady(_)) => matches!(exit, None | Some(0 | 2)),
        Err(RigError::ListensElsewhere { .. } | RigError::LoopbackOnly { .. }) => true,
        Err(_) => false,
    }
}

fn is_usable(looked: &Looked) -> bool {
    looked.as_ref().is_ok_and(|(surveyed, _)| surveyed.nothing_spoken().is_none())
}

/// Whether this line is the answer to `initialize`.
fn is_answer(line: &str) -> bool {
    let answer: Value = serde_json::from_str(line.trim()).unwrap_or_default();
    answer["jsonrpc"] == "2.0" && answer["id"] == 1 && answer["result"]["protocolVersion"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_initialize_shows_that_a_program_speaks_mcp() {
        assert!(is_answer(
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#
        ));
        assert!(!is_answer(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#), "an echo");
        assert!(!is_answer("INFO Starting MCP server"));
    }
}
