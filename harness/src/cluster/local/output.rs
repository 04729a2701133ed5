//! What a replica printed: the last lines are kept, the first ones recorded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transcript::{Recorder, What};

/// How many lines of a pod are kept, its containers' one after another.
const KEPT: usize = 200;

/// How many lines of a pod go into the transcript.
const RECORDED: usize = 500;

/// The output of one pod.
#[derive(Debug)]
pub(crate) struct Output {
    pod: String,
    recorder: Recorder,
    state: Mutex<State>,
}

/// The output of every pod that there ever was.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Mutex<Vec<Arc<Output>>>);

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    recorded: usize,
}

// === impl Output ===

impl Output {
    pub(crate) fn new(pod: String, recorder: Recorder) -> Self {
        Self { pod, recorder, state: Mutex::default() }
    }

    /// Adds a line, with the values of secrets masked.
    pub(crate) fn push(&self, line: &str) {
        let line = self.recorder.mask(line);
        let mut state = self.lock();
        if state.recorded < RECORDED {
            state.recorded += 1;
            self.recorder.record(What::Log { pod: self.pod.clone(), line: line.clone() });
        }
        if state.lines.len() == KEPT {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// The last lines, at most so many.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let state = self.lock();
        state.lines.iter().skip(state.lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Every line that is kept.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.last(KEPT)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Outputs ===

impl Outputs {
    pub(crate) fn add(&self, output: Arc<Output>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(output);
    }

    /// The lines that are kept of this pod.
    pub(crate) fn kept(&self, pod: &str) -> Vec<String> {
        let outputs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.iter().find(|output| output.pod == pod).map_or_else(Vec::new, |output| output.kept())
    }
}
