//! What is read and not yet acked, which messages were delivered before, and the counts.

use std::collections::{HashMap, HashSet, VecDeque};

use super::report::Report;
use crate::vertex::client::{Message, Nack, Offset};

/// Ids of messages that are kept to count deliveries.
const REMEMBERED: usize = 100_000;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) counts: Report,
    in_hand: HashMap<String, Offset>,
    seen: HashSet<String>,
    /// The same ids, oldest first.
    order: VecDeque<String>,
}

impl Books {
    /// The counts.
    pub(super) fn report(&self) -> Report {
        Report {
            in_hand: self.in_hand.len() as u64,
            ..self.counts
        }
    }

    /// Enters a message that was read. False: it is in hand already.
    pub(super) fn enter(&mut self, message: &Message) -> bool {
        let id = &message.datum.id;
        self.counts.read += 1;
        if self.seen.insert(id.clone()) {
            self.order.push_back(id.clone());
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
        } else {
            self.counts.again += 1;
        }
        if self.in_hand.contains_key(id) {
            self.counts.repeated += 1;
            return false;
        }
        self.in_hand.insert(id.clone(), message.offset.clone());
        true
    }

    /// The source has taken the acks of messages.
    pub(super) fn acked<'a>(&mut self, ids: impl Iterator<Item = &'a String>) {
        self.counts.acked += self.remove(ids);
    }

    /// The source has taken the nacks of messages.
    pub(super) fn nacked<'a>(&mut self, ids: impl Iterator<Item = &'a String>) {
        self.counts.nacked += self.remove(ids);
    }

    fn remove<'a>(&mut self, ids: impl Iterator<Item = &'a String>) -> u64 {
        let removed = ids.filter(|id| self.in_hand.remove(*id).is_some());
        removed.count() as u64
    }

    /// Takes out all that is in hand, to give it back.
    pub(super) fn return_all(&mut self) -> Vec<Nack> {
        self.counts.returned += self.in_hand.len() as u64;
        let all = self.in_hand.drain();
        all.map(|(_, offset)| Nack {
            offset,
            delay: None,
        })
        .collect()
    }

    /// Whether nothing is in hand.
    pub(super) fn is_clear(&self) -> bool {
        self.in_hand.is_empty()
    }

    /// Everything is connected again.
    pub(super) fn restarted(&mut self) {
        self.counts.restarts += 1;
    }
}
