//! `just strangers`: hubcheck against the faults and the hubs of other people, held against a committed table of right verdicts.
//!
//!     strangers [--quick] [--cases DIR] [ROW..]
//!
//! Runs each row of `scenarios/expected/strangers.toml`. The servers of the rows are in DIR, which is `../shared/cases` unless
//! STRANGERS_CASES names another folder; public hubs come from PyPI and npm (pinned versions), into a cache below the target folder.
//! `--quick` runs the rows that take under 4 minutes together. Exits 0 when every row is right.

#![expect(clippy::print_stdout, reason = "a program of its own, whose output is its result")]

mod beside;
#[path = "../peers/built.rs"]
mod built;
#[expect(dead_code, reason = "`just peers` uses the rest")]
#[path = "../peers/peer.rs"]
mod peer;
mod row;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context;
use beside::Beside;
use peer::{Peer, Registry};
use row::{Ran, Row};

/// Where the servers of the rows are, unless an argument or STRANGERS_CASES says something else.
const CASES: &str = "../shared/cases";

/// What the rows need of PyPI.
const PYPI: Peer = Peer {
    name: "strangers-pypi",
    title: "the Python servers of the rows",
    registry: Registry::PyPi("hub_fastmcp.py"),
    runs: &[],
};

/// The flags that allow the tools of the cases' servers to be called: they do no harm, and are not marked as read-only.
const OF_CASES: &[&str] =
    &["--tool", "whoami", "--tool", "echo", "--tool", "count", "--tool", "tally", "--tool", "sleep"];

/// The hubs of npm.
const NPM: Peer =
    Peer { name: "strangers-npm", title: "public hubs of npm", registry: Registry::Npm(None), runs: &[] };

struct Args {
    is_quick: bool,
    cases: PathBuf,
    names: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = args()?;
    let rows = row::read().map_err(anyhow::Error::msg)?;
    if let Some(unknown) = args.names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
        let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        anyhow::bail!("no row is called `{unknown}`; known are {}", known.join(", "));
    }
    let is_wanted = |row: &Row| match args.names.as_slice() {
        [] => row.quick || !args.is_quick,
        names => names.contains(&row.name),
    };
    let rows: Vec<Row> = rows.into_iter().filter(is_wanted).collect();
    let bench = Bench::new(&args.cases, &rows)?;
    let began = Instant::now();
    let mut wrong_rows = 0;
    println!("{:9} {:>5} {:>7}  row", "", "exit", "time");
    for row in &rows {
        let ran = bench.run(row)?;
        let wrong = row.wrong(&ran);
        let word = if wrong.is_empty() { "right" } else { "WRONG" };
        let code = ran.code.map_or("-".to_owned(), |code| code.to_string());
        println!("{word:9} {code:>5} {:>5.0} s  {}", ran.took.as_secs_f64(), row.name);
        for why in &wrong {
            println!("{:24} {why}", "");
        }
        wrong_rows += usize::from(!wrong.is_empty());
    }
    let (right, all, took) = (rows.len() - wrong_rows, rows.len(), began.elapsed().as_secs_f64());
    println!(
        "{right} of {all} rows are right ({took:.0} s); what hubcheck said is in {}",
        bench.logs.display()
    );
    Ok(if wrong_rows == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the rows stand on.
struct Bench {
    hubcheck: PathBuf,
    logs: PathBuf,
    cases: String,
    /// What stands in place of `{name}` in the command lines of rows.
    words: Vec<(&'static str, String)>,
}

impl Bench {
    /// Installs what these rows need.
    fn new(cases: &Path, rows: &[Row]) -> anyhow::Result<Self> {
        let (hubcheck, cache) = built::hubcheck_and_cache()?;
        let logs = cache.join("strangers");
        std::fs::create_dir_all(&logs)?;
        let is_named = |word: &str| rows.iter().any(|row| row.lines().any(|line| line.contains(word)));
        for (word, packages) in [("{python}", &PYPI), ("{npm}", &NPM), ("{typescript}", &NPM)] {
            if is_named(word) {
                packages.install(&cache)?;
            }
        }
        let orders = logs.join("orders.py");
        if is_named("{orders}") {
            std::fs::write(&orders, any_port(&std::fs::read_to_string(cases.join("orders/server.py"))?))?;
        }
        // Beside the packages that it imports.
        let typescript = cache.join(NPM.name).join("hub.mjs");
        if is_named("{typescript}") {
            for (from, to) in [("ts1/hub.mjs", "hub.mjs"), ("tools.mjs", "tools.mjs")] {
                std::fs::copy(peer::folder().join(from), cache.join(NPM.name).join(to))?;
            }
        }
        let python = cache.join(PYPI.name).join("bin/python");
        let npm = cache.join(NPM.name).join("node_modules");
        let words = [
            ("{python}", &python),
            ("{npm}", &npm),
            ("{orders}", &orders),
            ("{typescript}", &typescript),
            ("{cases}", &cases.to_owned()),
            ("{peers}", &peer::folder()),
        ];
        let words = words.map(|(word, path)| (word, path.display().to_string()));
        Ok(Self { hubcheck, logs, cases: cases.display().to_string(), words: words.into() })
    }

    fn run(&self, row: &Row) -> anyhow::Result<Ran> {
        let stem: String = row
            .name
            .chars()
            .map(|character| if character.is_alphanumeric() { character } else { '-' })
            .collect();
        let report = self.logs.join(format!("{stem}.json"));
        drop(std::fs::remove_file(&report));
        let beside: Vec<String> = row.beside.iter().map(|line| self.filled_in(line)).collect();
        let beside = Beside::start(&beside).with_context(|| format!("row `{}`", row.name))?;
        let line = self.filled_in(&row.run).replace("{url}", &format!("http://127.0.0.1:{}", beside.port));
        let began = Instant::now();
        let output = Command::new(&self.hubcheck)
            .args(["run", "-v"])
            .args(
                shell_words::split(&line)
                    .with_context(|| format!("the command line of row `{}`", row.name))?,
            )
            .args(if row.run.contains("{cases}") { OF_CASES } else { &[] })
            .args(["--report", &format!("json={}", report.display())])
            .arg("--evidence")
            .arg(self.logs.join("transcripts"))
            .output()
            .context("hubcheck starts")?;
        std::fs::write(self.logs.join(format!("{stem}.log")), &output.stderr)?;
        let said = without(&String::from_utf8_lossy(&output.stderr), &self.cases);
        let found = row::found(&report, "check").map_err(anyhow::Error::msg)?;
        let causes = row::found(&report, "cause").map_err(anyhow::Error::msg)?.into_iter().collect();
        Ok(Ran { code: output.status.code(), took: began.elapsed(), found, causes, said })
    }

    /// A command line with the folders of this machine.
    fn filled_in(&self, line: &str) -> String {
        self.words.iter().fold(line.to_owned(), |line, (word, path)| line.replace(word, path))
    }
}

/// What was said, without the lines that repeat the command line: names of folders are no words of hubcheck.
fn without(said: &str, folder: &str) -> String {
    said.lines().filter(|line| !line.contains(folder)).collect::<Vec<_>>().join("\n")
}

/// `orders` has its port fixed, as in its image; two processes on one machine need two.
fn any_port(server: &str) -> String {
    server
        .replace("host=\"0.0.0.0\"", "host=os.environ[\"HOST\"]")
        .replace("port=8000", "port=int(os.environ[\"PORT\"])")
}

fn args() -> anyhow::Result<Args> {
    let cases = std::env::var_os("STRANGERS_CASES").map_or_else(|| PathBuf::from(CASES), PathBuf::from);
    let mut given = Args { is_quick: false, cases, names: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => given.is_quick = true,
            "--cases" => given.cases = words.next().context("`--cases` needs a folder")?.into(),
            _ => given.names.push(word),
        }
    }
    given.cases = given.cases.canonicalize().with_context(|| {
        format!(
            "the servers of the rows are not in {}: give their folder with `--cases DIR`, or as STRANGERS_CASES",
            given.cases.display()
        )
    })?;
    Ok(given)
}
