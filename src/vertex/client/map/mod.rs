//! The client of a map, on one `MapFn` stream.
//!
//! Of a batch map: one read batch after another. Each datum must be answered exactly once, with at least one message, before
//! the end of transmission, and nothing may follow that. Of a unary map: datum after datum, a number of them in flight. Each
//! must be answered exactly once, with at least one message, and nothing else may come.

/// What came back for one read batch, and the books kept until it is whole.
mod answer;
/// The datums in flight of a unary map.
mod unary;

use std::path::Path;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use numaflow::proto::map::map_client::MapClient;
use numaflow::proto::map::{Handshake, MapRequest, MapResponse};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

use super::datum::end_of_transmission;
use super::duplex::{self, Books as _};
use super::{Datum, DriverError, MAX_MESSAGE_SIZE, dial, ready};
use crate::vertex::MapMode;
pub use answer::Answer;
use answer::Books;
pub use unary::Answered;

/// Numaflow's default `limits.concurrency`: that of `limits.readBatchSize`.
const CONCURRENCY: usize = 500;

/// What a driver is at when nothing is under way.
const BETWEEN: &str = "between two read batches";

/// One `MapFn` stream to a sidecar. Dropped, it hangs up, as a numa container that is killed does.
#[derive(Debug)]
pub struct Driver {
    map_mode: MapMode,
    client: MapClient<Channel>,
    /// `None` once our half of the stream is closed.
    requests: Option<mpsc::Sender<MapRequest>>,
    responses: Streaming<MapResponse>,
    books: Books,
    /// Datums in flight of a unary map at most.
    concurrency: usize,
    /// A promise was broken: what comes next on the stream means nothing.
    broken: bool,
}

impl Driver {
    /// Connects to a map of this kind, checks that it is ready, opens a stream and shakes hands.
    ///
    /// # Errors
    /// When no process listens, the sidecar is not ready, or the handshake is not echoed.
    pub async fn connect(sock: &Path, map_mode: MapMode) -> Result<Self, DriverError> {
        let channel = dial(sock).await?;
        let mut client = MapClient::new(channel.clone());
        let reply = client.is_ready(()).await;
        ready::check(reply.map(|reply| reply.into_inner().ready), sock)?;
        Self::over(channel, map_mode).await
    }

    /// Opens a stream on a connection and shakes hands.
    ///
    /// # Errors
    /// When the stream is refused or the handshake is not echoed.
    pub async fn over(channel: Channel, map_mode: MapMode) -> Result<Self, DriverError> {
        let mut client = MapClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_SIZE)
            .max_encoding_message_size(MAX_MESSAGE_SIZE);
        let handshake = Handshake { sot: true };
        let (requests, outgoing) = duplex::outgoing(MapRequest {
            handshake: Some(handshake),
            ..MapRequest::default()
        });
        let mut responses = client
            .map_fn(outgoing)
            .await
            .map_err(|status| DriverError::status("opening a MapFn stream", status))?
            .into_inner();
        duplex::echo(&mut responses, "MapFn", |reply: MapResponse| {
            let is_echo = reply.handshake == Some(handshake);
            is_echo.then_some(()).ok_or(reply.id)
        })
        .await?;
        Ok(Self {
            map_mode,
            client,
            requests: Some(requests),
            responses,
            books: Books::of(map_mode),
            concurrency: CONCURRENCY,
            broken: false,
        })
    }

    /// Waits for a sidecar to come up as numa does, then connects: the server-info file must be
    /// whole and name the kind of map and a Unix socket, then the socket must answer "ready".
    ///
    /// # Errors
    /// At once when the server-info file says what numa would refuse, or the handshake is not echoed;
    /// after `timeout` when the sidecar is not ready by then.
    pub async fn wait_ready(
        server_info: &Path,
        sock: &Path,
        timeout: Duration,
    ) -> Result<Self, DriverError> {
        let connect = |map_mode| Self::connect(sock, map_mode);
        ready::wait(server_info, ready::Kind::Map, timeout, connect).await
    }

    /// The kind of map.
    pub fn map_mode(&self) -> MapMode {
        self.map_mode
    }

    /// With so many datums in flight at most, if it is a unary map: `limits.concurrency`.
    #[must_use]
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            ..self
        }
    }

    /// Whether the sidecar says it is ready.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&mut self) -> Result<bool, DriverError> {
        let reply = self.client.is_ready(()).await;
        ready::answer(reply.map(|reply| reply.into_inner().ready))
    }

    /// One read batch: sends the datums as the stream yields them, paced or not, and the end of
    /// transmission when it ends; receives meanwhile; returns when the sidecar's end of transmission
    /// is here. Dropped before that, it leaves the batch open; a further call goes on with it.
    ///
    /// A unary map has no end of transmission: it returns when the last datum is answered.
    ///
    /// # Errors
    /// When a datum is answered not at all, twice, or by an empty list; when an unknown id is
    /// answered; when the stream breaks. The driver is of no use after that.
    pub async fn call<S>(&mut self, datums: S) -> Result<Answer, DriverError>
    where
        S: Stream<Item = Datum>,
    {
        if self.map_mode == MapMode::Unary {
            let mut answer = Answer::default();
            answer.duration = self
                .stream(datums, |one| answer.add(one.id, one.messages))
                .await?;
            return Ok(answer);
        }
        self.usable()?;
        let settled = self.exchange(datums).await;
        self.broken = settled.is_err();
        settled
    }

    /// To a unary map: sends the datums as the stream yields them, a number of them in flight at most, and hands over each
    /// answer as it comes. Returns the time from the first datum to the last answer.
    ///
    /// # Errors
    /// As [`Driver::call`].
    pub async fn stream<S>(
        &mut self,
        datums: S,
        take: impl FnMut(Answered),
    ) -> Result<Duration, DriverError>
    where
        S: Stream<Item = Datum>,
    {
        self.usable()?;
        let requests = self.requests.as_ref().ok_or(DriverError::Closed)?;
        let (responses, most) = (&mut self.responses, self.concurrency);
        let streamed = unary::exchange(requests, responses, most, datums, take).await;
        self.broken = streamed.is_err();
        streamed
    }

    /// Sends one datum and nothing else.
    ///
    /// # Errors
    /// When the sidecar has ended the stream.
    pub async fn send_datum(&mut self, datum: Datum) -> Result<(), DriverError> {
        self.send_request(datum.into()).await
    }

    /// Ends the read batch that [`Driver::send_datum`] began. A unary map is sent nothing: it has no end of transmission.
    ///
    /// # Errors
    /// When the sidecar has ended the stream.
    pub async fn end_of_transmission(&mut self) -> Result<(), DriverError> {
        if self.map_mode == MapMode::Unary {
            self.books.no_more_datums();
            return Ok(());
        }
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
        if let Some(answer) = self.books.close_if_answered() {
            return Ok(answer);
        }
        let settled = loop {
            match duplex::receive(&mut self.responses, &mut self.books).await {
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
        let eot = stream::once(std::future::ready(end_of_transmission()));
        let batch = datums.map(MapRequest::from).chain(eot);
        duplex::exchange(requests, responses, books, batch).await
    }
}
