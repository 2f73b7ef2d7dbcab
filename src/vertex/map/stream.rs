//! One `MapFn` stream: the handshake, then call after call until either side ends it.
//!
//! The stream has no task of its own. Its work is the body of the response stream, which tonic polls, and drops when numa
//! disconnects. So every state here must be safe to drop at any await.
//!
//! What always holds: the handshake comes first and is echoed first; one call is open at a
//! time; the last responses of a read batch and its end of transmission leave as one item, so that nothing
//! comes between them; after an error nothing more is sent.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use numaflow::proto::map::{MapRequest, MapResponse};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::call::{Call, Step};
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
        call: None,
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
    /// The call in hand.
    call: Option<Call>,
    /// Nothing more will be read.
    over: bool,
    /// Keeps the shutdown waiting for as long as the stream lives.
    _token: TaskTrackerToken,
}

impl<H: Mapper> Session<H> {
    /// The next responses; `None` when the stream is to end.
    async fn next_burst(&mut self) -> Option<Burst> {
        if self.over {
            return None;
        }
        let burst = match self.next_responses().await {
            Ok(responses) => responses?.into_iter().map(Ok).collect(),
            Err(status) => {
                self.over = true;
                self.call = None;
                vec![Err(status)]
            }
        };
        Some(burst)
    }

    async fn next_responses(&mut self) -> Result<Option<Vec<MapResponse>>, Status> {
        if self.call.is_none() {
            match self.begin().await? {
                Some(call) => self.call = Some(call),
                None => return Ok(None),
            }
        }
        let Some(call) = &mut self.call else {
            return Ok(None);
        };
        match call.step(&self.host, &mut self.requests).await? {
            Step::Responses(responses) => Ok(Some(responses)),
            Step::Last(responses) => {
                self.over = call.is_closed();
                self.call = None;
                Ok(Some(responses))
            }
        }
    }

    /// Waits for the first message of a call. A stream between calls has nothing in hand and may end at once.
    async fn begin(&mut self) -> Result<Option<Call>, Status> {
        let first = tokio::select! {
            biased;
            () = self.host.shutdown.cancelled() => {
                debug!("The stream is between calls and ends, for the sidecar is shutting down.");
                return Ok(None);
            }
            first = self.requests.message() => first,
        };
        match first {
            Ok(Some(first)) => {
                debug!("A call begins.");
                let mut call = Call::begin(&self.host);
                call.take_in(Some(first))?;
                Ok(Some(call))
            }
            Ok(None) => {
                info!("Numa has closed the stream; the model stays loaded for the next one.");
                Ok(None)
            }
            Err(status) => {
                info!(
                    code = ?status.code(),
                    error = status.message(),
                    "The stream broke off between calls; the model stays loaded for the next one."
                );
                Err(status)
            }
        }
    }
}
