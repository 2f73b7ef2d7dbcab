//! The gRPC host of a sink: it serves any `Sinker` of the SDK on a Unix socket, as Numaflow asks.
//!
//! The SDK has its own server, which can run the same sinks. This host adds large HTTP/2 frames and windows, a sink that
//! survives disconnects of numa and its own panics, and the promise of one response for each message, which numa ends
//! without.
//!
//! ```text
//! numa ──SinkFn stream──▶ stream ──one batch──▶ call ──Receiver<SinkRequest>──▶ Sinker (own task)
//!                           ▲                     │ roll: who came, who was answered
//!                           └──responses, then EOT┘
//! ```
//!
//! What always holds:
//!
//! - Each message of a batch that reached its end of transmission gets exactly one response, whatever the sink returns,
//!   forgets, repeats, invents or panics over. One that the sink did not answer counts as failed: numa sends it again.
//! - A batch that the sink has begun is carried to its end, also if numa disconnects meanwhile.
//! - Memory is bounded: `read_ahead` messages wait for the sink, the HTTP/2 windows bound the rest.
//! - The server-info file, by which numa learns that the sink is up, is written last.
//! - After shutdown has begun no new batch begins; those in hand are read to their ends and answered, within `grace`.

/// One batch: messages to the sink, its responses back.
mod call;
/// The messages of a batch, and which are answered.
mod roll;
/// One `SinkFn` stream: handshake, then batch after batch.
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use numaflow::proto::sink::sink_server::{Sink, SinkServer};
use numaflow::proto::sink::{ReadyResponse, SinkRequest, SinkResponse};
use numaflow::sink::Sinker;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::ServerError;
use super::listener::{Kind, Place};
use super::serving;

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The Unix socket to listen on. Numaflow expects `/var/run/numaflow/sink.sock`.
    pub sock_path: PathBuf,
    /// The server-info file. Numaflow expects `/var/run/numaflow/sinker-server-info`.
    pub server_info_path: PathBuf,
    /// Messages buffered between a stream and the sink; 0 counts as 1.
    pub read_ahead: usize,
    /// The largest gRPC message, either way, in bytes. Numaflow's own limit is 64 MiB.
    pub max_message_size: usize,
    /// How long batches in hand may take after shutdown has begun. Kubernetes ends the pod after 30 s.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            sock_path: PathBuf::from(numaflow::sink::SOCK_ADDR),
            server_info_path: PathBuf::from(numaflow::sink::SERVER_INFO_FILE),
            read_ahead: 16,
            max_message_size: 64 << 20,
            grace: Duration::from_secs(20),
        }
    }
}

/// Which sink of the manifest a container is: Numaflow sets it. The SDK reads it, too.
const CONTAINER_TYPE: &str = "NUMAFLOW_UD_CONTAINER_TYPE";

impl ServerConfig {
    /// The defaults with these paths. A path that is not given is the one where numa expects this container: its sink, its
    /// fallback sink or its onSuccess sink.
    #[must_use]
    pub fn at(sock_path: Option<PathBuf>, server_info_path: Option<PathBuf>) -> Self {
        let container = std::env::var(CONTAINER_TYPE).unwrap_or_default();
        let (sock, server_info) = expected(&container);
        Self {
            sock_path: sock_path.unwrap_or_else(|| sock.into()),
            server_info_path: server_info_path.unwrap_or_else(|| server_info.into()),
            ..Self::default()
        }
    }
}

/// Socket and server-info file by the type of the container.
fn expected(container: &str) -> (&'static str, &'static str) {
    use numaflow::sink;
    match container {
        "fb-udsink" => (sink::FB_SOCK_ADDR, sink::FB_SERVER_INFO_FILE),
        "ons-udsink" => (sink::ONS_SOCK_ADDR, sink::ONS_SERVER_INFO_FILE),
        _ => (sink::SOCK_ADDR, sink::SERVER_INFO_FILE),
    }
}

/// What all streams share.
struct Host<S> {
    sink: Arc<S>,
    read_ahead: usize,
    shutdown: CancellationToken,
    /// Every stream ends.
    drained: CancellationToken,
    /// Holds one token for each open stream, and for each batch that the sink works on.
    work: TaskTracker,
}

/// Serves a [`Sinker`] on a Unix socket until shutdown.
pub struct Server<S> {
    sink: Arc<S>,
    config: ServerConfig,
}

impl<S: Sinker + Send + Sync + 'static> Server<S> {
    /// A host for `sink`.
    pub fn new(sink: Arc<S>, config: ServerConfig) -> Self {
        Self { sink, config }
    }

    /// Listens, writes the server-info file, and serves until `shutdown` is cancelled and the batches in hand are answered.
    /// Socket and server-info file are removed at the end, also if this future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be bound (another process answers on it, the path is another kind of file, the
    /// directory is not writable), when the server-info file cannot be written, or when tonic fails.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let config = self.config;
        let host = Arc::new(Host {
            sink: self.sink,
            read_ahead: config.read_ahead.max(1),
            shutdown,
            drained: CancellationToken::new(),
            work: TaskTracker::new(),
        });
        let service = SinkServer::new(Service(Arc::clone(&host)))
            .max_decoding_message_size(config.max_message_size)
            .max_encoding_message_size(config.max_message_size);
        let place = Place {
            kind: Kind::Sink,
            sock_path: &config.sock_path,
            server_info_path: &config.server_info_path,
        };
        let drained = drain(host, config.grace);
        serving::serve(place, |server| server.add_service(service), drained).await
    }
}

/// Waits for the shutdown, then until no batch is in hand or the grace period is over. Ends every stream.
async fn drain<S>(host: Arc<Host<S>>, grace: Duration) {
    host.shutdown.cancelled().await;
    info!(
        open = host.work.len(),
        "Shutting down: no new batch is begun, those in hand are finished."
    );
    host.work.close();
    tokio::select! {
        () = host.work.wait() => {}
        () = tokio::time::sleep(grace) => warn!(
            open = host.work.len(),
            waited = ?grace,
            "Batches are not answered: Numaflow delivers their messages again."
        ),
    }
    host.drained.cancel();
}

/// The protocol's two methods.
struct Service<S>(Arc<Host<S>>);

#[tonic::async_trait]
impl<S: Sinker + Send + Sync + 'static> Sink for Service<S> {
    type SinkFnStream = BoxStream<'static, Result<SinkResponse, Status>>;

    async fn sink_fn(
        &self,
        request: Request<Streaming<SinkRequest>>,
    ) -> Result<Response<Self::SinkFnStream>, Status> {
        let responses = stream::open(Arc::clone(&self.0), request.into_inner()).await?;
        Ok(Response::new(responses))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        let ready = !self.0.shutdown.is_cancelled();
        Ok(Response::new(ReadyResponse { ready }))
    }
}
