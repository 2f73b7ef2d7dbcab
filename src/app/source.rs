//! A simulated detector as a Numaflow source: from its flags to the drained stop.

use super::signals;
use crate::cli::{SimulateSourceArgs, TooLarge, check_memory};
use crate::lab::experiment;
use crate::lab::exposures::Exposures;
use crate::lab::stack::FrameStack;
use crate::lab::{DetectorError, Raster};
use crate::source::simulated::backlog::Standing;
use crate::source::simulated::sourcer::{Settings, SimulatedSource};
use crate::vertex::map::{ServerError, make_way};
use numaflow::shared::ServerExtras;
use numaflow::source::Server;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often the totals are logged.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// The time that a reader gets to close its connection.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why the source did not start or stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The scan does not fit into a reasonable amount of memory.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The frames cannot be simulated.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// A task ended unexpectedly: a defect.
    #[error("simulating the scan broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        doing: &'static str,
        source: std::io::Error,
    },
    /// The socket is in use or cannot be created.
    #[error(transparent)]
    Socket(#[from] ServerError),
    /// The SDK cannot serve.
    #[error("cannot serve on {}: {reason}", path.display())]
    Serve {
        path: PathBuf,
        /// What the SDK said.
        reason: String,
    },
}

impl SourceError {
    /// Whether a flag is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::TooLarge(_))
    }
}

/// Simulates the scan, serves it, and returns after SIGTERM.
///
/// # Errors
/// [`SourceError`].
pub(crate) async fn run(args: SimulateSourceArgs) -> Result<(), SourceError> {
    check_memory(args.points, args.frame_size)?;
    let shutdown = CancellationToken::new();
    signals::watch(shutdown.clone()).map_err(|source| SourceError::System {
        doing: "listen for signals",
        source,
    })?;
    let (points, side) = (args.points, args.frame_size.height);
    let encoder = args.codec.0;
    let simulating = tokio::task::spawn_blocking(move || {
        let stack = simulate(points, side)?;
        Ok::<_, DetectorError>(match encoder {
            Some(encoder) => stack.compressed(encoder),
            None => stack,
        })
    });
    let stack = tokio::select! {
        stack = simulating => stack??,
        () = shutdown.cancelled() => return Ok(()),
    };
    let source = SimulatedSource::new(stack, settings(&args), shutdown.clone());
    let served = serve(&args, &source, &shutdown).await;
    report(&source.standing(), "The source has ended.");
    served
}

/// Takes every frame of the scan. Blocks while it does.
fn simulate(points: usize, side: usize) -> Result<FrameStack, DetectorError> {
    tracing::info!(
        frames = points * points,
        side,
        "Simulating the scan: it is kept, and served again and again."
    );
    let raster = Raster {
        rows: points,
        columns: points,
        ..experiment::RASTER
    };
    FrameStack::simulate(&experiment::scan_on(side, raster)?, || ())
}

fn settings(args: &SimulateSourceArgs) -> Settings {
    let replica = std::env::var("NUMAFLOW_REPLICA").ok();
    Settings {
        exposures: Exposures {
            fps: args.fps,
            last: args.frames.map(|frames| frames as u64),
        },
        buffer: args.buffer as u64,
        ack_timeout: args.ack_timeout.0,
        replica: replica.and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

/// Serves until `shutdown`, logging the totals now and then.
async fn serve(
    args: &SimulateSourceArgs,
    source: &SimulatedSource,
    shutdown: &CancellationToken,
) -> Result<(), SourceError> {
    let failed = |reason: String| SourceError::Serve {
        path: args.sock_path.clone(),
        reason,
    };
    // The SDK removes any file at the path, including the socket of another process.
    make_way(&args.sock_path, &args.server_info_path).await?;
    let (stop, stopped) = oneshot::channel();
    let serving = Server::new(source.clone())
        .with_socket_file(&args.sock_path)
        .with_server_info_file(&args.server_info_path)
        .start_with_shutdown(stopped);
    let mut serving = std::pin::pin!(serving);
    let mut reports = tokio::time::interval(REPORT_EVERY);
    reports.tick().await; // the first comes at once
    let served = loop {
        tokio::select! {
            served = &mut serving => break Some(served),
            () = shutdown.cancelled() => {
                // The SDK handles the signal too, and then stops listening.
                let _ = stop.send(());
                break tokio::time::timeout(GOODBYE, serving).await.ok();
            }
            _ = reports.tick() => report(&source.standing(), "Frames so far."),
        }
    };
    match served {
        Some(served) => served.map_err(|error| failed(error.to_string()))?,
        None => {
            tracing::warn!(waited = ?GOODBYE, "A reader has not closed its connection: it is cut off.")
        }
    }
    // The SDK ends without an error after a signal, and after a panic in one of its tasks.
    let signalled = tokio::time::timeout(GOODBYE, shutdown.cancelled()).await;
    signalled.map_err(|_| failed("the server ended by itself".to_owned()))
}

fn report(standing: &Standing, text: &str) {
    tracing::info!(
        taken = standing.taken,
        read = standing.read,
        again = standing.again,
        acked = standing.acked,
        nacked = standing.nacked,
        dropped = standing.dropped,
        pending = standing.pending(),
        "{text}"
    );
}
