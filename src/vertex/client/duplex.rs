//! A stream in both directions, as all of Numaflow's protocols have it: the handshake, then requests out and responses in.
//!
//! What always holds: sending never waits for receiving, nor the other way round; a few requests at most are between the
//! caller and the socket.

use std::pin::pin;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::DriverError;

/// Messages between the caller and the socket. A few, so that the socket is never idle while the
/// next datum is made; the HTTP/2 window bounds what is under way behind it.
const SEND_AHEAD: usize = 4;

/// The requests of a new stream. `hello`, the handshake, is the first: it is there before the call, because a sidecar may
/// answer the call only when it has seen it.
pub(super) fn outgoing<Q>(hello: Q) -> (mpsc::Sender<Q>, ReceiverStream<Q>) {
    let (requests, outgoing) = mpsc::channel(SEND_AHEAD);
    // A new channel has room.
    let _ = requests.try_send(hello);
    (requests, ReceiverStream::new(outgoing))
}

/// Waits for the handshake's echo. `check` says what came instead of it.
///
/// # Errors
/// When the stream ends, breaks, or begins with something else.
pub(super) async fn echo<R>(
    responses: &mut Streaming<R>,
    method: &'static str,
    check: impl FnOnce(R) -> Result<(), String>,
) -> Result<(), DriverError> {
    let reply = responses
        .message()
        .await
        .map_err(|status| DriverError::status("waiting for the handshake's echo", status))?;
    let wrong = |got| DriverError::Handshake { method, got };
    check(reply.ok_or_else(|| wrong(None))?).map_err(|got| wrong(Some(got)))
}

/// The account of what is sent and received in one batch.
pub(super) trait Books<Q, R> {
    /// What the batch comes to.
    type Settled;

    /// Enters what is sent.
    fn sent(&mut self, request: &Q);

    /// Enters what came back. The result, if that was the batch's last message.
    ///
    /// # Errors
    /// When the sidecar broke a promise.
    fn received(&mut self, response: R) -> Result<Option<Self::Settled>, DriverError>;

    /// The error of a stream that ended within the batch.
    fn ended(&self) -> DriverError;
}

/// Takes in one message. The result, when that was the batch's last.
pub(super) async fn receive<Q, R, B: Books<Q, R>>(
    responses: &mut Streaming<R>,
    books: &mut B,
) -> Result<Option<B::Settled>, DriverError> {
    let received = responses.message().await;
    let response = received
        .map_err(|status| DriverError::status("waiting for a batch's responses", status))?
        .ok_or_else(|| books.ended())?;
    books.received(response)
}

/// Sends what `batch` yields and receives, whichever is possible, until the books are settled.
///
/// # Errors
/// When the sidecar broke a promise or the stream breaks.
pub(super) async fn exchange<Q, R, B: Books<Q, R>>(
    requests: &mpsc::Sender<Q>,
    responses: &mut Streaming<R>,
    books: &mut B,
    batch: impl Stream<Item = Q>,
) -> Result<B::Settled, DriverError> {
    let mut batch = pin!(batch);
    let mut outgoing: Option<Q> = None;
    // False once the end of transmission is under way, or the sidecar reads no more.
    let mut more = true;
    loop {
        tokio::select! {
            biased;
            received = receive(responses, books) => {
                if let Some(settled) = received? {
                    return Ok(settled);
                }
            }
            permit = requests.reserve(), if outgoing.is_some() => match (permit, outgoing.take()) {
                (Ok(permit), Some(request)) => {
                    books.sent(&request);
                    permit.send(request);
                }
                // The sidecar has ended the stream. Why is what it says next.
                _ => more = false,
            },
            request = batch.next(), if outgoing.is_none() && more => {
                more = request.is_some();
                outgoing = request;
            }
        }
    }
}
