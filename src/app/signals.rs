//! SIGTERM and SIGINT: the first drains, the second ends the process at once. SIGUSR1: more lines in the log, or fewer again.

use crate::telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at the first signal to stop, and ends the process with code 1 at the second. At SIGUSR1 the log is switched.
///
/// # Errors
/// The system error, if the signals cannot be watched.
pub(crate) fn watch(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut user = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = user.recv() => {
                    logs::switch();
                    continue;
                }
            }
            if shutdown.is_cancelled() {
                tracing::warn!(
                    "A second signal: the process ends without waiting for calls in hand."
                );
                crate::app::exit::at_once(1);
            }
            tracing::info!("A signal to stop: calls in hand are answered, then the process ends.");
            shutdown.cancel();
        }
    });
    Ok(())
}
