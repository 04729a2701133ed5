//! What a person reads who wants to know why a cell did not pass: beside its transcript, in a folder of its own.
//!
//! Most of it is the transcript told for people; what only the live cluster knows ([`Cluster::described`]) is asked for
//! before the cell's cluster goes.
//!
//! [`Cluster::described`]: crate::cluster::backend::Cluster::described

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::check::{Finding, Verdict};
use crate::cluster::Page;
use crate::transcript::{Entry, Transcript, What};

/// Writes the evidence of a cell, or of what else has a transcript of this name; the folder in which it is.
///
/// # Errors
///
/// What the operating system says.
pub(super) fn write(
    transcripts: &Path,
    verdict: Verdict,
    findings: &[Finding],
    transcript: &Transcript,
    name: &str,
    live: Vec<Page>,
) -> std::io::Result<PathBuf> {
    let folder = transcripts.join(name);
    let mut pages = told(&transcript.entries);
    pages.extend(live);
    let names: Vec<String> = pages.iter().map(|page| page.name.clone()).collect();
    pages.push(Page { name: "summary.txt".to_owned(), text: summary(verdict, findings, transcript, &names) });
    for page in pages {
        let path = folder.join(&page.name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, page.text)?;
    }
    Ok(folder)
}

/// The page to begin with.
fn summary(verdict: Verdict, findings: &[Finding], transcript: &Transcript, pages: &[String]) -> String {
    let header = &transcript.header;
    let mut text = format!(
        "{}: {verdict}\n{} replicas of {} on {}\n",
        header.cell, header.replicas, header.hub, header.backend
    );
    for finding in findings {
        let at = finding.at.map(|at| format!(" at #{at}")).unwrap_or_default();
        let _ = write!(
            text,
            "\n{} ({})\n  expected: {}\n    actual: {}{at}\n    remedy: {}\n",
            finding.requirement, finding.check, finding.expected, finding.actual, finding.remedy
        );
    }
    let _ = write!(text, "\nHere:\n  {}\n", pages.join("\n  "));
    let _ = writeln!(text, "`#N` is the entry of that number in the transcript, {}.jsonl.", header.cell);
    text
}

/// What the transcript has of the cluster, for people.
fn told(entries: &[Entry]) -> Vec<Page> {
    let (mut timeline, mut events, mut endpoints) = (String::new(), String::new(), String::new());
    let mut logs: BTreeMap<&str, String> = BTreeMap::new();
    for entry in entries {
        let at = format!("{:>9.3} s  #{:<5}", entry.at_us as f64 / 1e6, entry.seq);
        let line = match &entry.what {
            What::Log { pod, line } => {
                let _ = writeln!(logs.entry(pod).or_default(), "{at}{line}");
                continue;
            }
            What::Event { object, reason, message } => {
                let line = format!("event  {reason} {object}: {message}");
                let _ = writeln!(events, "{at}{reason} {object}: {message}");
                line
            }
            What::Endpoints { ready } => {
                let ready = if ready.is_empty() { "none".to_owned() } else { ready.join(", ") };
                let _ = writeln!(endpoints, "{at}{ready}");
                format!("endpoints  {ready}")
            }
            What::Pod { pod, change } => format!("pod  {pod} {change:?}"),
            What::Exited { pod, at_us } => {
                format!("pod  {pod}'s process ended at {:.3} s", *at_us as f64 / 1e6)
            }
            What::Sigterm { pod, main, is_pid_1, below } => {
                let place = if *is_pid_1 { " as PID 1" } else { "" };
                let below: Vec<&str> = below.iter().map(|process| process.command.as_str()).collect();
                format!("pod  {pod} is sent SIGTERM: {}{place}; below it: {below:?}", main.command)
            }
            What::Processes { pod, when, running, unreaped } => {
                format!(
                    "pod  {pod} has {running} processes, and {unreaped} that ended and wait for their parent: {when}"
                )
            }
            What::Fault(fault) => format!("fault  {fault:?}"),
            What::Awaited { condition, took_ms, unmet } => match unmet {
                None => format!("waited  {took_ms} ms: {condition}"),
                Some(seen) => format!("waited  {took_ms} ms in vain: {condition}; last seen: {seen}"),
            },
            What::Step { name } => format!("step  {name}"),
            What::Symptom { symptom, told: Some(told), took_ms, .. } => {
                let by = told.pod.as_deref().unwrap_or("the Deployment");
                format!(
                    "symptom  {symptom}, told after {took_ms} ms by {by}: {}: {}",
                    told.reason, told.message
                )
            }
            What::Symptom { symptom, told: None, took_ms, instead, .. } => {
                let instead = instead.as_deref().unwrap_or("nothing");
                format!("symptom  {took_ms} ms in vain: {symptom}; seen instead: {instead}")
            }
            What::Session { client, owner, .. } => {
                let owner = owner.as_deref().unwrap_or("a replica that is not known");
                format!("client {client}  has a session on {owner}")
            }
            What::SessionEnded { client, .. } => format!("client {client}  ended its session"),
            What::NoSession { client, why } => format!("client {client}  {why}"),
            What::NotBroughtAbout { reason } => format!("not brought about  {reason}"),
            What::Broken { reason } => format!("broken off  {reason}"),
            _ => continue,
        };
        let _ = writeln!(timeline, "{at}{line}");
    }
    let mut pages: Vec<Page> =
        logs.into_iter().map(|(pod, text)| Page { name: format!("logs/{pod}.txt"), text }).collect();
    for (name, text) in
        [("timeline.txt", timeline), ("events.txt", events), ("endpoints-over-time.txt", endpoints)]
    {
        if !text.is_empty() {
            pages.push(Page { name: name.to_owned(), text });
        }
    }
    pages
}
