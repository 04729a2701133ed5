//! What keeps a verdict from being known, whatever the checks found.

use super::{Finding, NO_LUCK, Verdict};
use crate::transcript::{Transcript, What};

/// Every reason why a transcript cannot be judged.
pub(super) fn reasons(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    broken(transcript).chain(lucky(transcript)).chain(untold(transcript))
}

/// Why the scenario was not driven to its end.
fn broken(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Broken { reason } => Some(Finding {
            requirement: "the scenario is driven to its end".to_owned(),
            expected: "every step of the scenario".to_owned(),
            remedy: "look at the transcript's last entries".to_owned(),
            ..could_not_tell(entry.seq, reason.clone())
        }),
        _ => None,
    })
}

/// What may have passed by luck.
fn lucky(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Luck { of, probability } if *probability >= NO_LUCK => Some(Finding {
            requirement: "no verdict rests on luck".to_owned(),
            expected: format!("a chance below {NO_LUCK:.0e}"),
            remedy: "aim at replicas, or send more requests".to_owned(),
            ..could_not_tell(entry.seq, format!("{of}: {probability:.1e}"))
        }),
        _ => None,
    })
}

/// What only an event tells, and none came: that proves nothing about the hub.
fn untold(transcript: &Transcript) -> impl Iterator<Item = Finding> + '_ {
    transcript.entries.iter().filter_map(|entry| match &entry.what {
        What::Symptom { symptom, told: None, .. } if !symptom.is_a_state() => Some(Finding {
            requirement: "the cluster tells what is wrong".to_owned(),
            expected: format!("an event {symptom}"),
            remedy: "kubelet: raise `eventRecordQPS` and `eventBurst`, or run fewer cells at once (`--jobs`)"
                .to_owned(),
            ..could_not_tell(
                entry.seq,
                "no such event came: a kubelet keeps back or drops what goes past its rate".to_owned(),
            )
        }),
        _ => None,
    })
}

/// A reason for being inconclusive.
pub(crate) fn could_not_tell(seq: u32, actual: String) -> Finding {
    Finding {
        check: "could-not-tell".to_owned(),
        verdict: Verdict::Inconclusive,
        level: None,
        requirement: String::new(),
        source: "harness".to_owned(),
        expected: String::new(),
        actual,
        at: Some(seq),
        remedy: String::new(),
        cause: None,
    }
}
