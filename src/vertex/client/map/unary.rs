//! The datums in flight of a unary map.
//!
//! What always holds: no more than the given number of datums are sent and not answered; each is answered exactly once, by at
//! least one message.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use numaflow::proto::map::map_response::Result as Message;
use numaflow::proto::map::{MapRequest, MapResponse};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Streaming;

use crate::vertex::client::{Datum, DriverError};

/// One datum's answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The datum's id.
    pub id: String,
    /// Its messages, at least one.
    pub messages: Vec<Message>,
    /// From the datum sent to the answer received.
    pub duration: Duration,
}

/// Sends what `datums` yields, `most` in flight, and receives, whichever is possible, until all are answered.
///
/// # Errors
/// When the sidecar broke a promise or the stream breaks.
pub(super) async fn exchange(
    requests: &mpsc::Sender<MapRequest>,
    responses: &mut Streaming<MapResponse>,
    most: usize,
    datums: impl Stream<Item = Datum>,
    mut take: impl FnMut(Answered),
) -> Result<Duration, DriverError> {
    let mut datums = pin!(datums);
    let mut outgoing: Option<Datum> = None;
    let mut books = Books::default();
    let mut began = None;
    let mut more = true;
    while more || outgoing.is_some() || books.in_flight > 0 {
        tokio::select! {
            biased;
            received = responses.message() => {
                let response = received
                    .map_err(|status| DriverError::status("waiting for an answer", status))?
                    .ok_or_else(|| books.ended())?;
                take(books.received(response)?);
            }
            permit = requests.reserve(), if outgoing.is_some() && books.in_flight < most => {
                match (permit, outgoing.take()) {
                    (Ok(permit), Some(datum)) => {
                        began.get_or_insert_with(Instant::now);
                        books.sent(&datum.id);
                        permit.send(datum.into());
                    }
                    // The sidecar has ended the stream. Why is what it says next.
                    _ => more = false,
                }
            }
            datum = datums.next(), if outgoing.is_none() && more => {
                more = datum.is_some();
                outgoing = datum;
            }
        }
    }
    Ok(began.map(|began| began.elapsed()).unwrap_or_default())
}

/// The datums sent and not answered.
#[derive(Debug, Default)]
struct Books {
    /// By id: when each was sent.
    open: HashMap<String, Vec<Instant>>,
    in_flight: usize,
}

impl Books {
    fn sent(&mut self, id: &str) {
        let now = Instant::now();
        self.open.entry(id.to_owned()).or_default().push(now);
        self.in_flight += 1;
    }

    fn received(&mut self, response: MapResponse) -> Result<Answered, DriverError> {
        let MapResponse {
            id,
            results: messages,
            ..
        } = response;
        let Some(times) = self.open.get_mut(&id) else {
            return Err(DriverError::Unknown { id });
        };
        if messages.is_empty() {
            return Err(DriverError::Empty { id });
        }
        // There is one: an id is removed with its last.
        let sent = times.pop();
        if times.is_empty() {
            self.open.remove(&id);
        }
        self.in_flight -= 1;
        Ok(Answered {
            id,
            messages,
            duration: sent.map(|sent| sent.elapsed()).unwrap_or_default(),
        })
    }

    fn ended(&self) -> DriverError {
        let mut unanswered: Vec<String> = self.open.keys().cloned().collect();
        unanswered.sort_unstable();
        DriverError::Ended { unanswered }
    }
}
