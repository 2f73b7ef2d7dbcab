//! The client of a sink: batch after batch on one `SinkFn` stream, and a verdict for each message.
//!
//! What always holds: an answer exists only when each message of the batch got exactly one verdict before the sink's end of
//! transmission. Numa ends if a verdict is missing.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use numaflow::proto::metadata::KeyValueGroup;
use numaflow::proto::sink::sink_client::SinkClient;
use numaflow::proto::sink::{
    Handshake, SinkRequest, SinkResponse, Status as Code, TransmissionStatus, sink_response,
};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Datum, DriverError, MAX_MESSAGE_SIZE, dial, duplex, ready};

/// What a sink did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written. Numa's store for served messages is not played: their status counts as this.
    Written,
    /// It is written, and it is for the onSuccess sink: itself, or what is given here.
    OnSuccess(Option<Replacement>),
    /// It is not written; numa sends it again.
    Failed(String),
    /// It is for the fallback sink.
    Fallback,
    /// The source is to deliver it again, after this time.
    Nacked(Option<Duration>),
}

/// What the onSuccess sink gets in place of a message. Headers, event time and system metadata stay those of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Its payload.
    pub value: Vec<u8>,
    /// Its keys.
    pub keys: Vec<String>,
    /// Its user metadata by group; that of the message if it has none.
    pub user_metadata: Option<HashMap<String, HashMap<String, Vec<u8>>>>,
}

/// One `SinkFn` stream. Dropped, it hangs up, as a numa container that is killed does.
#[derive(Debug)]
pub struct Sink {
    client: SinkClient<Channel>,
    requests: mpsc::Sender<SinkRequest>,
    responses: Streaming<SinkResponse>,
    /// A promise was broken, or a batch was dropped: what comes next on the stream means nothing.
    broken: bool,
}

impl Sink {
    /// Connects, checks that the sink is ready, opens a stream and shakes hands.
    ///
    /// # Errors
    /// When no process listens, the sink is not ready, or the handshake is not echoed.
    pub async fn connect(sock: &Path) -> Result<Self, DriverError> {
        let channel = dial(sock).await?;
        let mut client = SinkClient::new(channel.clone());
        let reply = client.is_ready(()).await;
        ready::check(reply.map(|reply| reply.into_inner().ready), sock)?;
        Self::over(channel).await
    }

    /// Opens a stream on a connection and shakes hands.
    ///
    /// # Errors
    /// When the stream is refused or the handshake is not echoed.
    pub async fn over(channel: Channel) -> Result<Self, DriverError> {
        let mut client = SinkClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_SIZE)
            .max_encoding_message_size(MAX_MESSAGE_SIZE);
        let handshake = Some(Handshake { sot: true });
        let (requests, outgoing) = duplex::outgoing(SinkRequest {
            handshake,
            ..SinkRequest::default()
        });
        let writing = client.sink_fn(outgoing).await;
        let mut responses = writing
            .map_err(|status| DriverError::status("opening a SinkFn stream", status))?
            .into_inner();
        duplex::echo(&mut responses, "SinkFn", |reply: SinkResponse| {
            let is_echo = reply.handshake == handshake;
            let first = reply.results.into_iter().next();
            is_echo
                .then_some(())
                .ok_or_else(|| first.map(|result| result.id).unwrap_or_default())
        })
        .await?;
        Ok(Self {
            client,
            requests,
            responses,
            broken: false,
        })
    }

    /// Waits for a sink to come up as numa does, then connects.
    ///
    /// # Errors
    /// At once when the server-info file says what numa would refuse, or the handshake is not echoed; after `timeout` when
    /// the sink is not ready by then.
    pub async fn wait_ready(
        server_info: &Path,
        sock: &Path,
        timeout: Duration,
    ) -> Result<Self, DriverError> {
        let connect = |_| Self::connect(sock);
        ready::wait(server_info, ready::Kind::Sink, timeout, connect).await
    }

    /// Whether the sink says it is ready.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&self) -> Result<bool, DriverError> {
        let reply = self.client.clone().is_ready(()).await;
        ready::answer(reply.map(|reply| reply.into_inner().ready))
    }

    /// Writes one batch. The verdicts are in the order of the batch, whose ids must differ. Dropped before its end, it makes
    /// this client useless.
    ///
    /// # Errors
    /// When a message gets no verdict, or two; when an unknown id gets one; when the stream breaks. The client is of no use
    /// after that.
    pub async fn write(&mut self, batch: &[Datum]) -> Result<Vec<Verdict>, DriverError> {
        if self.broken {
            return Err(DriverError::Closed);
        }
        // Until the end has come, for a batch that is dropped too.
        self.broken = true;
        if let Some(early) = self.responses.message().now_or_never() {
            let early = early
                .map_err(|status| DriverError::status("between two batches of a sink", status))?;
            return Err(early.map_or(DriverError::Closed, |late| {
                let first = late.results.into_iter().next();
                DriverError::AfterEot {
                    id: first.map(|result| result.id).unwrap_or_default(),
                }
            }));
        }
        let eot = SinkRequest {
            status: Some(TransmissionStatus { eot: true }),
            ..SinkRequest::default()
        };
        let requests = stream::iter(batch)
            .map(|datum| SinkRequest::from(datum.clone()))
            .chain(stream::once(std::future::ready(eot)));
        let mut books = Books::default();
        let mut verdicts =
            duplex::exchange(&self.requests, &mut self.responses, &mut books, requests).await?;
        let verdicts = batch.iter().map(|datum| verdicts.remove(&datum.id));
        let verdicts: Option<Vec<_>> = verdicts.collect();
        self.broken = verdicts.is_none();
        verdicts.ok_or(DriverError::Closed)
    }
}

/// The account of a batch.
#[derive(Debug, Default)]
struct Books {
    /// By id: `None` without a verdict.
    sent: HashMap<String, Option<Verdict>>,
    /// Every message of the batch is sent.
    complete: bool,
}

impl Books {
    fn enter(&mut self, result: sink_response::Result) -> Result<(), DriverError> {
        let id = result.id.clone();
        match self.sent.get_mut(&id) {
            None => Err(DriverError::Unknown { id }),
            Some(Some(_)) => Err(DriverError::Repeated { id }),
            Some(verdict) => {
                *verdict = Some(Verdict::from(result));
                Ok(())
            }
        }
    }

    fn unanswered(&self) -> Vec<String> {
        let open = self.sent.iter().filter(|(_, verdict)| verdict.is_none());
        let mut ids: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

impl duplex::Books<SinkRequest, SinkResponse> for Books {
    type Settled = HashMap<String, Verdict>;

    fn sent(&mut self, request: &SinkRequest) {
        if let Some(request) = &request.request {
            self.sent.insert(request.id.clone(), None);
        }
        self.complete |= request.status.as_ref().is_some_and(|status| status.eot);
    }

    fn received(&mut self, response: SinkResponse) -> Result<Option<Self::Settled>, DriverError> {
        for result in response.results {
            self.enter(result)?;
        }
        if !response.status.is_some_and(|status| status.eot) {
            return Ok(None);
        }
        let unanswered = self.unanswered();
        if !self.complete {
            return Err(DriverError::EarlyEot { unanswered });
        }
        if !unanswered.is_empty() {
            return Err(DriverError::Missing { unanswered });
        }
        let sent = std::mem::take(&mut self.sent).into_iter();
        Ok(Some(
            sent.filter_map(|(id, verdict)| Some((id, verdict?)))
                .collect(),
        ))
    }

    fn ended(&self) -> DriverError {
        DriverError::Ended {
            unanswered: self.unanswered(),
        }
    }
}

impl From<sink_response::Result> for Verdict {
    fn from(result: sink_response::Result) -> Self {
        match result.status() {
            Code::Success | Code::Serve => Self::Written,
            Code::OnSuccess => Self::OnSuccess(result.on_success_msg.map(Replacement::from)),
            Code::Failure => Self::Failed(result.err_msg),
            Code::Fallback => Self::Fallback,
            Code::Nack => Self::Nacked(delay(result.nack_options)),
        }
    }
}

impl From<sink_response::result::Message> for Replacement {
    fn from(message: sink_response::result::Message) -> Self {
        let groups = message.metadata.map(|metadata| {
            let groups = metadata.user_metadata.into_iter();
            groups
                .map(|(name, group)| (name, group.key_value))
                .collect()
        });
        Self {
            value: message.value,
            keys: message.keys,
            user_metadata: groups,
        }
    }
}

impl Replacement {
    /// The message that the onSuccess sink gets.
    pub(super) fn of(self, message: Datum) -> Datum {
        let mut metadata = message.metadata;
        if let Some(groups) = self.user_metadata {
            let group = |(name, key_value)| (name, KeyValueGroup { key_value });
            metadata.get_or_insert_default().user_metadata =
                groups.into_iter().map(group).collect();
        }
        Datum {
            value: self.value,
            keys: self.keys,
            metadata,
            ..message
        }
    }
}

/// The delay of a nack.
pub(super) fn delay(
    options: Option<numaflow::proto::nack_options::NackOptions>,
) -> Option<Duration> {
    options?.delay.map(Duration::from_millis)
}
