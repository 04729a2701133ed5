//! Only with HUBCHECK_BACKEND=kind (needs Docker; says so otherwise): the reference hub's image as a user's Docker runs it.
//!
//! No cluster is needed. It has no test harness, so that what ran and what did not is printed always.

#[path = "on_docker_image/client.rs"]
mod client;
#[path = "on_docker_image/container.rs"]
mod container;
#[path = "on_docker_image/docker.rs"]
mod docker;
#[path = "on_docker_image/runs.rs"]
mod runs;
#[path = "on_docker_image/stays.rs"]
mod stays;

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::cluster::kind::{Binaries, KindError, RunLock};
use tokio::runtime::Runtime;

use crate::container::Hub;

/// How long a case may take, starts of containers included, on a machine that does other things.
const CASE: Duration = Duration::from_secs(120);

/// What this run's name begins with; the number of its process follows.
pub(crate) const RUN: &str = "image";

/// The cluster that the lock of this run names: nobody makes it.
const NO_CLUSTER: &str = "hubcheck-image";

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type Case = (&'static str, fn(Hub) -> Running);

const CASES: &[Case] = &[
    ("it is small, not root, and holds two programs and nothing else", |hub| Box::pin(stays::contents(hub))),
    ("without its secrets it ends with one clear line", |hub| Box::pin(runs::secrets(hub))),
    ("locked down it becomes ready and answers", |hub| Box::pin(runs::answers(hub))),
    ("told to stop, it answers its calls, ends its stream and exits 0", |hub| Box::pin(runs::stops(hub))),
    ("past its memory limit it is killed for that", |hub| Box::pin(runs::memory(hub))),
    ("two on one network serve each other's sessions", |hub| Box::pin(runs::forwards(hub))),
    ("a case that panics leaves nothing", |hub| Box::pin(stays::panics(hub))),
];

fn main() -> ExitCode {
    let backend = std::env::var("HUBCHECK_BACKEND").unwrap_or_default();
    if backend != "kind" {
        not_run(&format!("HUBCHECK_BACKEND is `{backend}`, not `kind`"));
        return ExitCode::SUCCESS;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    match runtime.block_on(all()) {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            say(&format!("FAILED: {}", failed.join("; ")));
            ExitCode::FAILURE
        }
        Err(error) => {
            not_run("there is no image");
            say(&format!("FAILED: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Makes the image, runs the cases, and removes what they left; the names of those that failed.
async fn all() -> Result<Vec<&'static str>, KindError> {
    let began = Instant::now();
    // Other runs on this machine remove neither the image nor the containers of a run that goes on.
    let lock = RunLock::take(&format!("{RUN}{}", std::process::id()), NO_CLUSTER)?;
    let binaries = Binaries::build().await?;
    let image = binaries.image(&lock).await?;
    say(&format!("{} after {:.1} s", image.reference, began.elapsed().as_secs_f64()));
    let hub = Hub::new(&image.reference, lock.run());
    let mut failed = Vec::new();
    for (name, case) in CASES {
        if !passes(name, *case, &hub).await {
            failed.push(*name);
        }
    }
    stays::sweep(&lock).await?;
    Ok(failed)
}

/// Whether this case passes and leaves nothing.
async fn passes(name: &str, case: fn(Hub) -> Running, hub: &Hub) -> bool {
    let began = Instant::now();
    say(&format!("{name} .."));
    // In a task of its own a panic ends the case and nothing else.
    let ended = tokio::spawn(tokio::time::timeout(CASE, case(hub.clone()))).await;
    let left = stays::left(hub).await;
    let said = match ended {
        Err(panicked) => format!("FAILED: {name}: {panicked}"),
        Ok(Err(_)) => format!("FAILED: {name}: not over within {CASE:?}"),
        Ok(Ok(())) if !left.is_empty() => format!("FAILED: {name}: it left {left:?}"),
        Ok(Ok(())) => {
            say(&format!("ok: {name} ({:.1} s)", began.elapsed().as_secs_f64()));
            return true;
        }
    };
    say(&said);
    false
}

fn not_run(why: &str) {
    for (name, _) in CASES {
        say(&format!("not run: {name} ({why})"));
    }
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "on_docker_image: {line}");
}
