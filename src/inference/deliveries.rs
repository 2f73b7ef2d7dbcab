//! Which delivery of a frame this is, how long the next one is delayed, and which one is the last.
//!
//! Numaflow delivers a nacked datum again, under the same id, and does not say how often. The number of a delivery is the larger
//! of two:
//! - the header `x-delivery`, where the source writes it. It is exact if the source itself gets the nacks, as in a MonoVertex;
//! - one more than the nacks of this id that this process has sent. It is too small after a restart, and if another pod had the
//!   frame before.
//!
//! What always holds: the table of nacks has at most `REMEMBERED` entries of fixed size, however long the ids are. If it is
//! full, the entry whose nack is oldest is removed, and that frame counts from the beginning. An entry is not used once it is
//! `EXPIRY` old: by then its id may belong to another frame.

use crate::frame::headers;
use crate::inference::metrics;
use crate::telemetry::rate::RateLimit;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// Frames whose nacks are remembered: more than the 25,000 messages that Numaflow's JetStream consumer has in delivery at once.
pub const REMEMBERED: usize = 32_768;

/// How long a nack is remembered.
const EXPIRY: Duration = Duration::from_secs(600);

/// The delay after the first delivery; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// One delivery of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which one: 1 is the first.
    pub number: u32,
    /// Whether the frame is not delivered again if it fails.
    pub is_last: bool,
}

impl Delivery {
    /// The first of any number.
    pub const FIRST: Self = Self {
        number: 1,
        is_last: false,
    };

    /// How long to wait before the next one: 1 s after the first, 2 s after the second, 4 s after the third, at most 60 s.
    #[must_use]
    pub fn delay(self) -> Duration {
        let doublings = self.number.saturating_sub(1).min(u32::BITS - 1);
        FIRST_DELAY
            .saturating_mul(1 << doublings)
            .min(LONGEST_DELAY)
    }
}

/// Counts deliveries. See the module's essay.
#[derive(Debug)]
pub struct Deliveries {
    /// Deliveries of a frame; `None`: without end.
    most: Option<u32>,
    table: Mutex<Table>,
    lines: Mutex<RateLimit>,
}

impl Deliveries {
    /// None so far. After `most` deliveries of a frame there is no other.
    #[must_use]
    pub fn new(most: Option<u32>) -> Self {
        Self {
            most,
            table: Mutex::new(Table::new(REMEMBERED)),
            lines: Mutex::new(metrics::lines()),
        }
    }

    /// Which delivery of datum `id` this is; `given` is the value of its header [`headers::DELIVERY`].
    #[must_use]
    pub fn of(&self, id: &str, given: Option<u32>) -> Delivery {
        let seen = self.table.lock().nacks(id, Instant::now());
        let number = seen.saturating_add(1).max(given.unwrap_or(1));
        Delivery {
            number,
            is_last: self.most.is_some_and(|most| number >= most),
        }
    }

    /// Notes that delivery `number` of datum `id` is answered with a nack.
    pub fn nacked(&self, id: &str, number: u32) {
        let removed = self.table.lock().note(id, number, Instant::now());
        if removed && let Some(held_back) = self.lines.lock().pass(Instant::now()) {
            tracing::warn!(
                remembered = REMEMBERED,
                unlogged_before = held_back,
                "More frames fail than are remembered; the deliveries of the oldest are counted from the beginning."
            );
        }
    }
}

/// The nacks of frames, by the hash of their ids, and the order of the newest nack of each.
#[derive(Debug)]
struct Table {
    limit: usize,
    hasher: RandomState,
    entries: HashMap<u64, Entry>,
    /// From the number of a nack, in order of time, to the entry's key.
    order: BTreeMap<u64, u64>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    nacks: u32,
    at: Instant,
    /// Its place in the order.
    place: u64,
}

impl Table {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }

    /// The nacks of `id` that are remembered.
    fn nacks(&self, id: &str, now: Instant) -> u32 {
        if self.entries.is_empty() {
            return 0;
        }
        let entry = self.entries.get(&self.hasher.hash_one(id));
        let fresh = entry.filter(|entry| entry.is_fresh(now));
        fresh.map_or(0, |entry| entry.nacks)
    }

    /// Notes nack number `nacks` of `id`. Whether an entry that was still in use had to be removed for it.
    fn note(&mut self, id: &str, nacks: u32, now: Instant) -> bool {
        let key = self.hasher.hash_one(id);
        let place = self.next;
        self.next += 1;
        let entry = Entry {
            nacks,
            at: now,
            place,
        };
        if let Some(before) = self.entries.insert(key, entry) {
            self.order.remove(&before.place);
        }
        self.order.insert(place, key);
        if self.entries.len() <= self.limit {
            return false;
        }
        let oldest = self.order.pop_first();
        let removed = oldest.and_then(|(_, key)| self.entries.remove(&key));
        removed.is_some_and(|entry| entry.is_fresh(now))
    }
}

impl Entry {
    fn is_fresh(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < EXPIRY
    }
}

/// The header's value, if it is a number.
#[must_use]
pub fn given(headers: &HashMap<String, String>) -> Option<u32> {
    headers::get(headers, headers::DELIVERY)?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_delay_doubles_up_to_a_minute() {
        let delay = |number| {
            let is_last = false;
            Delivery { number, is_last }.delay().as_secs()
        };
        assert_eq!(
            [1, 2, 3, 4, 6, 7, u32::MAX].map(delay),
            [1, 2, 4, 8, 32, 60, 60]
        );
    }

    #[test]
    fn the_larger_of_header_and_nacks_counts_and_the_last_delivery_is_known() {
        let deliveries = Deliveries::new(Some(3));
        assert_eq!(deliveries.of("a", None), Delivery::FIRST);
        deliveries.nacked("a", 1);
        let second = Delivery {
            number: 2,
            is_last: false,
        };
        assert_eq!(deliveries.of("a", None), second);
        assert_eq!(deliveries.of("b", Some(2)), second);
        deliveries.nacked("a", 2);
        assert!(deliveries.of("a", Some(2)).is_last);
        assert!(deliveries.of("c", Some(7)).is_last);
        assert!(!Deliveries::new(None).of("c", Some(u32::MAX)).is_last);
    }

    #[test]
    fn a_header_that_is_no_number_counts_as_absent() {
        let with = |value: &str| HashMap::from([("X-Delivery".to_owned(), value.to_owned())]);
        assert_eq!(given(&with(" 4 ")), Some(4));
        assert_eq!(given(&with("four")), None);
        assert_eq!(given(&HashMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_nack_is_not_remembered_for_ever() {
        let deliveries = Deliveries::new(None);
        deliveries.nacked("a", 4);
        tokio::time::advance(EXPIRY - Duration::from_secs(1)).await;
        assert_eq!(deliveries.of("a", None).number, 5);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(deliveries.of("a", None), Delivery::FIRST);
    }

    proptest! {
        /// Against a list of the newest nacks: as many entries as the limit, and those whose nacks are newest.
        #[test]
        fn the_table_is_bounded_and_forgets_the_oldest_nack(
            limit in 1_usize..8,
            ids in proptest::collection::vec(0_u8..16, 0..200),
        ) {
            let now = Instant::now();
            let mut table = Table::new(limit);
            let mut newest: Vec<(String, u32)> = Vec::new();
            for id in ids {
                let id = id.to_string();
                let known = newest.iter().position(|(other, _)| *other == id);
                let nacks = known.map_or(0, |at| newest.remove(at).1);
                prop_assert_eq!(table.nacks(&id, now), nacks);
                newest.push((id.clone(), nacks + 1));
                let full = newest.len() > limit;
                prop_assert_eq!(table.note(&id, nacks + 1, now), full);
                if full {
                    newest.remove(0);
                }
                prop_assert_eq!(table.entries.len(), newest.len());
                prop_assert_eq!(table.order.len(), newest.len());
            }
        }
    }
}
