//! `just peers`: hubcheck against servers that nobody here wrote, held against the committed verdicts.
//!
//!     peers [PEER..] [--jobs N] [--bless] [-- FILTER..]
//!
//! Installs each peer (pinned versions) into a cache below the target folder, runs its hub (`scenarios/peers/`) as two
//! replicas on `local`, and compares every cell with `scenarios/expected/peers.toml`. Exits 0 when all is as listed.
//! `--bless` also writes the summary into docs/evidence.md.

#![expect(clippy::print_stdout, reason = "a program of its own, whose output is its result")]

mod built;
mod peer;
mod summary;
mod verdicts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context;
use peer::{ALLOWED, PEERS, Peer};
use verdicts::{Told, Verdicts};

/// What runs without a FILTER: the families whose verdicts are listed for every peer.
const FAMILIES: &[&str] = &["routing", "sse", "streamable", "stateless", "session"];

struct Args {
    peers: Vec<&'static Peer>,
    jobs: Option<String>,
    bless: bool,
    filters: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = args()?;
    let began = Instant::now();
    let verdicts = Verdicts::read().map_err(anyhow::Error::msg)?;
    let bench = Bench::new()?;
    bench.install(&args.peers)?;
    println!("installed {} peers ({:.0} s)", args.peers.len(), began.elapsed().as_secs_f64());
    let mut ran = Vec::new();
    let mut as_listed = true;
    for peer in &args.peers {
        let cells = bench.run(peer, &args)?;
        let differences = verdicts.compare(peer.name, &cells);
        for unlike in &differences.unlike {
            println!("  UNLIKE {unlike}");
        }
        for stale in &differences.stale {
            println!("  STALE {stale}: passes, and is listed in scenarios/expected/peers.toml");
        }
        as_listed &= differences == verdicts::Differences::default();
        ran.push((*peer, cells));
    }
    println!("\n{}", summary::table(&ran));
    if args.bless {
        anyhow::ensure!(args.filters.is_empty() && ran.len() == PEERS.len(), "`--bless` is for whole runs");
        summary::write(&ran)?;
    }
    let outcome = if as_listed {
        "every verdict is as listed"
    } else {
        "verdicts differ from scenarios/expected/peers.toml"
    };
    println!("{outcome} ({:.0} s)", began.elapsed().as_secs_f64());
    Ok(if as_listed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a run of peers stands on.
struct Bench {
    hubcheck: PathBuf,
    cache: PathBuf,
    families: Vec<&'static str>,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let (hubcheck, cache) = built::hubcheck_and_cache()?;
        let declared = |family: &&str| {
            scenarios::CATALOG.iter().any(|scenario| scenario.outline.id.split('/').next() == Some(*family))
        };
        Ok(Self { hubcheck, cache, families: FAMILIES.iter().copied().filter(declared).collect() })
    }

    /// Installs them at the same time.
    fn install(&self, peers: &[&'static Peer]) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let installing: Vec<_> =
                peers.iter().map(|peer| scope.spawn(|| peer.install(&self.cache))).collect();
            for one in installing {
                one.join().map_err(|_| anyhow::anyhow!("installing panicked"))??;
            }
            Ok(())
        })
    }

    /// Runs every cell of a peer.
    fn run(&self, peer: &Peer, args: &Args) -> anyhow::Result<BTreeMap<String, Told>> {
        let mut all = BTreeMap::new();
        for (hub_args, transports) in peer.runs {
            let began = Instant::now();
            let stem = self.cache.join(format!("{}-{}", peer.name, transports.replace(',', "-")));
            let (report, told) = (stem.with_extension("json"), stem.with_extension("log"));
            drop(std::fs::remove_file(&report));
            let mut command = Command::new(&self.hubcheck);
            command.args(["run", "--command", &peer.command(&self.cache, hub_args)]);
            command.args(["--transport", transports, "--ready-path", "/healthz"]).args(ALLOWED);
            command.args(["--report", &format!("json={}", report.display())]);
            command.arg("--evidence").arg(self.cache.join("transcripts"));
            command.args(args.jobs.iter().flat_map(|jobs| ["--jobs", jobs]));
            match args.filters.as_slice() {
                [] => command.args(&self.families),
                filters => command.args(filters),
            };
            let output = command.output().context("hubcheck starts")?;
            std::fs::write(&told, &output.stderr)?;
            let cells = verdicts::cells(&report)
                .map_err(|why| anyhow::anyhow!("{why}\n{}", String::from_utf8_lossy(&output.stderr)))?;
            println!(
                "{} over {transports}: {} cells in {:.0} s; {}",
                peer.name,
                cells.len(),
                began.elapsed().as_secs_f64(),
                relative(&told).display(),
            );
            all.extend(cells);
        }
        Ok(all)
    }
}

fn args() -> anyhow::Result<Args> {
    let mut given = Args { peers: Vec::new(), jobs: None, bless: false, filters: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => given.filters.extend(words.by_ref()),
            "--bless" => given.bless = true,
            "--jobs" => given.jobs = Some(words.next().context("`--jobs` needs a number")?),
            name => {
                let known = PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
                let peer = PEERS.iter().find(|peer| peer.name == name);
                given
                    .peers
                    .push(peer.with_context(|| format!("no peer is called `{name}`; known are {known}"))?);
            }
        }
    }
    if given.peers.is_empty() {
        given.peers = PEERS.iter().collect();
    }
    Ok(given)
}

fn relative(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}
