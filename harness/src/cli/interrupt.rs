//! Ctrl-C and SIGTERM: heard from one place for the whole of a command, so that none is lost between two waits.

use std::io;

use super::bad_input::CommandError;

/// Interrupts since this was made. One that comes while nobody waits is kept.
pub(super) struct Interrupts {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Interrupts {
    /// From here on an interrupt does not end the process by itself. Called within a runtime.
    pub(super) fn heard() -> Result<Self, CommandError> {
        Self::listen().map_err(|error| CommandError::inconclusive(format!("listening for Ctrl-C: {error}")))
    }

    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(windows)]
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// The next one.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_that_comes_before_it_is_waited_for_is_not_lost() {
        let mut interrupts = Interrupts::heard().unwrap();
        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &own]).status().unwrap().success());
        interrupts.next().await;
    }
}
