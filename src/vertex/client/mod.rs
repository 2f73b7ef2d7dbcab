//! The client that drives our programs exactly as Numaflow's numa container does: over their Unix sockets, with real gRPC.
//!
//! | part | plays | with |
//! |---|---|---|
//! | [`Driver`] | numa before a map | read batches on one `MapFn` stream, or datums in flight if the map is unary |
//! | [`Source`] | numa before a source | reads, acks, nacks with a delay, pending, partitions |
//! | [`Sink`] | numa before a sink | batches, and a verdict for each message |
//! | [`pipeline`] | a whole vertex: source → map → sink | read-ahead, redelivery, retries, restarts; each end may be in memory |
//!
//! Commands, benches and tests all go through it, so it is as strict as numa is. It knows nothing of our own hosts; the SDK's
//! servers satisfy it as well (tests say so).
//!
//! What always holds: a call sends and receives at the same time, so neither side can block the other; what is in flight is
//! bounded; a broken promise is an error that names the ids, and the client that saw one is not used again.
//!
//! ```no_run
//! # use beamflow::vertex::client::{Datum, Driver};
//! # use std::{path::Path, time::Duration};
//! # async fn example() -> Result<(), beamflow::vertex::client::DriverError> {
//! let run = Path::new("/var/run/numaflow");
//! let (info, sock) = (run.join("mapper-server-info"), run.join("batchmap.sock"));
//! let mut driver = Driver::wait_ready(&info, &sock, Duration::from_secs(30)).await?;
//! let frames = futures::stream::iter([Datum::new("frame-0", vec![0; 32768])]);
//! let answer = driver.call(frames).await?;
//! assert!(answer.get("frame-0").is_some());
//! # Ok(())
//! # }
//! ```
//!
//! [`Driver`]: crate::vertex::client::Driver
//! [`Source`]: crate::vertex::client::Source
//! [`Sink`]: crate::vertex::client::Sink
//! [`pipeline`]: crate::vertex::client::pipeline

/// What is sent to a map or a sink.
mod datum;
/// A stream in both directions: the handshake, and sending while receiving.
mod duplex;
/// What can go wrong, sidecar's fault or not.
mod error;
/// The client of a map.
mod map;
/// Source → map → sink.
pub mod pipeline;
/// Whether a sidecar is up, found out as numa does.
mod ready;
/// The client of a sink.
mod sink;
/// The client of a source.
mod source;

use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

pub use super::MapMode;
pub use datum::Datum;
pub use error::DriverError;
pub use map::{Answer, Answered, Driver};
pub use sink::{Replacement, Sink, Verdict};
pub use source::{Message, Nack, Offset, Source};

/// The largest gRPC message, either way, in bytes: numa's own.
const MAX_MESSAGE_SIZE: usize = 64 << 20;

/// HTTP/2 frames the sidecar may send, in bytes.
const MAX_FRAME_SIZE: u32 = 1 << 20;

/// What the sidecar may send ahead, in bytes.
const WINDOW: u32 = 8 << 20;

/// Connects to a sidecar's socket. Several clients may share a connection ([`Driver::over`]).
///
/// # Errors
/// When no process listens there.
pub async fn dial(sock: &Path) -> Result<Channel, DriverError> {
    let path = sock.to_owned();
    let failed = |source| DriverError::Connect {
        path: sock.to_owned(),
        source,
    };
    // The address is a formality: the connector below knows where to go.
    Endpoint::try_from("http://sidecar.local")
        .map_err(failed)?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME_SIZE)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .map_err(failed)
}
