//! The gRPC host of a source: it serves any `Sourcer` of the SDK on a Unix socket, as Numaflow asks.
//!
//! The SDK has its own server, which can run the same sources. The reasons for this host are what it does when numa goes: the
//! source survives (the SDK's server ends when numa disconnects in mid-read), the messages of a read that did not reach numa
//! are given back, and acks are taken after SIGTERM.
//!
//! Speed is a reason only for large messages. The frames of HTTP/2 are as large as the reader allows, and numa's settings are
//! tonic's. Ours ÷ the SDK's, two runs of `benches/source_host.rs`, medians, two busy cores:
//!
//! | reader, message | CPU time per message | messages/s |
//! |---|---|---|
//! | tonic's settings, 512 KiB | 0.80, 1.06 | 1.18, 1.16 |
//! | tonic's settings, 32 KiB | 1.16, 1.09 | 1.00, 0.91 |
//! | frames of 1 MiB, 512 KiB | 0.56, 0.59 | 1.34, 1.49 |
//! | frames of 1 MiB, 32 KiB | 0.84, 0.83 | 1.18, 1.10 |
//!
//! ```text
//! numa ──ReadFn stream──▶ reading ──one read──▶ Sourcer::read
//!                            ▲                      │ 16 messages at most
//!                            └──messages, then EOT──┘
//! numa ──AckFn stream, NackFn, …──▶ acking, the methods below ──▶ Sourcer::{ack, nack, …}
//! ```
//!
//! What always holds:
//!
//! - A read ends when `Sourcer::read` returns: one end of transmission for each read, behind its last message. The source
//!   ends a read at its count or its timeout.
//! - A read that does not reach its end of transmission is given back: while the source still reads, its channel closes;
//!   after that, its messages are nacked.
//! - An ack or a nack that has arrived is carried out, also if numa disconnects meanwhile. None fails; the source ignores
//!   unknown offsets.
//! - A message that numa would end at (no offset) or that is larger than a gRPC message may be is left out, with an error in
//!   the log.
//! - A panic of the source ends its stream and not the process.
//! - Memory is bounded: a few messages between source and stream, the HTTP/2 windows behind them.
//! - The server-info file, by which numa learns that the source is up and takes nacks, is written last.
//! - After shutdown has begun no new read begins. Acks are taken until every message that is out is settled, numa
//!   disconnects, or the grace period ends. The read in hand ends when the source ends it: give it the same token.

/// One `AckFn` stream.
mod acking;
/// One `ReadFn` stream.
mod reading;

use std::any::Any;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use numaflow::proto::source::source_server::{Source, SourceServer};
use numaflow::proto::source::{
    self as proto, AckRequest, AckResponse, NackRequest, NackResponse, PartitionsResponse,
    PendingResponse, ReadRequest, ReadResponse, ReadyResponse,
};
use numaflow::source::{NackOffset, Offset, Sourcer};
use tokio::sync::Notify;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, info, warn};

use super::ServerError;
use super::listener::{Kind, Place};
use super::serving;

/// Where and how to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The Unix socket to listen on. Numaflow expects `/var/run/numaflow/source.sock`.
    pub sock_path: PathBuf,
    /// The server-info file. Numaflow expects `/var/run/numaflow/sourcer-server-info`.
    pub server_info_path: PathBuf,
    /// The largest gRPC message, either way, in bytes. Numaflow's own limit is 64 MiB.
    pub max_message_size: usize,
    /// How long acks are taken after shutdown has begun. Numa finishes what it has within 20 s, and Kubernetes ends the pod
    /// after 30 s.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            sock_path: PathBuf::from(numaflow::source::SOCK_ADDR),
            server_info_path: PathBuf::from(numaflow::source::SERVER_INFO_FILE),
            max_message_size: 64 << 20,
            grace: Duration::from_secs(20),
        }
    }
}

/// The number of messages that are read and not acked.
type Unacked = dyn Fn() -> u64 + Send + Sync;

/// What all streams share.
struct Host<S> {
    source: Arc<S>,
    unacked: Box<Unacked>,
    max_message_size: usize,
    shutdown: CancellationToken,
    /// Every stream ends.
    drained: CancellationToken,
    /// Holds one token for each open stream.
    streams: TaskTracker,
    /// Reads in hand.
    reads: AtomicUsize,
    /// A read, an ack or a nack is over.
    settled: Notify,
}

/// Serves a [`Sourcer`] on a Unix socket until shutdown.
pub struct Server<S> {
    source: Arc<S>,
    config: ServerConfig,
    unacked: Box<Unacked>,
}

impl<S: Sourcer + Send + Sync + 'static> Server<S> {
    /// A host for `source`. `unacked` says how many messages are read and not acked: the shutdown waits until there is none.
    pub fn new(
        source: Arc<S>,
        config: ServerConfig,
        unacked: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            source,
            config,
            unacked: Box::new(unacked),
        }
    }

    /// Listens, writes the server-info file, and serves until `shutdown` is cancelled and what is out is settled. Socket and
    /// server-info file are removed at the end, also if this future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be bound (another process answers on it, the path is another kind of file, the
    /// directory is not writable), when the server-info file cannot be written, or when tonic fails.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let config = self.config;
        let host = Arc::new(Host {
            source: self.source,
            unacked: self.unacked,
            max_message_size: config.max_message_size,
            shutdown,
            drained: CancellationToken::new(),
            streams: TaskTracker::new(),
            reads: AtomicUsize::new(0),
            settled: Notify::new(),
        });
        let service = SourceServer::new(Service(Arc::clone(&host)))
            .max_decoding_message_size(config.max_message_size)
            .max_encoding_message_size(config.max_message_size);
        let place = Place {
            kind: Kind::Source,
            sock_path: &config.sock_path,
            server_info_path: &config.server_info_path,
        };
        let drained = drain(host, config.grace);
        serving::serve(place, |server| server.add_service(service), drained).await
    }
}

/// Waits for the shutdown, then until nothing is out, no client is left, or the grace period is over. Ends every stream.
async fn drain<S>(host: Arc<Host<S>>, grace: Duration) {
    host.shutdown.cancelled().await;
    info!(
        streams = host.streams.len(),
        unacked = (host.unacked)(),
        "Shutting down: no new read is begun, and acks are taken for a while."
    );
    host.streams.close();
    tokio::select! {
        () = host.streams.wait() => {}
        () = host.nothing_is_out() => {}
        () = tokio::time::sleep(grace) => warn!(
            unacked = (host.unacked)(),
            waited = ?grace,
            "Messages are read and not acked: the next source delivers them again, if it can."
        ),
    }
    host.drained.cancel();
}

impl<S> Host<S> {
    async fn nothing_is_out(&self) {
        loop {
            // The listener is registered before the look, so that no change in between is missed.
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.reads.load(Ordering::SeqCst) == 0 && (self.unacked)() == 0 {
                return;
            }
            settled.await;
        }
    }
}

/// Runs a call of the source in a task of its own, so that it ends even if numa disconnects, and a panic ends no more than it.
async fn carry_out<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(call).await.map_err(broken)
}

/// The status of a call whose task has ended without a result.
fn broken(failure: JoinError) -> Status {
    if failure.is_cancelled() {
        return Status::unavailable("the source ends");
    }
    panicked(failure.into_panic())
}

/// What a source panicked with.
type Panic = Box<dyn Any + Send>;

/// The status of a call that panicked.
fn panicked(panic: Panic) -> Status {
    let message = crate::telemetry::panic::message(panic.as_ref());
    error!(panic = %message, "The source panicked: its stream ends, and the process goes on.");
    Status::internal("the source panicked; see its log")
}

/// The protocol's methods.
struct Service<S>(Arc<Host<S>>);

fn offset(offset: proto::Offset) -> Offset {
    Offset {
        offset: offset.offset,
        partition_id: offset.partition_id,
    }
}

#[tonic::async_trait]
impl<S: Sourcer + Send + Sync + 'static> Source for Service<S> {
    type ReadFnStream = BoxStream<'static, Result<ReadResponse, Status>>;
    type AckFnStream = BoxStream<'static, Result<AckResponse, Status>>;

    async fn read_fn(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadFnStream>, Status> {
        let responses = reading::open(Arc::clone(&self.0), request.into_inner()).await?;
        Ok(Response::new(responses))
    }

    async fn ack_fn(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckFnStream>, Status> {
        let responses = acking::open(Arc::clone(&self.0), request.into_inner()).await?;
        Ok(Response::new(responses))
    }

    async fn nack_fn(
        &self,
        request: Request<NackRequest>,
    ) -> Result<Response<NackResponse>, Status> {
        let requests = request.into_inner().request.into_iter();
        let nacks = requests.flat_map(|request| {
            let options = request.nack_options.map(Into::into);
            let nack = move |nacked| NackOffset {
                offset: offset(nacked),
                options: Clone::clone(&options),
            };
            request.offsets.into_iter().map(nack)
        });
        let nacks: Vec<NackOffset> = nacks.collect();
        let host = Arc::clone(&self.0);
        carry_out(async move {
            host.source.nack(nacks).await;
            host.settled.notify_waiters();
        })
        .await?;
        Ok(Response::new(NackResponse {
            result: Some(proto::nack_response::Result { success: Some(()) }),
        }))
    }

    async fn pending_fn(&self, _: Request<()>) -> Result<Response<PendingResponse>, Status> {
        let pending = self.0.source.pending().await;
        // A negative number says that the source cannot tell.
        let count = pending.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
        Ok(Response::new(PendingResponse {
            result: Some(proto::pending_response::Result { count }),
        }))
    }

    async fn partitions_fn(&self, _: Request<()>) -> Result<Response<PartitionsResponse>, Status> {
        let source = &self.0.source;
        let partitions = source.active_partitions().await.unwrap_or_else(|| {
            let replica = std::env::var("NUMAFLOW_REPLICA").ok();
            vec![replica.and_then(|text| text.parse().ok()).unwrap_or(0)]
        });
        let total_partitions = source.total_partitions().await;
        Ok(Response::new(PartitionsResponse {
            result: Some(proto::partitions_response::Result {
                partitions,
                total_partitions,
            }),
        }))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        let ready = !self.0.shutdown.is_cancelled();
        Ok(Response::new(ReadyResponse { ready }))
    }
}
