//! One `SinkFn` stream: the handshake, then batch after batch until either side ends it.
//!
//! The stream has no task of its own. Its work is the body of the response stream, which tonic polls, and drops when numa
//! disconnects. What the sink has begun goes on in its own task.
//!
//! What always holds: the handshake comes first and is echoed first; one batch is open at a time; after an error nothing
//! more is sent.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use numaflow::proto::sink::{SinkRequest, SinkResponse};
use numaflow::sink::Sinker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::Host;
use super::call::{self, Answered};

/// One item of the response stream.
type Burst = Vec<Result<SinkResponse, Status>>;

/// Shakes hands and returns the stream's responses, the handshake's echo first.
///
/// # Errors
/// The status the whole request is refused with: shutdown has begun, or the handshake did not come.
pub(super) async fn open<S: Sinker + Send + Sync + 'static>(
    host: Arc<Host<S>>,
    mut requests: Streaming<SinkRequest>,
) -> Result<BoxStream<'static, Result<SinkResponse, Status>>, Status> {
    // Take the token before checking the shutdown: the shutdown waits for every token.
    let token = host.work.token();
    let first = tokio::select! {
        biased;
        () = host.shutdown.cancelled() => {
            return Err(Status::unavailable("the sink is shutting down; try again later"));
        }
        first = requests.message() => first?,
    };
    let Some(handshake) = first.and_then(|request| request.handshake) else {
        return Err(Status::invalid_argument(
            "the first message of a SinkFn stream must be a handshake, and was not",
        ));
    };
    info!("Numa has opened a stream.");
    let echo = SinkResponse {
        handshake: Some(handshake),
        ..SinkResponse::default()
    };
    let session = Session {
        host,
        requests,
        over: false,
        _token: token,
    };
    let bursts = stream::unfold(session, |mut session| async move {
        let burst = session.next_burst().await?;
        Some((burst, session))
    });
    Ok(stream::once(ready(Ok(echo)))
        .chain(bursts.flat_map(stream::iter))
        .boxed())
}

/// A stream that has shaken hands.
struct Session<S> {
    host: Arc<Host<S>>,
    requests: Streaming<SinkRequest>,
    /// Nothing more will be read.
    over: bool,
    /// Keeps the shutdown waiting for as long as the stream lives.
    _token: TaskTrackerToken,
}

impl<S: Sinker + Send + Sync + 'static> Session<S> {
    /// The responses of the next batch; `None` when the stream is to end.
    async fn next_burst(&mut self) -> Option<Burst> {
        if self.over {
            return None;
        }
        // A batch begins with its first message. A stream between batches has none open and may end at once.
        let first = tokio::select! {
            biased;
            () = self.host.shutdown.cancelled() => {
                debug!("The stream is between batches and ends, for the sink is shutting down.");
                return None;
            }
            first = self.requests.message() => first,
        };
        let answered = match first {
            Ok(Some(first)) => tokio::select! {
                biased;
                answered = call::run(&self.host, first, &mut self.requests) => answered,
                () = self.host.drained.cancelled() => return None,
            },
            Ok(None) => {
                info!("Numa has closed the stream; the sink waits for the next one.");
                return None;
            }
            Err(status) => {
                info!(
                    code = ?status.code(),
                    error = status.message(),
                    "The stream broke off between batches; the sink waits for the next one."
                );
                Err(status)
            }
        };
        match answered {
            Ok(Answered { responses, over }) => {
                self.over = over;
                Some(responses.into_iter().map(Ok).collect())
            }
            Err(status) => {
                self.over = true;
                Some(vec![Err(status)])
            }
        }
    }
}
