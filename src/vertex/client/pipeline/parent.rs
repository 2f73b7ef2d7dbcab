//! What is kept of messages while they go from stage to stage.

use std::collections::HashMap;

use numaflow::proto::map::map_response;
use numaflow::proto::metadata::Metadata;
use prost_types::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::calls::Fate;
use crate::vertex::client::{Datum, Message, Nack, Offset};

/// What is kept of a message while it is in hand.
pub(super) struct Parent {
    pub(super) offset: Offset,
    pub(super) id: String,
    headers: HashMap<String, String>,
    event_time: Option<Timestamp>,
    metadata: Metadata,
    pub(super) fate: Fate,
}

/// A read batch.
pub(super) struct ReadBatch {
    pub(super) messages: Vec<Message>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A read batch whose messages are mapped. Each output has the place of its parent.
pub(super) struct Mapped {
    pub(super) parents: Vec<Parent>,
    pub(super) outputs: Vec<(usize, Datum)>,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A read batch whose outputs are written.
pub(super) struct Written {
    pub(super) parents: Vec<Parent>,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What is kept of messages, and what is sent to the map.
pub(super) fn part(messages: Vec<Message>) -> (Vec<Parent>, Vec<Datum>) {
    let part = |Message { offset, datum }| {
        let Datum {
            id,
            headers,
            event_time,
            metadata,
            ..
        } = &datum;
        let parent = Parent {
            offset,
            id: id.clone(),
            headers: headers.clone(),
            event_time: *event_time,
            metadata: metadata.clone().unwrap_or_default(),
            fate: Fate::Ack,
        };
        (parent, datum)
    };
    messages.into_iter().map(part).unzip()
}

impl Parent {
    /// One of its outputs.
    pub(super) fn output(&self, id: String, result: map_response::Result) -> Datum {
        let user_metadata = result.metadata.unwrap_or_default().user_metadata;
        Datum {
            id,
            keys: result.keys,
            value: result.value,
            headers: self.headers.clone(),
            metadata: Some(Metadata {
                user_metadata,
                ..self.metadata.clone()
            }),
            event_time: self.event_time,
        }
    }

    pub(super) fn nack(&self) -> Nack {
        let delay = match self.fate {
            Fate::Nack(delay) => delay,
            Fate::Ack => None,
        };
        Nack {
            offset: self.offset.clone(),
            delay,
        }
    }
}
