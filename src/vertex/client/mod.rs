//! The client that drives a sidecar exactly as Numaflow's numa container does: over the sidecar's
//! Unix socket, with real gRPC, one read batch after another on one `MapFn` stream.
//!
//! The demo, `send`, the benches and the black-box tests all go through it, so it is as strict as
//! numa is: each datum must be answered exactly once, with at least one message, before the end of
//! transmission, and nothing may follow that. It knows nothing of our own host; the SDK's server
//! satisfies it as well (a test says so).
//!
//! What always holds: a call sends and receives at the same time, so neither side can block the
//! other; what is in flight is bounded; a broken promise is an error that names the ids, and the
//! driver that saw one is not used again.
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

/// What came back for one read batch, and the books kept until it is whole.
mod answer;
/// What is sent.
mod datum;
/// What can go wrong, sidecar's fault or not.
mod error;
/// Whether a sidecar is up, found out as numa does.
mod ready;

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use hyper_util::rt::TokioIo;
use numaflow::proto::map::map_client::MapClient;
use numaflow::proto::map::{Handshake, MapRequest, MapResponse};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

pub use answer::Answer;
use answer::Books;
pub use datum::Datum;
use datum::end_of_transmission;
pub use error::DriverError;

/// The largest gRPC message, either way, in bytes: numa's own.
const MAX_MESSAGE_SIZE: usize = 64 << 20;

/// HTTP/2 frames the sidecar may send, in bytes.
const MAX_FRAME_SIZE: u32 = 1 << 20;

/// What the sidecar may send ahead, in bytes.
const WINDOW: u32 = 8 << 20;

/// Messages between the caller and the socket. A few, so that the socket is never idle while the
/// next datum is made; the HTTP/2 window bounds what is under way behind it.
const SEND_AHEAD: usize = 4;

/// What a driver is at when nothing is under way.
const BETWEEN: &str = "between two read batches";

/// Connects to a sidecar's socket. Several drivers may share a connection ([`Driver::over`]).
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

/// One `MapFn` stream to a sidecar. Dropped, it hangs up, as a numa container that is killed does.
#[derive(Debug)]
pub struct Driver {
    client: MapClient<Channel>,
    /// `None` once our half of the stream is closed.
    requests: Option<mpsc::Sender<MapRequest>>,
    responses: Streaming<MapResponse>,
    books: Books,
    /// A promise was broken: what comes next on the stream means nothing.
    broken: bool,
}

impl Driver {
    /// Connects, checks that the sidecar is ready, opens a stream and shakes hands.
    ///
    /// # Errors
    /// When no process listens, the sidecar is not ready, or the handshake is not echoed.
    pub async fn connect(sock: &Path) -> Result<Self, DriverError> {
        let channel = dial(sock).await?;
        let mut client = MapClient::new(channel.clone());
        if !ready::ask(&mut client).await? {
            return Err(DriverError::NotReady {
                path: sock.to_owned(),
            });
        }
        Self::over(channel).await
    }

    /// Opens a stream on a connection and shakes hands.
    ///
    /// # Errors
    /// When the stream is refused or the handshake is not echoed.
    pub async fn over(channel: Channel) -> Result<Self, DriverError> {
        let mut client = MapClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_SIZE)
            .max_encoding_message_size(MAX_MESSAGE_SIZE);
        let (requests, outgoing) = mpsc::channel(SEND_AHEAD);
        let handshake = Handshake { sot: true };
        let shaking_hands = MapRequest {
            handshake: Some(handshake),
            ..MapRequest::default()
        };
        // Before the call, for a sidecar may answer the call only when it has seen this.
        requests
            .send(shaking_hands)
            .await
            .map_err(|_| DriverError::Closed)?;
        let refused = |status| DriverError::status("opening a MapFn stream", status);
        let mut responses = client
            .map_fn(ReceiverStream::new(outgoing))
            .await
            .map_err(refused)?
            .into_inner();
        let reply = responses
            .message()
            .await
            .map_err(|status| DriverError::status("waiting for the handshake's echo", status))?;
        let echo = reply.as_ref().and_then(|reply| reply.handshake);
        if echo != Some(handshake) {
            return Err(DriverError::Handshake {
                got: reply.map(|reply| reply.id),
            });
        }
        Ok(Self {
            client,
            requests: Some(requests),
            responses,
            books: Books::default(),
            broken: false,
        })
    }

    /// Waits for a sidecar to come up as numa does, then connects: the server-info file must be
    /// whole and ask for a batch map over a Unix socket, then the socket must answer "ready".
    ///
    /// # Errors
    /// At once when the server-info file says what numa would refuse, or the handshake is not echoed;
    /// after `timeout` when the sidecar is not ready by then.
    pub async fn wait_ready(
        server_info: &Path,
        sock: &Path,
        timeout: Duration,
    ) -> Result<Self, DriverError> {
        ready::wait(server_info, sock, timeout).await
    }

    /// Whether the sidecar says it is ready.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&mut self) -> Result<bool, DriverError> {
        ready::ask(&mut self.client).await
    }

    /// One read batch: sends the datums as the stream yields them, paced or not, and the end of
    /// transmission when it ends; receives meanwhile; returns when the sidecar's end of transmission
    /// is here. Dropped before that, it leaves the batch open; a further call goes on with it.
    ///
    /// # Errors
    /// When a datum is answered not at all, twice, or by an empty list; when an unknown id is
    /// answered; when the stream breaks. The driver is of no use after that.
    pub async fn call<S>(&mut self, datums: S) -> Result<Answer, DriverError>
    where
        S: Stream<Item = Datum>,
    {
        self.usable()?;
        let settled = self.exchange(datums).await;
        self.broken = settled.is_err();
        settled
    }

    /// Sends one datum and nothing else.
    ///
    /// # Errors
    /// When the sidecar has ended the stream.
    pub async fn send_datum(&mut self, datum: Datum) -> Result<(), DriverError> {
        self.send_request(datum.into()).await
    }

    /// Ends the read batch that [`Driver::send_datum`] began.
    ///
    /// # Errors
    /// When the sidecar has ended the stream.
    pub async fn end_of_transmission(&mut self) -> Result<(), DriverError> {
        self.send_request(end_of_transmission()).await
    }

    /// Sends any message, also one the protocol does not allow.
    ///
    /// # Errors
    /// When the sidecar has ended the stream.
    pub async fn send_request(&mut self, request: MapRequest) -> Result<(), DriverError> {
        self.usable()?;
        let requests = self.requests.as_ref().ok_or(DriverError::Closed)?;
        let permit = requests.reserve().await.map_err(|_| DriverError::Closed)?;
        self.books.sent(&request);
        permit.send(request);
        Ok(())
    }

    /// Waits for the answer to the read batch that was sent piece by piece.
    ///
    /// # Errors
    /// As [`Driver::call`].
    pub async fn answer(&mut self) -> Result<Answer, DriverError> {
        self.usable()?;
        let settled = loop {
            match receive(&mut self.responses, &mut self.books).await {
                Ok(None) => {}
                Ok(Some(answer)) => break Ok(answer),
                Err(error) => break Err(error),
            }
        };
        self.broken = settled.is_err();
        settled
    }

    /// The next message from the sidecar, unchecked; `None` at the stream's end.
    ///
    /// # Errors
    /// The status the sidecar ends the stream with.
    pub async fn next_response(&mut self) -> Result<Option<MapResponse>, DriverError> {
        let next = self.responses.message().await;
        next.map_err(|status| DriverError::status("waiting for a response", status))
    }

    /// Closes our half of the stream, and leaves the sidecar's open.
    pub fn half_close(&mut self) {
        self.requests = None;
        self.books.no_more_datums();
    }

    /// Ends the stream as numa does between batches, and sees to it that nothing more comes. (The
    /// SDK's server takes the end for one more, empty read batch and answers it: that is let pass.)
    ///
    /// # Errors
    /// When a response comes after the last end of transmission.
    pub async fn finish(mut self) -> Result<(), DriverError> {
        self.usable()?;
        self.half_close();
        while let Some(late) = self.next_response().await? {
            if !late.status.is_some_and(|status| status.eot) {
                return Err(DriverError::AfterEot { id: late.id });
            }
        }
        Ok(())
    }

    /// Whether the stream still means anything.
    fn usable(&self) -> Result<(), DriverError> {
        if self.broken {
            return Err(DriverError::Closed);
        }
        Ok(())
    }

    /// Sends and receives, whichever is possible.
    async fn exchange<S: Stream<Item = Datum>>(
        &mut self,
        datums: S,
    ) -> Result<Answer, DriverError> {
        let Self {
            requests,
            responses,
            books,
            ..
        } = self;
        let requests = requests.as_ref().ok_or(DriverError::Closed)?;
        // Before anything is sent nothing may come, not even the stream's end.
        if books.is_new()
            && let Some(early) = responses.message().now_or_never()
        {
            let early = early.map_err(|status| DriverError::status(BETWEEN, status))?;
            return Err(
                early.map_or(DriverError::Closed, |late| DriverError::AfterEot {
                    id: late.id,
                }),
            );
        }
        let mut datums = pin!(datums.map(MapRequest::from));
        let mut outgoing: Option<MapRequest> = None;
        // False once the end of transmission is under way, or the sidecar reads no more.
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                received = receive(responses, books) => {
                    if let Some(answer) = received? {
                        return Ok(answer);
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
                datum = datums.next(), if outgoing.is_none() && more => {
                    more = datum.is_some();
                    outgoing = Some(datum.unwrap_or_else(end_of_transmission));
                }
            }
        }
    }
}

/// Takes in one message. The answer, when that was the batch's last.
async fn receive(
    responses: &mut Streaming<MapResponse>,
    books: &mut Books,
) -> Result<Option<Answer>, DriverError> {
    let received = responses.message().await;
    let response = received
        .map_err(|status| DriverError::status("waiting for a read batch's responses", status))?
        .ok_or_else(|| books.ended())?;
    books.received(response)
}
