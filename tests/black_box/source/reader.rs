//! Numa's side of the source protocol: one stream of reads, one of acks, on the SDK's generated client.

use crate::black_box::common::NEVER;
use beamflow::vertex::client::dial;
use numaflow::proto::source::read_response::Result as Message;
use numaflow::proto::source::source_client::SourceClient;
use numaflow::proto::source::{
    AckRequest, AckResponse, Handshake, NackRequest, Offset, ReadRequest, ReadResponse,
    ack_request, nack_request, read_request,
};
use std::path::Path;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// A timeout, in milliseconds, that no successful read reaches.
pub const LONG: u32 = 60_000;

/// A connected reader.
pub struct Reader {
    pub client: SourceClient<Channel>,
    reads: mpsc::Sender<ReadRequest>,
    messages: Streaming<ReadResponse>,
    acks: mpsc::Sender<AckRequest>,
    acked: Streaming<AckResponse>,
}

impl Reader {
    /// Connects and performs the handshake on both streams.
    pub async fn connect(sock: &Path) -> Self {
        let mut client = SourceClient::new(dial(sock).await.unwrap());
        let hello = Some(Handshake { sot: true });
        let (reads, outgoing) = mpsc::channel(4);
        let (request, handshake) = (None, hello);
        reads
            .send(ReadRequest { request, handshake })
            .await
            .unwrap();
        let reading = client.read_fn(ReceiverStream::new(outgoing)).await;
        let mut messages = reading.unwrap().into_inner();
        assert_eq!(messages.message().await.unwrap().unwrap().handshake, hello);
        let (acks, outgoing) = mpsc::channel(4);
        let (request, handshake) = (None, hello);
        acks.send(AckRequest { request, handshake }).await.unwrap();
        let acking = client.ack_fn(ReceiverStream::new(outgoing)).await;
        let mut acked = acking.unwrap().into_inner();
        assert_eq!(acked.message().await.unwrap().unwrap().handshake, hello);
        Self {
            client,
            reads,
            messages,
            acks,
            acked,
        }
    }

    /// One read, to its end of transmission.
    pub async fn read(&mut self, num_records: u64, timeout_in_ms: u32) -> Vec<Message> {
        let request = Some(read_request::Request {
            num_records,
            timeout_in_ms,
        });
        let handshake = None;
        self.reads
            .send(ReadRequest { request, handshake })
            .await
            .unwrap();
        let mut messages = Vec::new();
        loop {
            let reply = tokio::time::timeout(NEVER, self.messages.message()).await;
            let reply = reply.expect("the read ends").unwrap().unwrap();
            messages.extend(reply.result);
            if reply.status.is_some_and(|status| status.eot) {
                return messages;
            }
        }
    }

    /// Acks the messages.
    pub async fn ack(&mut self, messages: &[Message]) {
        let offsets = messages.iter().map(offset).collect();
        let request = Some(ack_request::Request { offsets });
        let handshake = None;
        self.acks
            .send(AckRequest { request, handshake })
            .await
            .unwrap();
        let reply = self.acked.message().await.unwrap().unwrap();
        assert!(reply.result.unwrap().success.is_some());
    }

    /// Nacks the messages.
    pub async fn nack(&mut self, messages: &[Message]) {
        let request = nack_request::Request {
            offsets: messages.iter().map(offset).collect(),
            nack_options: None,
        };
        let request = vec![request];
        self.client.nack_fn(NackRequest { request }).await.unwrap();
    }

    /// The number of pending frames that the source reports.
    pub async fn pending(&mut self) -> i64 {
        let reply = self.client.pending_fn(()).await.unwrap();
        reply.into_inner().result.unwrap().count
    }

    /// Waits until `wanted` frames are pending.
    pub async fn until_pending(&mut self, wanted: i64) {
        let waiting = async {
            while self.pending().await != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(NEVER, waiting).await;
        assert!(waited.is_ok(), "timeout: {wanted} frames are not pending");
    }
}

/// The offset of a message.
pub fn offset(message: &Message) -> Offset {
    message.offset.clone().unwrap()
}

/// The frame numbers of messages.
pub fn ids(messages: &[Message]) -> Vec<u64> {
    let id = |message: &Message| message.headers["x-txn-id"].parse().unwrap();
    messages.iter().map(id).collect()
}
