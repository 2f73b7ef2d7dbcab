//! The gRPC host of a map: it serves any `Mapper`, and so any `BatchMapper` of the SDK, on a Unix socket, as Numaflow asks.
//!
//! The SDK has its own servers, which can run the same handlers. This host adds large HTTP/2 frames and windows (less than
//! half the CPU at 512 KiB a message), answers that leave before the end of a read batch, a handler that survives reconnects
//! of numa and its own panics, the metadata of each datum on its results, and an end of transmission right behind the last
//! response.
//!
//! Numaflow has two kinds of map that suit it ([`MapMode`]). A *batch map* is driven in read batches, each ended by an end of
//! transmission from both sides. A *unary map* has no batches: datums come and responses go, in any order, for as long as the
//! stream lives. The host takes a unary stream for one call without an end.
//!
//! ```text
//! numa ──MapFn stream──▶ stream ──datums of a call──▶ call ──Receiver<Datum>──▶ handler (own task)
//!                          ▲                           │ roll: what came and is not answered
//!                          └──responses, as they come──┴◀──Sender<Vec<Mapped>>──┘
//! ```
//!
//! What always holds:
//!
//! - Each datum that enters a call leaves it in exactly one response, with at least one message and
//!   with its own metadata, whatever the handler returns, forgets, repeats, invents or panics over.
//! - In a batch map the last response of a call is held until numa's end of transmission has come and the handler has
//!   returned. Then it leaves with ours in one write. So numa never sees all ids of a read batch answered and the end missing,
//!   which its releases up to 1.8.3 do not survive.
//! - The work of a stream is part of its response stream: when numa disconnects, tonic drops that stream, and the call with
//!   its handler task is dropped too.
//! - Streams share the handler and, on one connection, its window. A stalled stream delays no other.
//! - Memory is bounded: `read_ahead` datums wait for the handler, a few answers for the socket, the HTTP/2 windows bound the
//!   rest.
//! - The server-info file, by which numa learns that the sidecar is up, is written last.
//! - After shutdown has begun no new call starts. An open read batch is read to its end and answered. A unary stream is not
//!   read any further, and what has come is answered.

/// One call: datums to the handler, its answers back.
mod call;
/// The datums of a call that are not answered.
mod roll;
/// One `MapFn` stream: handshake, then call after call.
mod stream;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::BoxStream;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum};
use numaflow::proto::map::map_server::{Map, MapServer};
use numaflow::proto::map::{MapRequest, MapResponse, ReadyResponse};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::listener::{Kind, Place};
use super::serving;
pub use super::{MapMode, ServerError};

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Batch or unary map.
    pub map_mode: MapMode,
    /// The Unix socket to listen on. Numaflow expects [`MapMode::sock_path`].
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
            map_mode: MapMode::Batch,
            sock_path: PathBuf::from(MapMode::Batch.sock_path()),
            server_info_path: PathBuf::from(numaflow::batchmap::SERVER_INFO_FILE),
            read_ahead: 16,
            max_message_size: 64 << 20,
        }
    }
}

/// The group of the results' user metadata.
const GROUP: &str = "beamflow";

/// What a message's metadata say: keys and values of the group `beamflow` in Numaflow's user metadata.
pub type Notes = Arc<[(&'static str, String)]>;

/// A handler's response to one datum.
pub struct Mapped {
    /// Its messages.
    pub response: BatchResponse,
    /// What the metadata of each message say; none beyond its end.
    pub notes: Vec<Notes>,
}

/// Where a handler leaves its answers, some at a time.
pub type Answers = mpsc::Sender<Vec<Mapped>>;

/// A handler of datums.
#[tonic::async_trait]
pub trait Mapper: Send + Sync + 'static {
    /// Answers datums, each as soon as its answer is there, in any order, and returns when they have ended and all are
    /// answered. In a batch map they are the datums of a read batch, in a unary map those of a stream.
    async fn map(&self, datums: mpsc::Receiver<Datum>, answers: Answers);
}

/// The SDK's handler answers at the end, and its messages have no metadata.
#[tonic::async_trait]
impl<H: BatchMapper + Send + Sync + 'static> Mapper for H {
    async fn map(&self, datums: mpsc::Receiver<Datum>, answers: Answers) {
        let responses = self.batchmap(datums).await.into_iter();
        let without_notes = |response| Mapped {
            response,
            notes: Vec::new(),
        };
        // An error means that the call was given up.
        let _ = answers.send(responses.map(without_notes).collect()).await;
    }
}

/// Why the host answers a datum itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The handler did not answer it.
    Unanswered,
    /// The handler's response is larger than a gRPC message may be.
    TooLarge,
}

/// What a datum is answered with when the handler's response is missing or cannot be sent.
type Instead = dyn Fn(String, Why) -> BatchResponse + Send + Sync;

/// What all streams share.
struct Host<H> {
    handler: Arc<H>,
    instead: Box<Instead>,
    map_mode: MapMode,
    read_ahead: usize,
    max_message_size: usize,
    shutdown: CancellationToken,
    /// Holds one token for each open stream.
    streams: TaskTracker,
}

/// Serves a [`Mapper`] on a Unix socket until shutdown.
pub struct Server<H> {
    handler: Arc<H>,
    config: ServerConfig,
    instead: Box<Instead>,
}

impl<H: Mapper> Server<H> {
    /// A host for `handler`. `instead` makes the response of a datum that the handler was given and did not answer (it
    /// panicked, returned early, or forgot), or answered with more than fits into a message: a nack or a drop, as
    /// configured. Of what it returns only the messages count; none at all counts as a drop.
    pub fn new(
        handler: Arc<H>,
        config: ServerConfig,
        instead: impl Fn(String, Why) -> BatchResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler,
            config,
            instead: Box::new(instead),
        }
    }

    /// Listens, writes the server-info file, and serves until `shutdown` is cancelled. Then it reads the open calls to their
    /// ends, answers them, and returns. Socket and server-info file are removed at the end, also if this future is dropped, so
    /// a timeout around it can bound the drain.
    ///
    /// # Errors
    /// When the socket cannot be bound (another process answers on it, the path is another kind of file, the
    /// directory is not writable), when the server-info file cannot be written, or when tonic fails.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let Self {
            handler,
            config,
            instead,
        } = self;
        let host = Arc::new(Host {
            handler,
            instead,
            map_mode: config.map_mode,
            read_ahead: config.read_ahead.max(1),
            max_message_size: config.max_message_size,
            shutdown,
            streams: TaskTracker::new(),
        });
        let service = MapServer::new(Service(Arc::clone(&host)))
            .max_decoding_message_size(config.max_message_size)
            .max_encoding_message_size(config.max_message_size);
        let place = Place {
            kind: Kind::Map(config.map_mode),
            sock_path: &config.sock_path,
            server_info_path: &config.server_info_path,
        };
        serving::serve(place, |server| server.add_service(service), drain(&host)).await
    }
}

/// Waits for the shutdown, then for the open streams to end.
fn drain<H>(host: &Host<H>) -> impl Future<Output = ()> + use<H> {
    let (shutdown, streams) = (host.shutdown.clone(), host.streams.clone());
    async move {
        shutdown.cancelled().await;
        info!(
            streams = streams.len(),
            "Shutting down: no new call is begun, those in hand are finished."
        );
        streams.close();
        streams.wait().await;
    }
}

/// The protocol's two methods.
struct Service<H>(Arc<Host<H>>);

#[tonic::async_trait]
impl<H: Mapper> Map for Service<H> {
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
