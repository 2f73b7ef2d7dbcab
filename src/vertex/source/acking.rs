//! One `AckFn` stream: the handshake, then one reply for each request.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use numaflow::proto::source::{AckRequest, AckResponse, ack_response};
use numaflow::source::Sourcer;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::debug;

use super::{Host, carry_out, offset};

/// Shakes hands and returns the stream's responses, the handshake's echo first. It does so during a shutdown too, because
/// messages that were read must still be acked.
///
/// # Errors
/// The status the whole request is refused with: the source is drained, or the handshake did not come.
pub(super) async fn open<S: Sourcer + Send + Sync + 'static>(
    host: Arc<Host<S>>,
    mut requests: Streaming<AckRequest>,
) -> Result<BoxStream<'static, Result<AckResponse, Status>>, Status> {
    let token = host.streams.token();
    let first = tokio::select! {
        biased;
        () = host.drained.cancelled() => {
            return Err(Status::unavailable("the source is shutting down; try again later"));
        }
        first = requests.message() => first?,
    };
    let Some(handshake) = first.and_then(|request| request.handshake) else {
        return Err(Status::invalid_argument(
            "the first message of an AckFn stream must be a handshake, and was not",
        ));
    };
    let echo = AckResponse {
        handshake: Some(handshake),
        result: None,
    };
    let session = Session {
        host,
        requests,
        over: false,
        _token: token,
    };
    let replies = stream::unfold(session, |mut session| async move {
        let reply = session.next_reply().await?;
        Some((reply, session))
    });
    Ok(stream::once(ready(Ok(echo))).chain(replies).boxed())
}

/// A stream that has shaken hands.
struct Session<S> {
    host: Arc<Host<S>>,
    requests: Streaming<AckRequest>,
    /// Nothing more will be read.
    over: bool,
    /// Keeps the shutdown waiting for as long as the stream lives.
    _token: TaskTrackerToken,
}

impl<S: Sourcer + Send + Sync + 'static> Session<S> {
    /// The reply to the next request; `None` when the stream is to end.
    async fn next_reply(&mut self) -> Option<Result<AckResponse, Status>> {
        if self.over {
            return None;
        }
        // Acks that have arrived go first: a drained source may have some in its socket.
        let request = tokio::select! {
            biased;
            request = self.requests.message() => request,
            () = self.host.drained.cancelled() => return None,
        };
        let reply = match request {
            Ok(None) => return None,
            Ok(Some(request)) => self.ack(request).await,
            Err(status) => {
                debug!(code = ?status.code(), error = status.message(), "A stream of acks broke off.");
                Err(status)
            }
        };
        self.over = reply.is_err();
        Some(reply)
    }

    async fn ack(&self, request: AckRequest) -> Result<AckResponse, Status> {
        let Some(request) = request.request else {
            return Err(Status::invalid_argument(
                "the AckFn protocol does not allow a message without offsets behind the handshake",
            ));
        };
        let offsets = request.offsets.into_iter().map(offset).collect();
        let host = Arc::clone(&self.host);
        carry_out(async move {
            host.source.ack(offsets).await;
            host.settled.notify_waiters();
        })
        .await?;
        Ok(AckResponse {
            result: Some(ack_response::Result { success: Some(()) }),
            handshake: None,
        })
    }
}
