//! Results as files, a Numaflow sink: from the flags to the drained stop.

use super::signals;
use crate::cli::FileSinkArgs;
use crate::config::ConfigError;
use crate::sink::file::room;
use crate::sink::file::sinker::{FileSink, FolderError};
use crate::status::file_sink::FileStatus;
use crate::status::http;
use crate::vertex::ServerError;
use crate::vertex::sink::{Server, ServerConfig};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the totals are logged.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// How often a full disk is looked at again.
const ROOM_EVERY: Duration = Duration::from_secs(5);
/// How long read batches in hand may take after the shutdown has begun: files are completed after that, and Kubernetes ends
/// the pod after 30 s.
const GRACE: Duration = Duration::from_secs(10);

/// Why the sink did not start or stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileSinkError {
    /// A flag is at odds with another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files cannot be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The HTTP server cannot listen.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address with --http-address, or off"
    )]
    Http {
        address: SocketAddr,
        source: std::io::Error,
    },
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

impl FileSinkError {
    /// Whether a flag is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// Writes results until SIGTERM, and completes the files.
///
/// # Errors
/// [`FileSinkError`].
pub(crate) async fn run(args: FileSinkArgs) -> Result<(), FileSinkError> {
    let settings = args.settings()?;
    let shutdown = CancellationToken::new();
    signals::watch(shutdown.clone()).map_err(|source| FileSinkError::System {
        doing: "listen for signals",
        source,
    })?;
    let folder = settings.folder.clone();
    if !wait_for_room(&folder, &shutdown).await {
        return Ok(());
    }
    let started = tokio::task::spawn_blocking(|| FileSink::start(settings)).await;
    let sink = started.map_err(|source| FileSinkError::System {
        doing: "read the folder",
        source: source.into(),
    })??;
    tracing::info!(folder = %folder.display(), "Results are written to HDF5 files, one for each series.");
    let status = Arc::new(FileStatus::new(sink.clone()));
    if let Some(address) = args.http_address.0 {
        let served = http::serve(address, Arc::clone(&status)).await;
        served.map_err(|source| FileSinkError::Http { address, source })?;
    }
    tokio::spawn(async move { status.watch().await });
    let config = ServerConfig {
        grace: GRACE,
        ..ServerConfig::at(args.sock_path, args.server_info_path)
    };
    let served = serve(&sink, config, shutdown).await;
    report(&sink, "The sink has ended.");
    served
}

/// Waits until files can be repaired without filling the disk. False: the process is to end.
async fn wait_for_room(folder: &Path, shutdown: &CancellationToken) -> bool {
    // A folder that does not exist is created later, or refused.
    while folder.exists()
        && let Err(full) = room::check(folder, 0)
    {
        tracing::error!("No file can be written: {full}.");
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(ROOM_EVERY) => {}
        }
    }
    true
}

/// Serves numa until `shutdown`; then completes the files.
async fn serve(
    sink: &FileSink,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> Result<(), FileSinkError> {
    let ended = CancellationToken::new();
    let tending = tokio::spawn({
        let (sink, ended) = (sink.clone(), ended.clone());
        async move { sink.tend(ended).await }
    });
    let server = Server::new(Arc::new(sink.clone()), config);
    let mut serving = std::pin::pin!(server.serve(shutdown));
    let mut reports = tokio::time::interval(REPORT_EVERY);
    reports.tick().await; // the first comes at once
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            _ = reports.tick() => report(sink, "Results so far."),
        }
    };
    ended.cancel();
    // A panic in it is logged by the runtime.
    let _ = tending.await;
    Ok(served?)
}

fn report(sink: &FileSink, text: &str) {
    let tally = sink.tally();
    for open in &tally.open {
        tracing::info!(path = %open.path.display(), rows = open.rows, "{text}");
    }
    tracing::info!(
        results = tally.results,
        written = tally.written,
        duplicates = tally.duplicates,
        late = tally.late,
        other_outputs = tally.other_outputs,
        unfit = tally.unfit,
        failed = tally.failed,
        frames = tally.series.frames,
        missing = tally.series.missing.saturating_sub(tally.series.filled),
        no_results = tally.no_results.values().sum::<u64>(),
        files = tally.completed,
        "{text}"
    );
}
