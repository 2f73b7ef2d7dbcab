//! Results in the order of their numbers, within a time: a result waits until the one before it has come, or until its time
//! is up. One that comes after a later one of its series was released is late. Series do not wait for each other: those of
//! two detectors run side by side.
//!
//! The number before is the number less 1: a detector whose numbers rise in larger steps has every result wait its time.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Results that wait, at most: then the first is released before its time.
const MOST: usize = 1_024;
/// Values of all results that wait, at most: 64 MiB.
const MOST_VALUES: usize = 16 << 20;
/// Series that are remembered, and none of whose results wait.
const SERIES: usize = 64;

/// The place of a result: its series, and its number in it.
pub(crate) type Key = (u64, u64);

/// The results of one output that wait.
#[derive(Debug)]
pub(crate) struct Order<T> {
    /// How long a result waits; without it, none does.
    time: Option<Duration>,
    series: BTreeMap<u64, OfSeries<T>>,
    /// Results that wait, and their values.
    waiting: usize,
    values: usize,
}

/// The results of one series that wait.
#[derive(Debug)]
struct OfSeries<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
    /// The last number that was released.
    last: Option<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    /// When it is released.
    due: Instant,
    values: usize,
    result: T,
}

impl<T> Order<T> {
    pub(crate) const fn new(time: Option<Duration>) -> Self {
        Self {
            time,
            series: BTreeMap::new(),
            waiting: 0,
            values: 0,
        }
    }

    /// A result of so many values has come.
    ///
    /// # Errors
    /// The result, if it is late; an earlier one, if it has the same number.
    pub(crate) fn insert(
        &mut self,
        (series, number): Key,
        values: usize,
        result: T,
        now: Instant,
    ) -> Result<(), T> {
        let of_series = self.series.entry(series).or_insert_with(OfSeries::new);
        let due = match self.time {
            Some(_) if of_series.last.is_some_and(|last| number <= last) => return Err(result),
            Some(time) => now.checked_add(time).unwrap_or(now),
            None => now,
        };
        let waiting = Waiting {
            due,
            values,
            result,
        };
        self.waiting += 1;
        self.values += values;
        match of_series.waiting.insert(number, waiting) {
            Some(older) => {
                self.waiting -= 1;
                self.values -= older.values;
                Err(older.result)
            }
            None => Ok(()),
        }
    }

    /// The next result whose turn it is.
    pub(crate) fn next(&mut self, now: Instant) -> Option<T> {
        let mut all = self.series.iter();
        let turn = all.find(|(_, of_series)| of_series.is_next(now));
        let series = match turn {
            Some((series, _)) => *series,
            None if self.waiting > MOST || self.values > MOST_VALUES => self.first_due()?.1,
            None => return None,
        };
        self.release_of(series)
    }

    /// A result that waits, before its time.
    pub(crate) fn release(&mut self) -> Option<T> {
        let mut all = self.series.iter();
        let (series, _) = all.find(|(_, of_series)| !of_series.waiting.is_empty())?;
        self.release_of(*series)
    }

    /// When the next result is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.first_due().map(|(due, _)| due)
    }

    /// Results that wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting
    }

    /// The earliest time at which a result is due, and its series.
    fn first_due(&self) -> Option<(Instant, u64)> {
        let all = self.series.iter();
        all.filter_map(|(series, of_series)| Some((of_series.due()?, *series)))
            .min()
    }

    fn release_of(&mut self, series: u64) -> Option<T> {
        let of_series = self.series.get_mut(&series)?;
        let (number, waiting) = of_series.waiting.pop_first()?;
        of_series.last = Some(number);
        self.waiting -= 1;
        self.values -= waiting.values;
        if self.series.len() > SERIES {
            let mut all = self.series.iter();
            let idle = all.find(|(_, of_series)| of_series.waiting.is_empty());
            if let Some(oldest) = idle.map(|(series, _)| *series) {
                self.series.remove(&oldest);
            }
        }
        Some(waiting.result)
    }
}

impl<T> OfSeries<T> {
    const fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            last: None,
        }
    }

    /// Whether it is the first one's turn.
    fn is_next(&self, now: Instant) -> bool {
        let first = self.waiting.keys().next();
        let after = self.last.and_then(|last| last.checked_add(1));
        // If one is due, so is everything before it.
        first.is_some_and(|first| after == Some(*first)) || self.due().is_some_and(|due| due <= now)
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
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
    fn series_of_two_detectors_do_not_wait_for_each_other() {
        let mut rig = Rig::new(Some(100));
        assert_eq!(rig.at(0, &[(1, 1), (2, 7)]), []);
        assert_eq!(rig.at(100, &[]), [(1, 1), (2, 7)]);
        for k in 1..100 {
            let keys = [(2, 7 + k), (1, 1 + k)];
            assert_eq!(rig.at(100 + k, &keys), [keys[1], keys[0]]);
        }
        // One is lost in the first: the second goes on.
        assert_eq!(rig.at(300, &[(1, 102)]), []);
        assert_eq!(rig.at(301, &[(2, 107)]), [(2, 107)]);
        assert_eq!(rig.at(400, &[]), [(1, 102)]);
        assert_eq!(rig.late, []);
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
        let mut rig = Rig::new(Some(100));
        for k in 0..3 * SERIES as u64 {
            rig.at(200 * k, &[(k, 1)]);
            assert!(rig.order.series.len() <= SERIES + 1);
        }
    }
}
