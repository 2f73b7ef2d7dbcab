//! A simulated detector as a Numaflow source: from its flags to the drained stop.

use super::signals;
use crate::cli::{SimulateSourceArgs, TooLarge, check_memory};
use crate::lab::experiment;
use crate::lab::exposures::Exposures;
use crate::lab::stack::FrameStack;
use crate::lab::{DetectorError, Raster};
use crate::source::simulated::backlog::Standing;
use crate::source::simulated::sourcer::{Settings, SimulatedSource};
use crate::vertex::ServerError;
use crate::vertex::source::{Server, ServerConfig};
use numaflow::source::Sourcer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the totals are logged.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Why the source did not start or stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The scan does not fit into a reasonable amount of memory.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A flag is at odds with another.
    #[cfg(feature = "pva")]
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The HTTP server cannot listen.
    #[cfg(feature = "pva")]
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address with --http-address, or off"
    )]
    Http {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
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
}

impl SourceError {
    /// Whether a flag is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            #[cfg(feature = "pva")]
            Self::Config(_) => true,
            Self::TooLarge(_) => true,
            _ => false,
        }
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
        let (stack, positions) = simulate(points, side)?;
        let stack = match encoder {
            Some(encoder) => stack.compressed(encoder),
            None => stack,
        };
        Ok::<_, DetectorError>((stack, positions))
    });
    let (stack, positions) = tokio::select! {
        simulated = simulating => simulated??,
        () = shutdown.cancelled() => return Ok(()),
    };
    let source = SimulatedSource::new(stack, positions, settings(&args), shutdown.clone());
    let paths = (args.sock_path.as_path(), args.server_info_path.as_path());
    let of = source.clone();
    let unacked = move || of.standing().unacked;
    let report_of = |text: &str| report(&source.standing(), text);
    let served = serve(paths, &source, &shutdown, unacked, report_of).await;
    report(&source.standing(), "The source has ended.");
    served
}

/// Takes every frame of the scan, each with its position in metres. Blocks while it does.
fn simulate(points: usize, side: usize) -> Result<(FrameStack, Vec<(f64, f64)>), DetectorError> {
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
    let scan = experiment::scan_on(side, raster)?;
    let positions = (0..scan.len()).filter_map(|k| experiment::probe_position(&scan, k));
    Ok((FrameStack::simulate(&scan, || ())?, positions.collect()))
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
        linger: args.linger.0,
        replica: replica.and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

/// Listens, writes the server-info file and serves until `shutdown`; reports the totals now and then.
///
/// # Errors
/// [`SourceError`] if the socket cannot be served.
pub(super) async fn serve(
    (sock_path, server_info_path): (&Path, &Path),
    source: &(impl Sourcer + Clone + Send + Sync + 'static),
    shutdown: &CancellationToken,
    unacked: impl Fn() -> u64 + Send + Sync + 'static,
    report: impl Fn(&str),
) -> Result<(), SourceError> {
    let config = ServerConfig {
        sock_path: sock_path.to_owned(),
        server_info_path: server_info_path.to_owned(),
        ..ServerConfig::default()
    };
    let server = Server::new(Arc::new(source.clone()), config, unacked);
    let mut serving = std::pin::pin!(server.serve(shutdown.clone()));
    let mut reports = tokio::time::interval(REPORT_EVERY);
    reports.tick().await; // the first comes at once
    loop {
        tokio::select! {
            served = &mut serving => return Ok(served?),
            _ = reports.tick() => report("Frames so far."),
        }
    }
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
