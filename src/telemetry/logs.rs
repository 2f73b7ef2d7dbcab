//! Where log lines go and how they look.
//!
//! Logs go to standard error, so that commands which print results keep standard output to
//! themselves; `kubectl logs` shows both. `RUST_LOG` decides what is shown, else `DEBUG`, else INFO; the
//! TensorRT binding's own lines, which tell what is about to be tried, from WARN on.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. A second start in one process changes nothing.
///
/// # Errors
/// The text of `RUST_LOG` that cannot be read, with the reason.
pub fn start(format: LogFormat, debug: bool) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.trim().is_empty() => EnvFilter::try_new(&directives)
            .map_err(|error| {
                format!(
                    "RUST_LOG: '{directives}' is not allowed ({error}); give a level such as debug, or \
                     module=level pairs such as beamflow=debug"
                )
            })?,
        _ if debug => EnvFilter::new("info,trtx=warn,beamflow=debug"),
        _ => EnvFilter::new("info,trtx=warn"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(debug);
    let started = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("Logging is started already.");
    }
    log_panics();
    Ok(())
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
            crate::panic::message(panic.payload())
        );
    }));
}
