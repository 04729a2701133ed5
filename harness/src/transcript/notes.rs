//! What of a transcript is worth telling whatever the verdict is: what the cluster said, how long things took, and how probable it
//! is that luck had a part.

use super::{Symptom, Told, Transcript, What};

/// One line each, in order.
pub fn notes(transcript: &Transcript) -> Vec<String> {
    let mut notes = Vec::new();
    if !transcript.header.edits.is_empty() {
        notes.push(format!("this cell edits {}", transcript.header.edits.join("; ")));
    }
    for entry in &transcript.entries {
        match &entry.what {
            What::Symptom { symptom, told: Some(told), took_ms, .. } => {
                let (reason, message) = (&told.reason, told.message.trim());
                notes.push(format!("{reason} after {}: {message}", seconds(*took_ms)));
                notes.extend(last_words(transcript, *symptom, told));
            }
            What::Luck { of, probability } => notes.push(format!("by luck: {of}: {probability:.1e}")),
            What::Measured { what, took_ms, limit_ms } => {
                let limit =
                    limit_ms.map(|limit| format!(" (at most {})", seconds(limit))).unwrap_or_default();
                notes.push(format!("{what}: {}{limit}", seconds(*took_ms)));
            }
            What::LeftOut { frames, bytes, .. } => {
                notes.push(format!(
                    "{frames} events more ({} MB) came on a stream, and are not kept",
                    bytes / 1_000_000
                ));
            }
            What::Counted { what, count, of } => notes.push(format!("{what}: {count} of {of}")),
            _ => {}
        }
    }
    notes
}

/// The last line that a process printed which ends again and again. Memory that ran out ends one without a word.
fn last_words(transcript: &Transcript, symptom: Symptom, told: &Told) -> Option<String> {
    let ended = told.pod.as_ref().filter(|_| symptom == Symptom::CrashLoop)?;
    let line = transcript.entries.iter().rev().find_map(|entry| match &entry.what {
        What::Log { pod, line } if pod == ended => Some(line),
        _ => None,
    })?;
    Some(format!("its last line: {line}"))
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
