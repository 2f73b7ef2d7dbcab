//! A source in memory: a stream of datums, with acks, nacks and delays as a source program has them.
//!
//! What always holds: a datum is delivered again until it is acked; each one that is given out is kept until then, so memory
//! is bounded by what the pipeline has in hand and by the nacks that wait.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::vertex::client::source::offset_id;
use crate::vertex::client::{Datum, Message, Nack, Offset};

/// See the module documentation.
pub struct Datums {
    datums: BoxStream<'static, Datum>,
    is_exhausted: bool,
    /// Given out and not acked.
    out: HashMap<Offset, Datum>,
    /// To be delivered again, by the time of that; the number keeps their order.
    again: BTreeMap<(Instant, u64), Message>,
    numbers: u64,
}

impl fmt::Debug for Datums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datums")
            .field("out", &self.out.len())
            .field("again", &self.again.len())
            .finish_non_exhaustive()
    }
}

impl Datums {
    /// Datums as the stream yields them. The id of a datum is its offset; ids must differ and not be empty.
    pub fn new(datums: impl Stream<Item = Datum> + Send + 'static) -> Self {
        Self {
            datums: datums.boxed(),
            is_exhausted: false,
            out: HashMap::new(),
            again: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Datums that are all there.
    pub fn of(datums: impl IntoIterator<Item = Datum, IntoIter: Send + 'static>) -> Self {
        Self::new(stream::iter(datums))
    }

    /// Up to `count` messages: first those due again, then new ones, until `timeout`.
    pub(super) async fn read(&mut self, count: usize, timeout: Duration) -> Vec<Message> {
        let deadline = Instant::now() + timeout;
        let mut messages = Vec::new();
        while messages.len() < count {
            // What is there is enough when nothing more can come.
            if self.is_exhausted && self.again.is_empty() && !messages.is_empty() {
                break;
            }
            let due = self.again.first_key_value().map(|((due, _), _)| *due);
            if due.is_some_and(|due| due <= Instant::now()) {
                if let Some((_, message)) = self.again.pop_first() {
                    messages.push(self.give(message));
                }
                continue;
            }
            let wake = due.map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                biased;
                next = self.datums.next(), if !self.is_exhausted => match next {
                    Some(datum) => {
                        let message = message(datum);
                        messages.push(self.give(message));
                    }
                    None => self.is_exhausted = true,
                },
                () = sleep_until(wake) => {
                    if Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        messages
    }

    fn give(&mut self, message: Message) -> Message {
        let copy = message.datum.clone();
        self.out.insert(message.offset.clone(), copy);
        message
    }

    pub(super) fn ack(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            self.out.remove(offset);
        }
    }

    pub(super) fn nack(&mut self, nacks: Vec<Nack>) {
        let now = Instant::now();
        for Nack { offset, delay } in nacks {
            if let Some(datum) = self.out.remove(&offset) {
                self.numbers += 1;
                let due = now + delay.unwrap_or_default();
                self.again
                    .insert((due, self.numbers), Message { offset, datum });
            }
        }
    }

    /// Everything that is out is delivered again: its reader is gone.
    pub(super) fn give_back(&mut self) {
        let out = self.out.keys().cloned();
        let nacks = out.map(|offset| Nack {
            offset,
            delay: None,
        });
        let nacks = nacks.collect();
        self.nack(nacks);
    }

    /// Whether every datum is acked.
    pub(super) fn is_over(&self) -> bool {
        self.is_exhausted && self.out.is_empty() && self.again.is_empty()
    }
}

/// A new message.
fn message(datum: Datum) -> Message {
    let offset = Offset {
        offset: datum.id.clone().into_bytes(),
        partition_id: 0,
    };
    let datum = Datum {
        id: offset_id(&offset),
        ..datum
    };
    Message { offset, datum }
}
