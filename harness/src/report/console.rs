//! Standard error, shared by the lines of a run, its progress lines, and the program's warnings.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Writes to standard error: on a terminal above the progress lines, which stay at the end.
#[derive(Clone, Debug)]
pub struct Console {
    progress: Option<MultiProgress>,
}

impl Console {
    /// Standard error, with progress lines when it is a terminal.
    pub fn stderr() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let progress =
            is_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        // On a terminal that cannot move its cursor (TERM is `dumb` or not set) nothing is drawn, lines neither.
        Self { progress: progress.filter(|progress| !progress.is_hidden()) }
    }

    /// Whether what is written may be coloured: on a terminal, unless `NO_COLOR` is set.
    pub fn has_colours(&self) -> bool {
        self.progress.is_some() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// The progress lines, where there are any.
    pub(super) fn progress(&self) -> Option<&MultiProgress> {
        self.progress.as_ref()
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.progress {
            Some(progress) => progress.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
