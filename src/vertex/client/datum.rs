//! What is sent to a map or a sink: datums, and the message that ends a batch of them.

use std::collections::HashMap;
use std::time::SystemTime;

use numaflow::proto::map::{MapRequest, TransmissionStatus, map_request::Request};
use numaflow::proto::metadata::Metadata;
use numaflow::proto::sink::{self, SinkRequest};
use prost_types::Timestamp;

/// One message, as numa hands it to a map or a sink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Datum {
    /// The id, unique within its read batch.
    pub id: String,
    /// The message's keys.
    pub keys: Vec<String>,
    /// The payload.
    pub value: Vec<u8>,
    /// The message's headers, such as `x-txn-id`.
    pub headers: HashMap<String, String>,
    /// The message's metadata; comes back with its results.
    pub metadata: Option<Metadata>,
    /// Event time and watermark; the time of sending if there is none.
    pub event_time: Option<Timestamp>,
}

impl Datum {
    /// A datum of an id and a payload.
    pub fn new(id: impl Into<String>, value: Vec<u8>) -> Self {
        Self {
            id: id.into(),
            value,
            ..Self::default()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

impl From<Datum> for MapRequest {
    fn from(datum: Datum) -> Self {
        let time = datum
            .event_time
            .unwrap_or_else(|| Timestamp::from(SystemTime::now()));
        Self {
            request: Some(Request {
                keys: datum.keys,
                value: datum.value,
                event_time: Some(time),
                watermark: Some(time),
                headers: datum.headers,
                metadata: datum.metadata,
            }),
            id: datum.id,
            handshake: None,
            status: None,
        }
    }
}

impl From<Datum> for SinkRequest {
    fn from(datum: Datum) -> Self {
        let time = datum
            .event_time
            .unwrap_or_else(|| Timestamp::from(SystemTime::now()));
        Self {
            request: Some(sink::sink_request::Request {
                keys: datum.keys,
                value: datum.value,
                event_time: Some(time),
                watermark: Some(time),
                id: datum.id,
                headers: datum.headers,
                metadata: datum.metadata,
            }),
            ..Self::default()
        }
    }
}

/// The message that ends a read batch.
pub(super) fn end_of_transmission() -> MapRequest {
    MapRequest {
        status: Some(TransmissionStatus { eot: true }),
        ..MapRequest::default()
    }
}
