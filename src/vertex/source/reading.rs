//! One `ReadFn` stream: the handshake, then read after read until either side ends it.
//!
//! The stream is the body of the response, which tonic polls, and drops when numa disconnects. The source's read is polled
//! there too, so that a message costs no switch of tasks. If the body is dropped, the read goes on in a task of its own: the
//! source must see that its channel is closed, to give its messages back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use numaflow::proto::source::{self as proto, ReadRequest, ReadResponse, read_response};
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest, Sourcer, UserMetadata};
use prost::Message as _;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::{debug, error, info, warn};

use super::{Host, Panic, panicked};

/// Messages between the source and the stream: enough to keep the stream busy, and few to give back.
const READ_AHEAD: usize = 16;

/// Shakes hands and returns the stream's responses, the handshake's echo first.
///
/// # Errors
/// The status the whole request is refused with: shutdown has begun, or the handshake did not come.
pub(super) async fn open<S: Sourcer + Send + Sync + 'static>(
    host: Arc<Host<S>>,
    mut requests: Streaming<ReadRequest>,
) -> Result<BoxStream<'static, Result<ReadResponse, Status>>, Status> {
    // Take the token before checking the shutdown: the shutdown waits for every token.
    let token = host.streams.token();
    let first = tokio::select! {
        biased;
        () = host.shutdown.cancelled() => {
            return Err(Status::unavailable("the source is shutting down; try again later"));
        }
        first = requests.message() => first?,
    };
    let Some(handshake) = first.and_then(|request| request.handshake) else {
        return Err(Status::invalid_argument(
            "the first message of a ReadFn stream must be a handshake, and was not",
        ));
    };
    info!("Numa has opened a stream.");
    let echo = ReadResponse {
        handshake: Some(handshake),
        ..ReadResponse::default()
    };
    let session = Session {
        host,
        requests,
        reading: None,
        over: false,
        _token: token,
    };
    let responses = stream::unfold(session, |mut session| async move {
        let response = session.next_response().await?;
        Some((response, session))
    });
    Ok(stream::once(ready(Ok(echo))).chain(responses).boxed())
}

/// A stream that has shaken hands.
struct Session<S: Sourcer + Send + Sync + 'static> {
    host: Arc<Host<S>>,
    requests: Streaming<ReadRequest>,
    /// The read in hand.
    reading: Option<Reading<S>>,
    /// Nothing more will be read.
    over: bool,
    /// Keeps the shutdown waiting for as long as the stream lives.
    _token: TaskTrackerToken,
}

impl<S: Sourcer + Send + Sync + 'static> Session<S> {
    /// The next message of the read in hand, or its end of transmission, or the same of the next read; `None` when the stream
    /// is to end.
    async fn next_response(&mut self) -> Option<Result<ReadResponse, Status>> {
        if self.over {
            return None;
        }
        let response = match self.reading.as_mut() {
            Some(reading) => reading.next().await,
            None => match self.next_request().await? {
                Err(status) => Err(status),
                Ok(request) if self.host.shutdown.is_cancelled() => {
                    self.idle(request.timeout).await?;
                    return Some(Ok(eot()));
                }
                Ok(request) => {
                    let reading = Reading::begin(Arc::clone(&self.host), request);
                    self.reading.insert(reading).next().await
                }
            },
        };
        match response {
            Ok(Some(message)) => Some(Ok(message)),
            Ok(None) => {
                self.reading.take()?.is_whole = true;
                Some(Ok(eot()))
            }
            Err(status) => {
                self.over = true;
                self.reading = None;
                Some(Err(status))
            }
        }
    }

    /// The next read; `None` when the stream is to end.
    async fn next_request(&mut self) -> Option<Result<SourceReadRequest, Status>> {
        let request = tokio::select! {
            biased;
            () = self.host.drained.cancelled() => return None,
            request = self.requests.message() => request,
        };
        match request {
            Ok(Some(ReadRequest {
                request: Some(request),
                ..
            })) => Some(Ok(SourceReadRequest {
                count: usize::try_from(request.num_records).unwrap_or(usize::MAX),
                timeout: Duration::from_millis(request.timeout_in_ms.into()),
            })),
            Ok(Some(_)) => Some(Err(Status::invalid_argument(
                "the ReadFn protocol does not allow a message without a request behind the handshake",
            ))),
            Ok(None) => {
                info!("Numa has closed the stream; the source waits for the next one.");
                None
            }
            Err(status) => {
                info!(
                    code = ?status.code(),
                    error = status.message(),
                    "The stream broke off between reads; the source waits for the next one."
                );
                Some(Err(status))
            }
        }
    }

    /// A read during the shutdown: it gets nothing, and no earlier than at its timeout. `None` when the source is drained.
    async fn idle(&mut self, timeout: Duration) -> Option<()> {
        tokio::select! {
            () = self.host.drained.cancelled() => None,
            () = tokio::time::sleep(timeout) => Some(()),
        }
    }
}

/// A read in hand. If it is dropped before its end, its messages are given back.
struct Reading<S: Sourcer + Send + Sync + 'static> {
    host: Arc<Host<S>>,
    messages: mpsc::Receiver<Message>,
    /// The source's read; `None` once it has returned.
    read: Option<BoxFuture<'static, Result<(), Panic>>>,
    /// Of the messages that have left for numa.
    offsets: Vec<Offset>,
    /// The end of transmission is next.
    is_whole: bool,
}

impl<S: Sourcer + Send + Sync + 'static> Reading<S> {
    fn begin(host: Arc<Host<S>>, request: SourceReadRequest) -> Self {
        host.reads.fetch_add(1, Ordering::SeqCst);
        let (to, messages) = mpsc::channel(READ_AHEAD);
        let source = Arc::clone(&host.source);
        let read = async move { source.read(request, to).await };
        Self {
            host,
            messages,
            read: Some(AssertUnwindSafe(read).catch_unwind().boxed()),
            offsets: Vec::new(),
            is_whole: false,
        }
    }

    /// The next message; `None` when the source has sent all and its read has returned.
    ///
    /// # Errors
    /// When the read panicked.
    async fn next(&mut self) -> Result<Option<ReadResponse>, Status> {
        loop {
            let message = match &mut self.read {
                None => self.messages.recv().await,
                Some(read) => tokio::select! {
                    biased;
                    Some(message) = self.messages.recv() => Some(message),
                    returned = read => {
                        self.read = None;
                        returned.map_err(panicked)?;
                        continue;
                    }
                },
            };
            let Some(message) = message else {
                return Ok(None);
            };
            if let Some(response) = self.take(message) {
                return Ok(Some(response));
            }
        }
    }

    /// A message as numa gets it; `None` if it must not.
    fn take(&mut self, message: Message) -> Option<ReadResponse> {
        let offset = copy(&message.offset);
        let response = response(message);
        let size = response.encoded_len();
        let largest = self.host.max_message_size;
        if offset.offset.is_empty() {
            error!(
                "The source gave a message without an offset: it is left out, for numa would end at it."
            );
            return None;
        }
        if size > largest {
            error!(
                bytes = size,
                largest,
                offset = %String::from_utf8_lossy(&offset.offset),
                "A message is larger than a gRPC message may be: it is left out."
            );
            return None;
        }
        self.offsets.push(offset);
        Some(response)
    }
}

impl<S: Sourcer + Send + Sync + 'static> Drop for Reading<S> {
    fn drop(&mut self) {
        self.host.reads.fetch_sub(1, Ordering::SeqCst);
        self.host.settled.notify_waiters();
        if self.is_whole {
            return;
        }
        warn!(
            messages = self.offsets.len(),
            "A read ended before numa had all of it: its messages are given back."
        );
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            debug!("The process ends before a read is given back.");
            return;
        };
        self.messages.close();
        let mut offsets = std::mem::take(&mut self.offsets);
        while let Ok(message) = self.messages.try_recv() {
            offsets.push(message.offset);
        }
        // A read that has not returned sees that its channel is closed, and gives back what it gave to it.
        if let Some(read) = self.read.take() {
            runtime.spawn(async move { read.await.map_err(panicked).map_err(drop) });
            return;
        }
        // One that has returned takes them for delivered.
        let nack = |offset| NackOffset {
            offset,
            options: None,
        };
        let nacks: Vec<NackOffset> = offsets.into_iter().map(nack).collect();
        if !nacks.is_empty() {
            let source = Arc::clone(&self.host.source);
            runtime.spawn(async move { source.nack(nacks).await });
        }
    }
}

/// The SDK's type cannot be cloned.
fn copy(offset: &Offset) -> Offset {
    Offset {
        offset: offset.offset.clone(),
        partition_id: offset.partition_id,
    }
}

/// A message as numa gets it.
fn response(message: Message) -> ReadResponse {
    let offset = proto::Offset {
        offset: message.offset.offset,
        partition_id: message.offset.partition_id,
    };
    let event_time = Timestamp {
        seconds: message.event_time.timestamp(),
        nanos: i32::try_from(message.event_time.timestamp_subsec_nanos()).unwrap_or(0),
    };
    let result = read_response::Result {
        payload: message.value,
        offset: Some(offset),
        event_time: Some(event_time),
        keys: message.keys,
        headers: message.headers,
        metadata: Some(metadata(message.user_metadata.as_ref())),
    };
    ReadResponse {
        result: Some(result),
        ..ReadResponse::default()
    }
}

/// The SDK's type has no other way to its content.
fn metadata(user: Option<&UserMetadata>) -> Metadata {
    let groups = user.into_iter().flat_map(|user| {
        let group = |name: String| {
            let entry = |key: String| {
                let value = user.value(&name, &key);
                (key, value)
            };
            let key_value = user.keys(&name).into_iter().map(entry).collect();
            (name, KeyValueGroup { key_value })
        };
        user.groups().into_iter().map(group)
    });
    Metadata {
        user_metadata: groups.collect(),
        ..Metadata::default()
    }
}

/// The end of a read.
fn eot() -> ReadResponse {
    ReadResponse {
        status: Some(read_response::Status {
            eot: true,
            ..read_response::Status::default()
        }),
        ..ReadResponse::default()
    }
}
