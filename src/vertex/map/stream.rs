//! One `MapFn` stream: the handshake, then read batch after read batch until either side ends it.
//!
//! The stream has no task of its own. Its work is the body of the response stream, which tonic polls, and drops when numa
//! disconnects. So every state here must be safe to drop at any await.
//!
//! What always holds: the handshake comes first and is echoed first; one read batch is open at a
//! time; the responses of a batch and its end of transmission leave as one item, so that nothing
//! comes between them; after an error nothing more is sent.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use numaflow::proto::map::{MapRequest, MapResponse};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::call::{self, Answered};
use super::{Host, Mapper};

/// One item of the response stream.
type Burst = Vec<Result<MapResponse, Status>>;

/// Shakes hands and returns the stream's responses, the handshake's echo first.
///
/// # Errors
/// The status the whole request is refused with: shutdown has begun, or the handshake did not come.
pub(super) async fn open<H: Mapper>(
    host: Arc<Host<H>>,
    mut requests: Streaming<MapRequest>,
) -> Result<BoxStream<'static, Result<MapResponse, Status>>, Status> {
    // Take the token before checking the shutdown: the shutdown waits for every token.
    let token = host.streams.token();
    let first = tokio::select! {
        biased;
        () = host.shutdown.cancelled() => {
            return Err(Status::unavailable("the sidecar is shutting down; try again later"));
        }
        first = requests.message() => first?,
    };
    let handshake = match first {
        Some(request) => request.handshake,
        None => None,
    };
    let Some(handshake) = handshake else {
        return Err(Status::invalid_argument(
            "the first message of a MapFn stream must be a handshake, and was not",
        ));
    };
    info!("Numa has opened a stream.");
    let echo = MapResponse {
        handshake: Some(handshake),
        ..MapResponse::default()
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
struct Session<H> {
    host: Arc<Host<H>>,
    requests: Streaming<MapRequest>,
    /// Nothing more will be read.
    over: bool,
    /// Keeps the shutdown waiting for as long as the stream lives.
    _token: TaskTrackerToken,
}

impl<H: Mapper> Session<H> {
    /// The responses of the next read batch; `None` when the stream is to end.
    async fn next_burst(&mut self) -> Option<Burst> {
        if self.over {
            return None;
        }
        // A call begins with its first message. A stream between batches has no open call and may end at once.
        let first = tokio::select! {
            biased;
            () = self.host.shutdown.cancelled() => {
                debug!("The stream is between batches and ends, for the sidecar is shutting down.");
                return None;
            }
            first = self.requests.message() => first,
        };
        let first = match first {
            Ok(Some(first)) => first,
            Ok(None) => {
                info!("Numa has closed the stream; the model stays loaded for the next one.");
                return None;
            }
            Err(status) => {
                info!(
                    code = ?status.code(),
                    error = status.message(),
                    "The stream broke off between batches; the model stays loaded for the next one."
                );
                self.over = true;
                return Some(vec![Err(status)]);
            }
        };
        match call::run(&self.host, first, &mut self.requests).await {
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
