//! Missing frames: numbers left out upstream.
//!
//! A source writes the detector's frame number into the header `x-txn-id`. Frames come in order, so a skipped
//! number was lost before it reached the sidecar: at the detector, in the source, or in a buffer that was full. A frame that comes late, or
//! again after a NACK, is no gap. A detector that restarts at 0 or 1, or continues for long below the last number,
//! has started another scan.
//!
//! The count has a meaning only if one replica receives all frames. With several, each receives a part.

/// Frames in a row below the next number that are taken for another scan.
const ANOTHER_SCAN: u32 = 1000;

/// The frame numbers so far. See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct FrameNumbers {
    next: Option<u64>,
    below: u32,
    /// What was next before another scan seemed to begin.
    before: Option<u64>,
}

impl FrameNumbers {
    /// Notes a frame's number; gives how many were left out before it.
    pub(crate) fn note(&mut self, number: u64) -> u64 {
        let after = Some(number.saturating_add(1));
        let Some(next) = self.next else {
            self.next = after;
            return 0;
        };
        if number < next {
            self.below += 1;
            if number <= 1 || self.below >= ANOTHER_SCAN {
                self.before = Some(next);
                self.next = after;
                self.below = 0;
            }
            return 0;
        }
        // Was it no other scan, but the first frames of this one once more, then it goes on where it was.
        let expected = match self.before.filter(|before| number >= *before) {
            Some(before) if number > next => before,
            _ => next,
        };
        if self.before.is_some_and(|before| number >= before) {
            self.before = None;
        }
        self.below = 0;
        self.next = after;
        number - expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(numbers: impl IntoIterator<Item = u64>) -> u64 {
        let mut seen = FrameNumbers::default();
        numbers.into_iter().map(|number| seen.note(number)).sum()
    }

    #[test]
    fn numbers_that_are_jumped_over_are_missing() {
        assert_eq!(missing([100, 101, 104, 105, 107]), 3);
        assert_eq!(missing([u64::MAX - 2, u64::MAX, u64::MAX]), 1);
    }

    #[test]
    fn frames_that_come_late_or_again_are_no_gap() {
        assert_eq!(missing([10, 11, 12, 10, 11, 13, 12, 14]), 0);
        // The first read batch of a scan, twice.
        assert_eq!(missing((1..=128).chain(1..=64).chain(129..200)), 0);
        assert_eq!(missing((0..128).chain(0..64).chain([130])), 2);
    }

    #[test]
    fn a_new_scan_is_no_gap_and_its_own_gaps_are_found() {
        assert_eq!(missing((1..=500).chain(1..=100).chain([103])), 2);
        assert_eq!(missing((0..500).chain(0..10)), 0);
    }

    #[test]
    fn a_scan_that_goes_on_far_below_is_another_one() {
        let below = 20_000..20_000 + u64::from(ANOTHER_SCAN);
        let jump = [20_000 + u64::from(ANOTHER_SCAN) + 5];
        assert_eq!(missing([50_000].into_iter().chain(below).chain(jump)), 5);
    }
}
