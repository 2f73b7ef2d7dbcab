//! Results in the order of their numbers, within a time: a result waits until the one before it has come, or until its time
//! is up. One that comes after a later one was released is late.
//!
//! The number before is the number less 1: a detector whose numbers rise in larger steps has every result wait its time.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Results that wait, at most: then the first is released before its time.
const MOST: usize = 1_024;
/// Values of all results that wait, at most: 64 MiB.
const MOST_VALUES: usize = 16 << 20;

/// The place of a result: its series, and its number in it.
pub(crate) type Key = (u64, u64);

/// The results of one output that wait.
#[derive(Debug)]
pub(crate) struct Order<T> {
    /// How long a result waits; without it, none does.
    time: Option<Duration>,
    /// With the time at which it is released, and its values.
    waiting: BTreeMap<Key, (Instant, usize, T)>,
    values: usize,
    /// The last one that was released.
    last: Option<Key>,
}

impl<T> Order<T> {
    pub(crate) const fn new(time: Option<Duration>) -> Self {
        Self {
            time,
            waiting: BTreeMap::new(),
            values: 0,
            last: None,
        }
    }

    /// A result of so many values has come.
    ///
    /// # Errors
    /// The result, if it is late.
    pub(crate) fn insert(
        &mut self,
        key: Key,
        values: usize,
        result: T,
        now: Instant,
    ) -> Result<(), T> {
        let due = match self.time {
            Some(_) if self.last.is_some_and(|last| key <= last) => return Err(result),
            Some(time) => now.checked_add(time).unwrap_or(now),
            None => now,
        };
        self.values += values;
        match self.waiting.insert(key, (due, values, result)) {
            // No two results of an output have one number, unless two sources of one series number frames alike.
            Some((_, values, older)) => {
                self.values -= values;
                Err(older)
            }
            None => Ok(()),
        }
    }

    /// The next result whose turn it is.
    pub(crate) fn next(&mut self, now: Instant) -> Option<T> {
        let (&key, _) = self.waiting.first_key_value()?;
        let follows = self
            .last
            .is_some_and(|(series, number)| key == (series, number.saturating_add(1)));
        let full = self.waiting.len() > MOST || self.values > MOST_VALUES;
        // If one is due, so is everything before it.
        let due = || self.waiting.values().any(|(due, ..)| *due <= now);
        if follows || full || due() {
            self.release()
        } else {
            None
        }
    }

    /// The first result that waits, before its time.
    pub(crate) fn release(&mut self) -> Option<T> {
        let (key, (_, values, result)) = self.waiting.pop_first()?;
        self.values -= values;
        self.last = Some(key);
        Some(result)
    }

    /// When the next result is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|(due, ..)| *due).min()
    }

    /// Results that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        order: Order<Key>,
        start: Instant,
        late: Vec<Key>,
    }

    impl Rig {
        fn new(time: Option<u64>) -> Self {
            Self {
                order: Order::new(time.map(Duration::from_millis)),
                start: Instant::now(),
                late: Vec::new(),
            }
        }

        /// What is released at `ms` when these come.
        fn at(&mut self, ms: u64, keys: &[Key]) -> Vec<Key> {
            let now = self.start + Duration::from_millis(ms);
            for key in keys {
                self.late
                    .extend(self.order.insert(*key, 1, *key, now).err());
            }
            std::iter::from_fn(|| self.order.next(now)).collect()
        }
    }

    #[test]
    fn results_come_in_order_as_soon_as_none_is_missing_before_them() {
        let mut rig = Rig::new(Some(100));
        // The first of a series waits: one before it may come.
        assert_eq!(rig.at(0, &[(1, 5)]), []);
        assert_eq!(rig.at(100, &[]), [(1, 5)]);
        assert_eq!(rig.at(101, &[(1, 7), (1, 8)]), []);
        assert_eq!(rig.at(102, &[(1, 6)]), [(1, 6), (1, 7), (1, 8)]);
        // One is lost: those behind it wait their time.
        assert_eq!(rig.at(110, &[(1, 10)]), []);
        assert_eq!(rig.at(150, &[(1, 11)]), []);
        assert_eq!(rig.at(210, &[]), [(1, 10), (1, 11)]);
        assert_eq!(rig.at(211, &[(1, 9)]), []);
        assert_eq!(rig.late, [(1, 9)]);
        // A new series, and the last one of the series before.
        assert_eq!(rig.at(220, &[(2, 1)]), []);
        assert_eq!(rig.at(221, &[(1, 12)]), [(1, 12)]);
        assert_eq!(rig.at(320, &[]), [(2, 1)]);
        assert_eq!(rig.order.len(), 0);
    }

    #[test]
    fn what_is_due_takes_everything_before_it_along() {
        let mut rig = Rig::new(Some(100));
        assert_eq!(rig.at(0, &[(1, 9)]), []);
        assert_eq!(rig.at(90, &[(1, 3), (1, 12)]), []);
        assert_eq!(rig.at(100, &[]), [(1, 3), (1, 9)]);
    }

    #[test]
    fn without_a_time_results_pass_in_the_order_of_arrival() {
        let mut rig = Rig::new(None);
        for key in [(1, 5), (1, 3), (2, 1), (1, 9), (1, 5)] {
            assert_eq!(rig.at(0, &[key]), [key]);
        }
    }

    #[test]
    fn the_room_is_bounded() {
        let mut rig = Rig::new(Some(100));
        for k in 0..3 * MOST as u64 {
            rig.at(0, &[(1, 2 * k)]);
            assert!(rig.order.len() <= MOST);
        }
        let now = rig.start;
        let mut order = Order::new(Some(Duration::from_millis(100)));
        order.insert((1, 1), MOST_VALUES, 1, now).unwrap();
        order.insert((1, 3), 1, 2, now).unwrap();
        assert_eq!(order.next(now), Some(1));
        assert_eq!(order.next(now), None);
    }
}
