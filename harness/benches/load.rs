//! Bringing an image into a KIND cluster, ours against `kind load docker-image`, by turns in one run: `just bench-load`.
//!
//! Needs Docker, `kind` and a cluster made with `hubcheck up`. The images are of random bytes, so that nothing of one
//! helps another; both they and what is in the nodes of them are removed at the end.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use harness::cluster::kind::{CLUSTER, Goes, Image, Kind, RunLock};

/// The size of the lowest layer, in MiB: together about what a Python hub has.
const BASE: u64 = 280;

/// The size of the top layer, in MiB.
const TOP: u64 = 4;

/// What the images are known by.
const LABEL: &str = "hubcheck-bench=load";

/// What is measured, and the most that ours may take of what `kind` takes.
const PARTS: [(&str, f64); 3] =
    [("for the first time", 1.0), ("when it is there", 0.1), ("when only the top layer changed", 0.25)];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let cluster = std::env::var("HUBCHECK_CLUSTER").unwrap_or_else(|_| CLUSTER.to_owned());
    let lock = Arc::new(RunLock::take(&format!("bench{}", std::process::id()), &cluster)?);
    let kind = Kind::up(lock, Goes::Never, &AtomicBool::new(false), &|line| println!("{line}")).await?;
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (name("ours"), name("theirs"));
    for image in [&ours, &theirs] {
        write_random(&folder.path().join(image.replace(':', "-")), BASE)?;
        build(folder.path(), image)?;
    }
    let mut rows = Vec::new();
    for (part, bar) in PARTS {
        if part.contains("changed") {
            for image in [&ours, &theirs] {
                build(folder.path(), image)?;
            }
        }
        settle()?;
        let began = Instant::now();
        kind.load(&Image { reference: ours.clone() }).await?;
        let took = began.elapsed();
        settle()?;
        let began = Instant::now();
        run(&["kind", "load", "docker-image", &theirs, "--name", &cluster])?;
        rows.push((part, bar, took, began.elapsed()));
    }
    settle()?;
    let began = Instant::now();
    save(&ours)?;
    let saved = began.elapsed();
    // As far as it goes: a node that is gone has nothing of it either.
    for node in nodes(&cluster)? {
        for image in [&ours, &theirs] {
            let full = format!("docker.io/library/{image}");
            let _ = run(&["docker", "exec", &node, "ctr", "--namespace=k8s.io", "images", "rm", &full]);
        }
    }
    for image in [&ours, &theirs] {
        run(&["docker", "rmi", "--force", image])?;
    }
    // Those that lost their name when they were built anew.
    run(&["docker", "image", "prune", "--force", "--filter", &format!("label={LABEL}")])?;
    println!("{:<34}{:>10}{:>12}{:>9}{:>8}", "an image of 290 MB", "ours", "kind load", "ratio", "bar");
    let mut is_over = false;
    for (part, bar, ours, theirs) in rows {
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let over = if ratio > bar { "  over" } else { "" };
        is_over |= ratio > bar;
        println!("{part:<34}{:>10}{:>12}{ratio:>9.2}{bar:>8.2}{over}", seconds(ours), seconds(theirs));
    }
    println!("Docker's own part, `docker save` to nowhere: {}; it gives no layer alone", seconds(saved));
    if is_over { Err("a bar was missed".into()) } else { Ok(()) }
}

fn name(part: &str) -> String {
    format!("bench-load-{part}:{}", std::process::id())
}

/// Builds the image anew: its base stays what it is, its top layer is random.
fn build(folder: &Path, image: &str) -> Result<(), Box<dyn Error>> {
    let base = image.replace(':', "-");
    write_random(&folder.join("top"), TOP)?;
    let text = format!("FROM scratch\nCOPY {base} /base\nCOPY top /top\n");
    std::fs::write(folder.join("Dockerfile"), text)?;
    run(&["docker", "build", "--quiet", "--label", LABEL, "--tag", image, &folder.display().to_string()])
}

fn write_random(path: &Path, mib: u64) -> std::io::Result<()> {
    let mut random = File::open("/dev/urandom")?.take(mib << 20);
    let mut file = File::create(path)?;
    std::io::copy(&mut random, &mut file)?;
    file.flush()
}

/// Waits until what was done before is on the disk: whoever is measured first would pay for it.
fn settle() -> Result<(), Box<dyn Error>> {
    run(&["sync"])
}

/// Reads the image out of Docker, as whoever loads it must.
fn save(image: &str) -> Result<(), Box<dyn Error>> {
    let status = Command::new("docker").args(["save", image]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("docker save {image}: {status}").into()) }
}

fn nodes(cluster: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new("kind").args(["get", "nodes", "--name", cluster]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn run(command: &[&str]) -> Result<(), Box<dyn Error>> {
    let output = Command::new(command[0]).args(&command[1..]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
