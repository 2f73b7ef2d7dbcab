//! What came back for one read batch, and the books the driver keeps until it is whole.
//!
//! What always holds: an `Answer` exists only when each datum sent was answered exactly once, by
//! at least one message, before the sidecar's end of transmission.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use numaflow::proto::map::map_response::Result as Message;
use numaflow::proto::map::{MapRequest, MapResponse};
use numaflow::shared::DROP;

use super::Answered;
use crate::vertex::client::{DriverError, MapMode, duplex};

/// The responses to one read batch.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Id and messages of each datum, in the order in which they came back.
    pub responses: Vec<(String, Vec<Message>)>,
    /// From the first message sent to the end of transmission received.
    pub(crate) duration: Duration,
    /// Where in `responses` an id is, at its first.
    places: HashMap<String, usize>,
}

impl Answer {
    /// The messages a datum was answered with; the first such datum's, if several had the id.
    pub fn get(&self, id: &str) -> Option<&[Message]> {
        let place = self.places.get(id)?;
        let (_, messages) = self.responses.get(*place)?;
        Some(messages)
    }

    /// Whether a datum was answered by a DROP message.
    pub fn is_dropped(&self, id: &str) -> bool {
        self.tags(id).any(|tag| tag == DROP)
    }

    /// The tags on a datum's messages, one after another.
    pub fn tags(&self, id: &str) -> impl Iterator<Item = &str> {
        let messages = self.get(id).unwrap_or_default();
        messages
            .iter()
            .flat_map(|message| message.tags.iter().map(String::as_str))
    }

    /// Adds a datum's messages.
    pub(super) fn add(&mut self, id: String, messages: Vec<Message>) {
        let place = self.responses.len();
        self.places.entry(id.clone()).or_insert(place);
        self.responses.push((id, messages));
    }

    /// Datums answered.
    pub fn len(&self) -> usize {
        self.responses.len()
    }

    /// Whether the read batch was empty.
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty()
    }
}

/// The answer to one datum of a unary map.
impl From<Answered> for Answer {
    fn from(answered: Answered) -> Self {
        let mut answer = Self {
            duration: answered.duration,
            ..Self::default()
        };
        answer.add(answered.id, answered.messages);
        answer
    }
}

/// The account of a read batch under way. For a unary map, which has none, it is the datums sent piece by piece.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// No end of transmission comes: the last answer closes the books.
    is_unary: bool,
    /// By id: datums sent and not answered.
    open: HashMap<String, usize>,
    answer: Answer,
    began: Option<Instant>,
    /// Every datum of the batch is sent.
    complete: bool,
}

impl Books {
    /// New ones, for this kind of map.
    pub(super) fn of(map_mode: MapMode) -> Self {
        Self {
            is_unary: map_mode == MapMode::Unary,
            ..Self::default()
        }
    }

    /// Whether nothing is sent yet.
    pub(super) fn is_new(&self) -> bool {
        self.began.is_none()
    }

    /// Our half of the stream is closed: that ends the batch as well.
    pub(super) fn no_more_datums(&mut self) {
        self.complete = true;
    }

    /// The answer, if a unary map has answered all there is.
    pub(super) fn close_if_answered(&mut self) -> Option<Answer> {
        let is_over = self.is_unary && self.complete && self.open.values().all(|open| *open == 0);
        is_over.then(|| self.close().ok()).flatten()
    }

    /// Closes the books at the sidecar's end of transmission, and opens new ones.
    fn close(&mut self) -> Result<Answer, DriverError> {
        let unanswered = self.unanswered();
        if !self.complete {
            return Err(DriverError::EarlyEot { unanswered });
        }
        if !unanswered.is_empty() {
            return Err(DriverError::Missing { unanswered });
        }
        let new = Self {
            is_unary: self.is_unary,
            ..Self::default()
        };
        let books = std::mem::replace(self, new);
        let duration = books.began.map(|began| began.elapsed()).unwrap_or_default();
        Ok(Answer {
            duration,
            ..books.answer
        })
    }

    /// Ids sent and not answered, sorted.
    fn unanswered(&self) -> Vec<String> {
        let open = self.open.iter().filter(|(_, open)| **open > 0);
        let mut ids: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

impl duplex::Books<MapRequest, MapResponse> for Books {
    type Settled = Answer;

    fn sent(&mut self, request: &MapRequest) {
        self.began.get_or_insert_with(Instant::now);
        if request.request.is_some() {
            *self.open.entry(request.id.clone()).or_default() += 1;
        }
        self.complete |= request.status.as_ref().is_some_and(|status| status.eot);
    }

    fn received(&mut self, response: MapResponse) -> Result<Option<Answer>, DriverError> {
        if response.status.is_some_and(|status| status.eot) {
            return self.close().map(Some);
        }
        let MapResponse { id, results, .. } = response;
        match self.open.get_mut(&id) {
            Some(0) => return Err(DriverError::Repeated { id }),
            None => return Err(DriverError::Unknown { id }),
            Some(_) if results.is_empty() => return Err(DriverError::Empty { id }),
            Some(open) => *open -= 1,
        }
        self.answer.add(id, results);
        Ok(self.close_if_answered())
    }

    fn ended(&self) -> DriverError {
        DriverError::Ended {
            unanswered: self.unanswered(),
        }
    }
}
