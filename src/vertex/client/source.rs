//! The client of a source: one stream of reads, one of acks, and unary calls.
//!
//! As strict as numa, and stricter: a message without an offset or an event time ends numa, and a read of more messages than
//! were requested is against the protocol, although numa takes it.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use numaflow::proto::nack_options::NackOptions;
pub use numaflow::proto::source::Offset;
use numaflow::proto::source::source_client::SourceClient;
use numaflow::proto::source::{
    AckRequest, AckResponse, Handshake, NackRequest, ReadRequest, ReadResponse, ack_request,
    nack_request, read_request, read_response,
};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Datum, DriverError, MAX_MESSAGE_SIZE, dial, duplex, ready};

/// One message of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// By which it is acked.
    pub offset: Offset,
    /// The message as a map or a sink gets it: its id is `{base64 of the offset}-{partition}`.
    pub datum: Datum,
}

/// A nack of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// Of the message.
    pub offset: Offset,
    /// The delay before it is delivered again.
    pub delay: Option<Duration>,
}

impl From<Nack> for nack_request::Request {
    fn from(nack: Nack) -> Self {
        let options = |delay: Duration| NackOptions {
            delay: Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            ..NackOptions::default()
        };
        Self {
            offsets: vec![nack.offset],
            nack_options: nack.delay.map(options),
        }
    }
}

/// A source, from numa's end. Dropped, it hangs up, as a numa container that is killed does.
#[derive(Debug)]
pub struct Source {
    client: SourceClient<Channel>,
    reads: mpsc::Sender<ReadRequest>,
    messages: Streaming<ReadResponse>,
    acks: mpsc::Sender<AckRequest>,
    acked: Streaming<AckResponse>,
    /// A promise was broken, or a read was dropped: what comes next on the streams means nothing.
    broken: bool,
}

impl Source {
    /// Connects, checks that the source is ready, opens both streams and shakes hands.
    ///
    /// # Errors
    /// When no process listens, the source is not ready, or a handshake is not echoed.
    pub async fn connect(sock: &Path) -> Result<Self, DriverError> {
        let channel = dial(sock).await?;
        let mut client = SourceClient::new(channel.clone());
        let reply = client.is_ready(()).await;
        ready::check(reply.map(|reply| reply.into_inner().ready), sock)?;
        Self::over(channel).await
    }

    /// Opens both streams on a connection and shakes hands.
    ///
    /// # Errors
    /// When a stream is refused or a handshake is not echoed.
    pub async fn over(channel: Channel) -> Result<Self, DriverError> {
        let mut client = SourceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_SIZE)
            .max_encoding_message_size(MAX_MESSAGE_SIZE);
        let handshake = Some(Handshake { sot: true });
        let (reads, outgoing) = duplex::outgoing(ReadRequest {
            request: None,
            handshake,
        });
        let reading = client.read_fn(outgoing).await;
        let mut messages = reading
            .map_err(|status| DriverError::status("opening a ReadFn stream", status))?
            .into_inner();
        duplex::echo(&mut messages, "ReadFn", |reply: ReadResponse| {
            let is_echo = reply.handshake == handshake;
            is_echo.then_some(()).ok_or_else(String::new)
        })
        .await?;
        let (acks, outgoing) = duplex::outgoing(AckRequest {
            request: None,
            handshake,
        });
        let acking = client.ack_fn(outgoing).await;
        let mut acked = acking
            .map_err(|status| DriverError::status("opening an AckFn stream", status))?
            .into_inner();
        duplex::echo(&mut acked, "AckFn", |reply: AckResponse| {
            let is_echo = reply.handshake == handshake;
            is_echo.then_some(()).ok_or_else(String::new)
        })
        .await?;
        Ok(Self {
            client,
            reads,
            messages,
            acks,
            acked,
            broken: false,
        })
    }

    /// Waits for a source to come up as numa does, then connects: the server-info file must be whole and say what numa
    /// needs for nacks, then the socket must answer "ready".
    ///
    /// # Errors
    /// At once when the server-info file says what numa would refuse, or a handshake is not echoed; after `timeout` when the
    /// source is not ready by then.
    pub async fn wait_ready(
        server_info: &Path,
        sock: &Path,
        timeout: Duration,
    ) -> Result<Self, DriverError> {
        let connect = || Self::connect(sock);
        ready::wait(server_info, ready::Kind::Source, timeout, connect).await
    }

    /// Whether the source says it is ready.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&self) -> Result<bool, DriverError> {
        let reply = self.client.clone().is_ready(()).await;
        ready::answer(reply.map(|reply| reply.into_inner().ready))
    }

    /// One read, to its end of transmission: at most `count` messages, within `timeout`. Dropped before its end, it makes
    /// this client useless.
    ///
    /// # Errors
    /// When the source breaks the protocol or the stream breaks. The client is of no use after that.
    pub async fn read(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Message>, DriverError> {
        self.usable()?;
        // Until the end has come, for a read that is dropped too.
        self.broken = true;
        let messages = self.read_to_end(count, timeout).await?;
        self.broken = false;
        Ok(messages)
    }

    async fn read_to_end(
        &mut self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Message>, DriverError> {
        let failed = |status| DriverError::status("reading", status);
        // Between two reads nothing may come, not even the stream's end.
        if let Some(early) = self.messages.message().now_or_never() {
            let early = early.map_err(failed)?;
            return Err(
                early.map_or(DriverError::Closed, |late| DriverError::AfterEot {
                    id: late.result.map(id_of).unwrap_or_default(),
                }),
            );
        }
        let request = ReadRequest {
            request: Some(read_request::Request {
                num_records: count as u64,
                timeout_in_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            }),
            handshake: None,
        };
        let sent = self.reads.send(request).await;
        sent.map_err(|_| DriverError::Closed)?;
        let mut messages = Vec::new();
        loop {
            let reply = self.messages.message().await.map_err(failed)?;
            let reply = reply.ok_or_else(|| DriverError::Ended {
                unanswered: Vec::new(),
            })?;
            if reply.status.is_some_and(|status| status.eot) {
                return Ok(messages);
            }
            let result = reply.result.ok_or(DriverError::Hollow)?;
            messages.push(Message::try_from(result)?);
            if messages.len() > count {
                return Err(DriverError::TooMany { count });
            }
        }
    }

    /// Acks messages, and waits for the reply.
    ///
    /// # Errors
    /// When the stream breaks, or the reply is no success.
    pub async fn ack(&mut self, offsets: Vec<Offset>) -> Result<(), DriverError> {
        const DOING: &str = "acking";
        let request = AckRequest {
            request: Some(ack_request::Request { offsets }),
            handshake: None,
        };
        let sent = self.acks.send(request).await;
        sent.map_err(|_| DriverError::Closed)?;
        let reply = self.acked.message().await;
        let reply = reply
            .map_err(|status| DriverError::status(DOING, status))?
            .ok_or(DriverError::Closed)?;
        let success = reply.result.and_then(|result| result.success);
        success.ok_or(DriverError::NoSuccess { doing: DOING })
    }

    /// Nacks messages in one call, each with its own delay, and waits for the reply.
    ///
    /// # Errors
    /// When the source refuses it, or the reply is no success.
    pub async fn nack(&self, nacks: Vec<Nack>) -> Result<(), DriverError> {
        const DOING: &str = "nacking";
        let request = nacks.into_iter().map(Into::into).collect();
        let reply = self.client.clone().nack_fn(NackRequest { request }).await;
        let reply = reply
            .map_err(|status| DriverError::status(DOING, status))?
            .into_inner();
        let success = reply.result.and_then(|result| result.success);
        success.ok_or(DriverError::NoSuccess { doing: DOING })
    }

    /// Messages that are not acked yet; `None` if the source cannot tell.
    ///
    /// # Errors
    /// When the source does not answer.
    pub async fn pending(&self) -> Result<Option<u64>, DriverError> {
        let reply = self.client.clone().pending_fn(()).await;
        let reply = reply
            .map_err(|status| DriverError::status("asking what is pending", status))?
            .into_inner();
        Ok(reply
            .result
            .and_then(|result| u64::try_from(result.count).ok()))
    }

    /// The partitions that the source reads.
    ///
    /// # Errors
    /// When the source does not answer.
    pub async fn partitions(&self) -> Result<Vec<i32>, DriverError> {
        let reply = self.client.clone().partitions_fn(()).await;
        let reply = reply
            .map_err(|status| DriverError::status("asking for the partitions", status))?
            .into_inner();
        Ok(reply.result.unwrap_or_default().partitions)
    }

    /// Whether the streams still mean anything.
    fn usable(&self) -> Result<(), DriverError> {
        if self.broken {
            return Err(DriverError::Closed);
        }
        Ok(())
    }
}

/// The id of a message as numa makes it, empty without an offset.
fn id_of(result: read_response::Result) -> String {
    let offset = result.offset.as_ref();
    offset.map(offset_id).unwrap_or_default()
}

/// An offset as numa writes it: always valid UTF-8, whatever its bytes.
pub(super) fn offset_id(offset: &Offset) -> String {
    format!("{}-{}", base64(&offset.offset), offset.partition_id)
}

impl TryFrom<read_response::Result> for Message {
    type Error = DriverError;

    fn try_from(result: read_response::Result) -> Result<Self, DriverError> {
        let offset = result.offset.filter(|offset| !offset.offset.is_empty());
        let offset = offset.ok_or(DriverError::NoOffset)?;
        let id = offset_id(&offset);
        if result.event_time.is_none() {
            return Err(DriverError::NoEventTime { id });
        }
        let datum = Datum {
            id,
            keys: result.keys,
            value: result.payload,
            headers: result.headers,
            metadata: Some(result.metadata.unwrap_or_default()),
            event_time: result.event_time,
        };
        Ok(Self { offset, datum })
    }
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |chunk: &[u8]| {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = chunk.len() + 1;
        let letter = move |n: usize| {
            let place = (bits >> (18 - 6 * n) & 63) as usize;
            let letter = LETTERS.get(place).filter(|_| n < digits);
            letter.copied().map_or('=', char::from)
        };
        (0..4).map(letter).collect::<Vec<_>>()
    };
    bytes.chunks(3).flat_map(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_becomes_text_as_in_rfc_4648() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in examples {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
        let offset = Offset {
            offset: vec![0xff],
            partition_id: 7,
        };
        assert_eq!(offset_id(&offset), "/w==-7");
    }
}
