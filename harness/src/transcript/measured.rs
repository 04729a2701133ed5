//! How long this hub takes on this machine, read from transcripts of the survey, and the limits that follow. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::{Call, History};
use super::{PodChange, Transcript, What};
use crate::timeouts::ANSWER;

/// A limit is no shorter than so many times the slowest answer that the survey saw.
pub const MULTIPLE: u32 = 10;

/// No limit grows to more than so many times the contract's: what takes longer than that nobody would wait for.
pub const MOST_STRETCH: f64 = 6.0;

/// The name of calls that the survey tries: what a tool takes by its nature says nothing of the hub's pace.
pub const TRIED: &str = "tried";

/// What the survey measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One replica by itself.
    pub alone: Times,
    /// Each of as many replicas as the run starts at once: the slowest of them.
    pub beside: Times,
    /// How many those were.
    pub replicas: usize,
}

/// The slowest that was seen of each, in milliseconds; 0 where nothing was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// From a pod's creation until it was ready.
    pub start_ms: u64,
    /// From a request until its answer.
    pub answer_ms: u64,
    /// From the order to stop until the process had ended.
    pub stop_ms: u64,
}

impl Times {
    /// What a transcript shows.
    pub fn seen_in(transcript: &Transcript) -> Self {
        let mut times = Self::default();
        let mut created: BTreeMap<&str, u64> = BTreeMap::new();
        let mut told: BTreeMap<&str, u64> = BTreeMap::new();
        let since =
            |from: Option<u64>, at_us: u64| from.map_or(0, |from| at_us.saturating_sub(from).div_ceil(1000));
        for entry in &transcript.entries {
            let What::Pod { pod, change } = &entry.what else { continue };
            let pod = pod.as_str();
            match change {
                PodChange::Created => drop(created.insert(pod, entry.at_us)),
                PodChange::Ready => {
                    times.start_ms = times.start_ms.max(since(created.remove(pod), entry.at_us))
                }
                PodChange::Terminating => drop(told.insert(pod, entry.at_us)),
                PodChange::Terminated { .. } => {
                    times.stop_ms = times.stop_ms.max(since(told.remove(pod), entry.at_us));
                }
                PodChange::Waiting { .. }
                | PodChange::Running { .. }
                | PodChange::NotReady
                | PodChange::Deleted => {}
            }
        }
        let history = History::new(transcript);
        let is_tried = |call: &Call<'_>| {
            history
                .exchanges
                .get(&call.exchange)
                .is_some_and(|own| own.request.probe.as_deref() == Some(TRIED))
        };
        let answers = history.calls.iter().filter(|call| !is_tried(call)).filter_map(Call::took);
        times.answer_ms =
            answers.max().map_or(0, |slowest| u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX));
        times
    }

    /// The slower of both in each.
    #[must_use]
    pub fn or_slower(self, other: Self) -> Self {
        Self {
            start_ms: self.start_ms.max(other.start_ms),
            answer_ms: self.answer_ms.max(other.answer_ms),
            stop_ms: self.stop_ms.max(other.stop_ms),
        }
    }
}

impl Measured {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The slowest answer that was seen.
    pub fn slowest_answer(&self) -> Duration {
        Duration::from_millis(self.alone.answer_ms.max(self.beside.answer_ms))
    }

    /// By what every limit grows: 1 where [`MULTIPLE`] times the slowest answer is within the contract's 5 s.
    pub fn stretch(&self) -> f64 {
        let needed = MULTIPLE * self.slowest_answer();
        (needed.as_secs_f64() / ANSWER.as_secs_f64()).clamp(1.0, MOST_STRETCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Entry, Header};

    fn measured(answer_ms: u64) -> Measured {
        Measured { beside: Times { answer_ms, ..Times::default() }, ..Measured::default() }
    }

    #[test]
    fn a_limit_is_the_contracts_or_ten_times_the_slowest_answer_and_has_an_end() {
        assert!((measured(0).stretch() - 1.0).abs() < f64::EPSILON);
        assert!((measured(500).stretch() - 1.0).abs() < f64::EPSILON);
        assert!((measured(1000).stretch() - 2.0).abs() < f64::EPSILON);
        assert!((measured(60_000).stretch() - MOST_STRETCH).abs() < f64::EPSILON);
    }

    #[test]
    fn start_and_stop_are_those_of_the_slowest_pod() {
        let pod = |pod: &str, change| What::Pod { pod: pod.to_owned(), change };
        let end = || PodChange::Terminated { reason: "Completed".to_owned(), exit_code: 0, by: None };
        let entries = [
            (0, pod("a", PodChange::Created)),
            (100_000, pod("b", PodChange::Created)),
            (400_000, pod("a", PodChange::Ready)),
            (900_000, pod("b", PodChange::Ready)),
            // Not a start.
            (5_000_000, pod("a", PodChange::Ready)),
            (6_000_000, pod("a", PodChange::Terminating)),
            (6_200_000, pod("a", end())),
            (6_300_000, pod("b", end())),
        ];
        let entries = entries.into_iter().zip(1..).map(|((at_us, what), seq)| Entry { seq, at_us, what });
        let header = Header::made_by_hand("local", None);
        let times = Times::seen_in(&Transcript { header, entries: entries.collect() });
        assert_eq!(times, Times { start_ms: 800, answer_ms: 0, stop_ms: 200 });
    }
}
