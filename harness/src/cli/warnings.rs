//! What the program itself has to say while it works: warnings and errors, or what HUBCHECK_LOG asks for.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::bad_input::CommandError;
use crate::report::console::Console;

/// Names what is logged, such as `harness=debug`.
const LOG: &str = "HUBCHECK_LOG";

/// Without it: what went wrong in our own crates.
const DEFAULT: &str = "harness=warn,scenarios=warn";

/// Lines as a run's report has them: `warning: ..`, `error: ..`.
struct Plain;

/// From here on what the program says reaches the console.
pub(super) fn show(console: Console) -> Result<(), CommandError> {
    let has_colours = console.has_colours();
    let make_console = move || console.clone();
    match std::env::var(LOG).ok().filter(|filter| !filter.is_empty()) {
        Some(filter) => {
            let filter = EnvFilter::try_new(&filter)
                .map_err(|error| CommandError::usage(format!("{LOG}=`{filter}`: {error}")))?;
            logged(filter, has_colours, make_console).try_init()
        }
        None => plain(make_console).try_init(),
    }
    .map_err(|error| CommandError::inconclusive(error.to_string()))
}

fn logged<W>(filter: EnvFilter, has_colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours).with_writer(writer).finish()
}

fn plain<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::new(DEFAULT);
    tracing_subscriber::fmt().with_env_filter(filter).event_format(Plain).with_writer(writer).finish()
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let word = if *event.metadata().level() == Level::ERROR { "error" } else { "warning" };
        write!(writer, "{word}: ")?;
        // Without colours: the fields' names would have them.
        context.format_fields(Writer::new(&mut writer), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_has_colours_only_where_they_are_seen() {
        for has_colours in [true, false] {
            let kept = Kept::default();
            let writer = kept.clone();
            let subscriber = logged(EnvFilter::new("harness=debug"), has_colours, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || tracing::debug!("cluster up"));
            let shown = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert!(shown.contains("cluster up") && shown.contains('\x1b') == has_colours, "{shown:?}");
        }
    }

    #[test]
    fn warnings_and_errors_are_shown_and_nothing_else() {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(plain(move || writer.clone()), || {
            tracing::warn!("namespace {} does not go", "x");
            tracing::error!("it broke");
            tracing::info!("cluster up");
            tracing::warn!(target: "hyper", "somebody else's");
        });
        let shown = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(shown, "warning: namespace x does not go\nerror: it broke\n");
    }
}
