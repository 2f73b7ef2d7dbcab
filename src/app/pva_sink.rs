//! Results as PVs, a Numaflow sink: from the flags to the drained stop.
//!
//! A port that is taken ends the process: no client would find the server on another one.

use super::signals;
use crate::cli::PvaSinkArgs;
use crate::config::ConfigError;
use crate::pva::Server as PvaServer;
use crate::sink::pva::mosaic::View;
use crate::sink::pva::settings::MosaicSettings;
use crate::sink::pva::sinker::PvaSink;
use crate::status::http;
use crate::status::sink::SinkStatus;
use crate::vertex::ServerError;
use crate::vertex::sink::{Server, ServerConfig};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the totals are logged.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// The time that clients have to get what is posted at the end.
const GOODBYE: Duration = Duration::from_millis(200);

/// Why the sink did not start or stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    /// A flag is at odds with another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The PVs cannot be served.
    #[error("{0}; choose other ports or another address with --tcp-port, --udp-port and --bind")]
    Pva(#[from] crate::pva::ServerError),
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

impl SinkError {
    /// Whether a flag is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// Serves the PVs and takes results; returns after SIGTERM.
///
/// # Errors
/// [`SinkError`].
pub(crate) async fn run(args: PvaSinkArgs) -> Result<(), SinkError> {
    let replica = std::env::var("NUMAFLOW_REPLICA").unwrap_or_else(|_| "0".to_owned());
    let settings = args.settings(&replica)?;
    let shutdown = CancellationToken::new();
    signals::watch(shutdown.clone()).map_err(|source| SinkError::System {
        doing: "listen for signals",
        source,
    })?;
    let prefix = settings.prefix.clone();
    let mosaic = settings.mosaic.clone();
    let sink = PvaSink::start(settings)?;
    announce(&prefix, args.bind, sink.server());
    if let Some(mosaic) = mosaic {
        announce_mosaic(&mosaic);
    }
    let status = Arc::new(SinkStatus::new(sink.clone()));
    if let Some(address) = args.http_address.0 {
        let served = http::serve(address, Arc::clone(&status)).await;
        served.map_err(|source| SinkError::Http { address, source })?;
    }
    tokio::spawn(async move { status.watch().await });
    let config = ServerConfig {
        ..ServerConfig::at(args.sock_path, args.server_info_path)
    };
    let served = serve(&sink, config, shutdown).await;
    report(&sink, "The sink has ended.");
    served
}

/// Serves numa until `shutdown`; then posts what is held back.
async fn serve(
    sink: &PvaSink,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> Result<(), SinkError> {
    let ended = CancellationToken::new();
    let posting = tokio::spawn({
        let (sink, ended) = (sink.clone(), ended.clone());
        async move { sink.post(ended).await }
    });
    let pictures = sink.mosaic().cloned().map(|mosaic| {
        let ended = ended.clone();
        tokio::spawn(async move { mosaic.post(ended).await })
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
    // A panic in them is logged by the runtime.
    let _ = posting.await;
    if let Some(pictures) = pictures {
        let _ = pictures.await;
    }
    if sink.server().connections() > 0 {
        tokio::time::sleep(GOODBYE).await;
    }
    Ok(served?)
}

/// Logs where the PVs are, and what a client needs to find them.
fn announce(prefix: &str, bind: Option<IpAddr>, server: &PvaServer) {
    let (tcp_port, udp_port) = (server.tcp_port(), server.udp_port());
    let host = bind
        .filter(|address| !address.is_unspecified())
        .map_or("HOST".to_owned(), |address| address.to_string());
    let search = match udp_port {
        5076 => String::new(),
        port => format!(" and EPICS_PVA_BROADCAST_PORT={port}"),
    };
    tracing::info!(
        prefix,
        tcp_port,
        udp_port,
        "Results are served as PVs. Clients on another network set EPICS_PVA_NAME_SERVERS={host}:{tcp_port}, or \
         EPICS_PVA_ADDR_LIST={host}{search}."
    );
}

/// Logs what is not in the mosaic.
fn announce_mosaic(mosaic: &MosaicSettings) {
    tracing::info!(
        "The mosaic is empty. Frames whose results came before this start will not be in it."
    );
    if mosaic.recipe.positions.depend_on_first() {
        tracing::warn!(
            "The first row of the positions is that of the smallest number of a series that comes. If the first frame of a scan is \
             lost or late, or the sink is started in mid-scan, patches lie at wrong places: set --position-offset to the number of \
             the scan's first frame."
        );
    }
}

fn report(sink: &PvaSink, text: &str) {
    let tally = sink.tally();
    for output in &tally.outputs {
        tracing::info!(
            pv = output.pv,
            results = output.counts.results,
            posted = output.counts.posted,
            superseded = output.counts.superseded,
            late = output.counts.late,
            held = output.held,
            "{text}"
        );
    }
    if let Some(mosaic) = sink.mosaic() {
        let View {
            tally,
            pictures,
            other_pvs,
            other_models,
            ..
        } = mosaic.view();
        tracing::info!(
            patches = tally.patches,
            placed = tally.placed,
            unpositioned = tally.unpositioned,
            outside = tally.outside,
            astray = tally.astray,
            unusable = tally.unusable,
            without_phase = tally.without_phase,
            unlevelled = tally.unlevelled,
            earlier = tally.earlier,
            other_pvs,
            other_models,
            pictures,
            solved = tally.solved,
            "{text}"
        );
    }
    tracing::info!(
        results = tally.results,
        frames = tally.series.frames,
        missing = tally.series.missing.saturating_sub(tally.series.filled),
        duplicates = tally.duplicates,
        other_models = tally.other_models,
        unserved = tally.unserved,
        no_results = tally.no_results.values().sum::<u64>(),
        clients = tally.clients,
        "{text}"
    );
}
