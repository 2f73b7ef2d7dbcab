//! One `ReadFn` stream: the handshake, then read after read until either side ends it.
//!
//! The stream is the body of the response, which tonic polls, and drops when numa disconnects. The source's read runs in a
//! task of its own, which ends by itself: the source must see that its channel is closed, to give its messages back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use numaflow::proto::source::{self as proto, ReadRequest, ReadResponse, read_response};
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest, Sourcer, UserMetadata};
use prost::Message as _;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::{debug, error, info, warn};

use super::{Host, broken, offset};

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
            Some(reading) => Ok(reading.next().await),
            None => match self.next_request().await? {
                Err(status) => Err(status),
                Ok(request) if self.host.shutdown.is_cancelled() => {
                    self.idle(request.timeout).await?;
                    return Some(Ok(eot()));
                }
                Ok(request) => {
                    let reading = Reading::begin(Arc::clone(&self.host), request);
                    Ok(self.reading.insert(reading).next().await)
                }
            },
        };
        match response {
            Ok(Some(message)) => Some(Ok(message)),
            Ok(None) => match self.reading.take()?.end().await {
                Ok(()) => Some(Ok(eot())),
                Err(status) => self.end_with(status),
            },
            Err(status) => self.end_with(status),
        }
    }

    fn end_with(&mut self, status: Status) -> Option<Result<ReadResponse, Status>> {
        self.over = true;
        Some(Err(status))
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
    async fn idle(&self, timeout: Duration) -> Option<()> {
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
    /// `None` once it has ended.
    task: Option<JoinHandle<()>>,
    /// Of the messages that have left for numa.
    offsets: Vec<proto::Offset>,
}

impl<S: Sourcer + Send + Sync + 'static> Reading<S> {
    fn begin(host: Arc<Host<S>>, request: SourceReadRequest) -> Self {
        host.reads.fetch_add(1, Ordering::SeqCst);
        let (to, messages) = mpsc::channel(READ_AHEAD);
        let source = Arc::clone(&host.source);
        let task = tokio::spawn(async move { source.read(request, to).await });
        Self {
            host,
            messages,
            task: Some(task),
            offsets: Vec::new(),
        }
    }

    /// The next message; `None` when the source has sent all.
    async fn next(&mut self) -> Option<ReadResponse> {
        while let Some(message) = self.messages.recv().await {
            let (offset, response) = response(message);
            let size = response.encoded_len();
            if offset.offset.is_empty() {
                error!(
                    "The source gave a message without an offset: it is left out, for numa would end at it."
                );
            } else if size > self.host.max_message_size {
                error!(
                    bytes = size,
                    largest = self.host.max_message_size,
                    offset = %String::from_utf8_lossy(&offset.offset),
                    "A message is larger than a gRPC message may be: it is left out."
                );
            } else {
                self.offsets.push(offset);
                return Some(response);
            }
        }
        None
    }

    /// Waits for the end of the source's read.
    ///
    /// # Errors
    /// When it panicked.
    async fn end(mut self) -> Result<(), Status> {
        if let Some(task) = &mut self.task {
            task.await.map_err(broken)?;
        }
        self.task = None;
        Ok(())
    }
}

impl<S: Sourcer + Send + Sync + 'static> Drop for Reading<S> {
    fn drop(&mut self) {
        self.host.reads.fetch_sub(1, Ordering::SeqCst);
        self.host.settled.notify_waiters();
        let Some(task) = self.task.take() else {
            return;
        };
        warn!(
            messages = self.offsets.len(),
            "A read ended before numa had all of it: its messages are given back."
        );
        if !task.is_finished() {
            // The source sees that its channel is closed, and gives back what it gave to this read.
            return;
        }
        // The source takes them for delivered.
        let nack = |nacked| NackOffset {
            offset: offset(nacked),
            options: None,
        };
        let mut nacks: Vec<NackOffset> = self.offsets.drain(..).map(nack).collect();
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            let Offset {
                offset,
                partition_id,
            } = message.offset;
            let offset = Offset {
                offset,
                partition_id,
            };
            nacks.push(NackOffset {
                offset,
                options: None,
            });
        }
        if nacks.is_empty() {
            return;
        }
        // Without a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let source = Arc::clone(&self.host.source);
            runtime.spawn(async move { source.nack(nacks).await });
        } else {
            debug!("The process ends before a read is given back.");
        }
    }
}

/// A message as numa gets it, and its offset.
fn response(message: Message) -> (proto::Offset, ReadResponse) {
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
        offset: Some(offset.clone()),
        event_time: Some(event_time),
        keys: message.keys,
        headers: message.headers,
        metadata: Some(metadata(message.user_metadata.as_ref())),
    };
    let response = ReadResponse {
        result: Some(result),
        ..ReadResponse::default()
    };
    (offset, response)
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
