//! The order in which frames are posted, and the faults in it.
//!
//! The same settings give the same faults. Every frame that is taken is posted once, posted twice, dropped, or held
//! back until the next frame is posted.

/// The faults; each is absent unless it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Every so many frames one is never posted.
    pub(super) drop: Option<u64>,
    /// Every so many frames one is posted twice.
    pub(super) repeat: Option<u64>,
    /// Every so many frames one is posted after the next.
    pub(super) late: Option<u64>,
}

/// Counts of frames: taken, posted, and changed by a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Taken by the detector.
    pub(super) taken: u64,
    /// Posted, at least once.
    pub(super) posted: u64,
    /// Taken and never posted.
    pub(super) dropped: u64,
    /// Posted twice.
    pub(super) repeated: u64,
    /// Posted after the next frame.
    pub(super) late: u64,
}

/// A frame to be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number since the start, from 1.
    pub(super) number: u64,
    /// Whether it is posted twice.
    pub(super) is_repeated: bool,
}

/// From frames that are taken to frames that are posted.
#[derive(Debug)]
pub(super) struct Order {
    faults: Faults,
    held: Option<u64>,
    totals: Totals,
}

impl Order {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            held: None,
            totals: Totals::default(),
        }
    }

    /// Takes the next frame; returns what must be posted now, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Due> + use<> {
        self.totals.taken += 1;
        let number = self.totals.taken;
        let is_nth = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        let due = if is_nth(self.faults.drop) {
            self.totals.dropped += 1;
            [None, None]
        } else if is_nth(self.faults.late) && self.held.is_none() {
            self.held = Some(number);
            [None, None]
        } else {
            let held = self.held.take();
            self.totals.late += u64::from(held.is_some());
            [Some(number), held]
        };
        due.map(|number| Some(self.post(number?)))
            .into_iter()
            .flatten()
    }

    /// The frame that is held back when no other follows.
    pub(super) fn rest(&mut self) -> Option<Due> {
        let number = self.held.take()?;
        Some(self.post(number))
    }

    /// The frames so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    fn post(&mut self, number: u64) -> Due {
        let every = self.faults.repeat;
        let is_repeated = every.is_some_and(|every| number.is_multiple_of(every));
        self.totals.posted += 1;
        self.totals.repeated += u64::from(is_repeated);
        Due {
            number,
            is_repeated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The numbers of `frames` frames in the order of their posts, and the totals.
    fn posts(faults: Faults, frames: u64) -> (Vec<u64>, Totals) {
        let mut order = Order::new(faults);
        let mut dues: Vec<Due> = Vec::new();
        for _ in 0..frames {
            dues.extend(order.take());
        }
        dues.extend(order.rest());
        let twice = dues
            .iter()
            .flat_map(|due| std::iter::repeat_n(due.number, 1 + usize::from(due.is_repeated)));
        (twice.collect(), order.totals())
    }

    #[test]
    fn each_fault_is_where_it_is_asked_for() {
        let none = Faults::default();
        assert!(posts(none, 5).0.into_iter().eq(1..=5));
        let drop = Faults {
            drop: Some(3),
            ..none
        };
        assert_eq!(posts(drop, 7).0, [1, 2, 4, 5, 7]);
        let repeat = Faults {
            repeat: Some(2),
            ..none
        };
        assert_eq!(posts(repeat, 5).0, [1, 2, 2, 3, 4, 4, 5]);
        let late = Faults {
            late: Some(3),
            ..none
        };
        assert_eq!(posts(late, 8).0, [1, 2, 4, 3, 5, 7, 6, 8]);
        // The last has no other to be posted after.
        assert_eq!(posts(late, 3), posts(none, 3));
    }

    #[test]
    fn a_late_frame_comes_after_the_next_that_is_not_dropped() {
        let faults = Faults {
            drop: Some(4),
            repeat: Some(3),
            late: Some(3),
        };
        let (posted, totals) = posts(faults, 6);
        assert_eq!(posted, [1, 2, 5, 3, 3, 6, 6]);
        let expected = Totals {
            taken: 6,
            posted: 5,
            dropped: 1,
            repeated: 2,
            late: 1,
        };
        assert_eq!(totals, expected);
    }

    proptest! {
        #[test]
        fn each_frame_is_posted_once_or_accounted_for(
            drop in prop::option::of(2_u64..9),
            repeat in prop::option::of(1_u64..9),
            late in prop::option::of(2_u64..9),
            frames in 0_u64..60,
        ) {
            let (mut posted, totals) = posts(Faults { drop, repeat, late }, frames);
            prop_assert_eq!(totals.taken, frames);
            prop_assert_eq!(totals.posted + totals.dropped, frames);
            prop_assert_eq!(posted.len() as u64, totals.posted + totals.repeated);
            posted.sort_unstable();
            posted.dedup();
            let kept = (1..=frames).filter(|n| drop.is_none_or(|every| n % every != 0));
            prop_assert!(posted.into_iter().eq(kept));
        }
    }
}
