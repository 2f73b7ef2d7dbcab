//! Notices read batches that can never keep the sidecar busy.
//!
//! The overlap of receiving and computing happens inside one read batch. If numa never reads as many
//! datums as the slots hold, `(in flight + 1) × batch size`, some slots are never used. The limit itself is not visible
//! here. A largest read batch that comes again and again is a sign of it.

/// Times that the largest read batch must come before it is taken for the limit.
const REPEATS: u32 = 8;

/// Watches the sizes of read batches and reports once.
#[derive(Debug)]
pub(crate) struct ReadBatchWatch {
    needed: usize,
    largest: usize,
    repeats: u32,
    said: bool,
}

impl ReadBatchWatch {
    /// Watches for read batches that never reach `needed` datums.
    #[must_use]
    pub(crate) fn new(needed: usize) -> Self {
        Self {
            needed,
            largest: 0,
            repeats: 0,
            said: false,
        }
    }

    /// Takes note of a read batch; `Some(limit)`, once, when all show that `limit` < needed is the most that
    /// ever comes.
    pub(crate) fn note(&mut self, datums: usize) -> Option<usize> {
        if datums > self.largest {
            self.largest = datums;
            self.repeats = 0;
        }
        if datums == self.largest && datums > 0 {
            self.repeats += 1;
        }
        let limited = self.repeats >= REPEATS && self.largest < self.needed && !self.said;
        self.said |= limited;
        limited.then_some(self.largest)
    }

    /// Datums that a read batch must hold for all slots to be used.
    #[must_use]
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(needed: usize, sizes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut watch = ReadBatchWatch::new(needed);
        sizes.into_iter().filter_map(|n| watch.note(n)).collect()
    }

    #[test]
    fn read_batches_that_are_always_too_small_are_reported_once() {
        assert_eq!(notes(32, std::iter::repeat_n(8, 100)), [8]);
    }

    #[test]
    fn a_read_batch_that_is_large_enough_is_never_reported() {
        assert_eq!(notes(32, std::iter::repeat_n(32, 100)), [0; 0]);
    }

    #[test]
    fn small_read_batches_after_a_large_one_are_not_reported() {
        assert_eq!(
            notes(32, [64].into_iter().chain(std::iter::repeat_n(3, 100))),
            [0; 0]
        );
    }

    #[test]
    fn empty_read_batches_say_nothing() {
        assert_eq!(notes(32, std::iter::repeat_n(0, 100)), [0; 0]);
    }
}
