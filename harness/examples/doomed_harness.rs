//! A harness for a test to kill: runs two replicas that leave processes behind, says `ready`, and waits for SIGINT.
//!
//! Arguments: a variable for every process and its value, the supervisor, the server; then, when it is not to wait to be
//! killed, `panic`: it panics as soon as its standard input ends.

use std::io::Write;
use std::time::Duration;

use harness::cluster::Condition;
use harness::cluster::local::{Launch, Local, Spec};
use harness::cluster::manifest::Manifests;
use harness::transcript::Recorder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("an argument is missing");
    let (name, value, supervisor, server) = (next()?, next()?, next()?, next()?);
    let mut manifests = Manifests::embedded()?;
    manifests.append_args(["--litter"]);
    let mut spec = Spec::new(manifests, supervisor);
    spec.launches.push(("mcp-hub:dev".to_owned(), Launch { argv: vec![server], cwd: None }));
    spec.env.push((name, value));
    let cluster = Local::up(spec, Recorder::new([])).await?;
    cluster.wait(&Condition::Ready(2), Duration::from_secs(10)).await?;
    // Heard from before anyone is told to go on, and also where a shell started us with SIGINT ignored.
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    writeln!(std::io::stdout(), "ready")?;
    if args.next().as_deref() == Some("panic") {
        std::io::read_to_string(std::io::stdin())?;
        panic!("as it was asked to");
    }
    interrupt.recv().await;
    Ok(())
}
