//! The gRPC host of a batch map: it serves any `BatchMapper` on a
//! Unix socket, as Numaflow asks.
//!
//! The SDK has a server of its own, and a handler that runs here runs there too. This one exists
//! for what that one does not offer: large HTTP/2 frames and windows (less than half the CPU at
//! 512 KiB a message), a handler that outlives numa's reconnects and its own panics, metadata given
//! back with each result, and an end of transmission right behind the last response.
//!
//! ```text
//! numa ──MapFn stream──▶ stream ──one read batch──▶ call ──Receiver<Datum>──▶ handler (own task)
//!                          ▲                          │ roll: who came, who was answered
//!                          └──responses + EOT, as one─┘
//! ```
//!
//! What always holds:
//!
//! - Each datum that enters a call leaves it in exactly one response, with at least one message and
//!   with its own metadata, whatever the handler returns, forgets, repeats, invents or panics over.
//! - A stream's work lives inside its response stream: when numa hangs up, tonic drops that stream,
//!   and the call with its handler task goes with it. Nothing is left running for nobody.
//! - Streams share the handler, and on one connection its window: one that stalls delays no other.
//! - Memory is bounded: `read_ahead` datums wait for the handler, the HTTP/2 windows bound the rest.
//! - The server-info file, by which numa learns that the sidecar is up, is written last.
//! - After shutdown begins no call is begun; a call in hand is read to its end and answered.

/// One read batch: datums to the handler, its responses back.
mod call;
/// The socket and the server-info file: taken with care, given back on exit.
mod listener;
/// Who came into a call, and who was answered.
mod roll;
/// One `MapFn` stream: handshake, then read batch after read batch.
mod stream;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use numaflow::batchmap::{BatchMapper, BatchResponse};
use numaflow::proto::map::map_server::{Map, MapServer};
use numaflow::proto::map::{MapRequest, MapResponse, ReadyResponse};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

pub use listener::ServerError;
pub(crate) use listener::make_way;

/// HTTP/2 frames numa may send, in bytes. At tonic's default of 16 KiB a 512 KiB frame of pixels is
/// 32 HTTP/2 frames, and the host spends its time on their headers.
const MAX_FRAME_SIZE: u32 = 1 << 20;

/// What numa may send ahead on one stream, in bytes: sixteen 512 KiB datums.
const STREAM_WINDOW: u32 = 8 << 20;

/// What a client may send ahead on one connection, in bytes. Larger than one stream's window, or a
/// stalled stream would hold the whole of it and stall the others of its connection. Numa opens one
/// stream a connection, so for numa it is the stream's window that counts.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// How long connections may take to close once every call is answered: a client that is frozen
/// does not answer HTTP/2's goodbye, and must not keep the sidecar from exiting.
const GOODBYE: Duration = Duration::from_secs(5);

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The Unix socket to listen on. Numaflow expects `/var/run/numaflow/batchmap.sock`.
    pub sock_path: PathBuf,
    /// The server-info file. Numaflow expects `/var/run/numaflow/mapper-server-info`.
    pub server_info_path: PathBuf,
    /// Datums buffered between a stream and the handler; 0 counts as 1.
    pub read_ahead: usize,
    /// The largest gRPC message, either way, in bytes. Numaflow's own limit is 64 MiB.
    pub max_message_size: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            sock_path: PathBuf::from(numaflow::batchmap::SOCK_ADDR),
            server_info_path: PathBuf::from(numaflow::batchmap::SERVER_INFO_FILE),
            read_ahead: 16,
            max_message_size: 64 << 20,
        }
    }
}

/// What a datum is answered with when the handler did not answer it.
type Unanswered = dyn Fn(String) -> BatchResponse + Send + Sync;

/// What all streams share.
struct Host<H> {
    handler: Arc<H>,
    unanswered: Box<Unanswered>,
    read_ahead: usize,
    shutdown: CancellationToken,
    /// Holds one token for each open stream.
    streams: TaskTracker,
}

/// Serves a [`BatchMapper`] on a Unix socket until told to stop.
pub struct Server<H> {
    handler: Arc<H>,
    config: ServerConfig,
    unanswered: Box<Unanswered>,
}

impl<H: BatchMapper + Send + Sync + 'static> Server<H> {
    /// A host for `handler`. `unanswered` makes the response of a datum that the handler was given
    /// and did not answer (it panicked, returned early, or forgot): a nack or a drop, as configured.
    /// Of what it returns only the messages count; none at all counts as a drop.
    pub fn new(
        handler: Arc<H>,
        config: ServerConfig,
        unanswered: impl Fn(String) -> BatchResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler,
            config,
            unanswered: Box::new(unanswered),
        }
    }

    /// Listens, announces itself, and serves until `shutdown` is cancelled; then reads the calls in
    /// hand to their ends, answers them, and returns. Socket and server-info file are removed on the
    /// way out, also when this future is dropped: bound the drain, if it must be, by a time-out
    /// around it.
    ///
    /// # Errors
    /// When the socket cannot be had (another process answers on it, something else lies there, the
    /// directory is not writable), when the server-info file cannot be written, or when tonic fails.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let (listening, incoming) = listener::bind(&self.config).await?;
        let host = Arc::new(Host {
            handler: self.handler,
            unanswered: self.unanswered,
            read_ahead: self.config.read_ahead.max(1),
            shutdown,
            streams: TaskTracker::new(),
        });
        let service = MapServer::new(Service(Arc::clone(&host)))
            .max_decoding_message_size(self.config.max_message_size)
            .max_encoding_message_size(self.config.max_message_size);
        let router = tonic::transport::Server::builder()
            .max_frame_size(MAX_FRAME_SIZE)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(service);

        // Tonic hears of the shutdown only when every stream has ended: until then it goes on
        // accepting, so that a probe is told "not ready" and not left waiting in the backlog.
        let drained = CancellationToken::new();
        let serving = router.serve_with_incoming_shutdown(incoming, drain(&host, &drained));
        listening.announce()?;
        info!(
            socket = %self.config.sock_path.display(),
            server_info = %self.config.server_info_path.display(),
            "The sidecar is listening and has announced itself."
        );
        tokio::select! {
            served = serving => served.map_err(ServerError::Transport)?,
            () = overdue(&drained) => warn!(
                waited = ?GOODBYE,
                "A client has not closed its connection: every call is answered, so it is cut off."
            ),
        }
        drop(listening);
        info!("Every call in hand is answered, and the socket is given back.");
        Ok(())
    }
}

/// Waits for the shutdown, then for the open streams to end.
fn drain<H>(host: &Arc<Host<H>>, drained: &CancellationToken) -> impl Future<Output = ()> {
    let (shutdown, streams) = (host.shutdown.clone(), host.streams.clone());
    let drained = drained.clone();
    async move {
        shutdown.cancelled().await;
        info!(
            streams = streams.len(),
            "Shutting down: no new call is begun, those in hand are finished."
        );
        streams.close();
        streams.wait().await;
        drained.cancel();
    }
}

/// Resolves when connections have had their time to close after the last stream ended.
async fn overdue(drained: &CancellationToken) {
    drained.cancelled().await;
    tokio::time::sleep(GOODBYE).await;
}

/// The protocol's two methods.
struct Service<H>(Arc<Host<H>>);

#[tonic::async_trait]
impl<H: BatchMapper + Send + Sync + 'static> Map for Service<H> {
    type MapFnStream = BoxStream<'static, Result<MapResponse, Status>>;

    async fn map_fn(
        &self,
        request: Request<Streaming<MapRequest>>,
    ) -> Result<Response<Self::MapFnStream>, Status> {
        let responses = stream::open(Arc::clone(&self.0), request.into_inner()).await?;
        Ok(Response::new(responses))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        let ready = !self.0.shutdown.is_cancelled();
        Ok(Response::new(ReadyResponse { ready }))
    }
}
