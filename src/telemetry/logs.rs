//! Where log lines go and how they look.
//!
//! Logs go to standard error, so that commands which print results keep standard output to
//! themselves; `kubectl logs` shows both. `RUST_LOG` decides what is shown, else `DEBUG`, else INFO; the
//! TensorRT binding's own lines from WARN on. Each fact is logged once: a library's warnings of what our own lines say are
//! shown with `DEBUG` only.
//!
//! [`switch`] changes between these lines and those of `DEBUG` while the program runs.
//!
//! The log never blocks a frame. Lines go through a bounded queue to a thread of their own. If they are not read, or the disk
//! is full, they are dropped and counted.

use super::names;
use super::text::escaped;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object per line.
    Json,
}

/// Modules of the pvAccess library that warn of what `pva` and `app` log: a connection that is lost or given up, a channel
/// that is closed, a port that is taken. Its other warnings are shown: no line of ours has them.
const LOGGED_BY_OURS: [&str; 3] = [
    "epics_pva_rs::client_native::channel",
    "epics_pva_rs::client_native::server_conn",
    "epics_pva_rs::server_native::runtime",
];

/// Counts the lines that were dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Which lines are shown.
static SHOWN: OnceLock<Shown> = OnceLock::new();

struct Shown {
    filter: reload::Handle<Targets, Registry>,
    configured: Targets,
    is_debug: Mutex<bool>,
}

/// Writes the lines that still wait when it is dropped.
#[must_use = "dropped, it ends the log"]
#[derive(Debug)]
pub(crate) struct LogGuard {
    _worker: WorkerGuard,
}

/// Lines dropped because they were not written in time.
#[must_use]
pub(crate) fn dropped() -> u64 {
    let dropped = DROPPED.get().map(ErrorCounter::dropped_lines);
    dropped.map_or(0, |lines| lines as u64)
}

/// The metric of the dropped lines.
#[derive(Debug)]
pub(crate) struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lines = names::LOG_LINES_DROPPED.encode(&mut encoder, MetricType::Counter)?;
        ConstCounter::new(dropped()).encode(lines)
    }
}

/// Writes a line to standard error without the log. A write error is ignored.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The directives of `RUST_LOG`, if it is set and not blank.
///
/// # Errors
/// The text that cannot be read, with the reason.
pub(crate) fn directives() -> Result<Option<Targets>, String> {
    let text = std::env::var("RUST_LOG").unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<Targets>().map(Some);
    read.map_err(|error| {
        escaped(&format!(
            "RUST_LOG: '{text}' is not allowed ({error}); give a level such as debug, or module=level pairs such as \
             beamflow=debug"
        ))
    })
}

/// Warnings and errors alone.
pub(crate) fn warnings() -> Targets {
    Targets::new().with_default(Level::WARN)
}

/// Starts logging. A second start in one process changes nothing.
pub(crate) fn start(format: LogFormat, debug: bool, directives: Option<Targets>) -> LogGuard {
    let configured = directives.unwrap_or_else(|| default_filter(debug));
    let (filter, handle) = reload::Layer::new(configured.clone());
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(debug);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init();
    if started.is_err() {
        tracing::debug!("Logging is started already.");
    } else {
        // Nobody else sets it: the log starts once.
        let _ = SHOWN.set(Shown {
            filter: handle,
            configured,
            is_debug: Mutex::new(false),
        });
    }
    log_panics();
    LogGuard { _worker: guard }
}

/// Shows the lines of `DEBUG`, or again those that are configured, and logs a line about it. Nothing happens if the log is not
/// that of [`start`].
pub(crate) fn switch() {
    let Some(shown) = SHOWN.get() else { return };
    let debug = default_filter(true);
    if shown.configured == debug {
        tracing::info!("The log shows debug lines already: --debug is set.");
        return;
    }
    let mut is_debug = shown.is_debug.lock();
    if *is_debug {
        // Before the change, because the configured lines may not include it.
        tracing::info!("The log shows the configured lines again.");
    }
    let filter = if *is_debug {
        shown.configured.clone()
    } else {
        debug
    };
    if let Err(error) = shown.filter.reload(filter) {
        tracing::error!(%error, "The lines of the log cannot be changed.");
        return;
    }
    *is_debug = !*is_debug;
    if *is_debug {
        tracing::info!("The log shows debug lines until the next SIGUSR1.");
    }
}

/// What is shown without `RUST_LOG`.
fn default_filter(debug: bool) -> Targets {
    let (of_ours, of_the_library) = if debug {
        (Level::DEBUG, Level::WARN)
    } else {
        (Level::INFO, Level::ERROR)
    };
    Targets::new()
        .with_default(Level::INFO)
        .with_target("trtx", Level::WARN)
        .with_targets(LOGGED_BY_OURS.map(|module| (module, of_the_library)))
        .with_target("beamflow", of_ours)
}

/// Panics are contained where they happen; here they get a log line like everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            "A panic: {}",
            crate::telemetry::panic::message(panic.payload())
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_librarys_warnings_that_ours_repeat_need_debug_or_rust_log() {
        let silent = default_filter(false);
        let shown = [
            default_filter(true),
            "epics_pva_rs=warn".parse().unwrap(),
            "debug".parse().unwrap(),
        ];
        for module in LOGGED_BY_OURS {
            assert!(!silent.would_enable(module, &Level::WARN));
            assert!(silent.would_enable(module, &Level::ERROR));
            assert!(shown.iter().all(|f| f.would_enable(module, &Level::WARN)));
        }
        // Nothing of ours says that two servers have one PV.
        assert!(silent.would_enable("epics_pva_rs::client_native::search_engine", &Level::WARN));
        assert!(silent.would_enable("beamflow::source", &Level::INFO));
    }
}
