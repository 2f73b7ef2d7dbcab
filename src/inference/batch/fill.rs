//! When a batch closes.
//!
//! Pure policy: its input is frames and the time, its output whether the batch is complete. It reads no clock and never
//! sleeps, so its tests need no clock.

use std::time::Duration;
use tokio::time::Instant;

/// Why a batch closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// It had as many frames as a batch holds.
    Full,
    /// Its oldest frame had waited as long as `--batch-timeout` allows.
    TimedOut,
    /// Its device had nothing to do, and its oldest frame had waited long enough.
    Idle,
    /// The read batch, or the stream, ended.
    EndOfStream,
}

impl Close {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Full, Self::TimedOut, Self::Idle, Self::EndOfStream];

    /// A short, bounded name for logs and counts.
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TimedOut => "timeout",
            Self::Idle => "idle",
            Self::EndOfStream => "end",
        }
    }
}

/// The fill of one batch so far.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    capacity: usize,
    frames: usize,
    opened_at: Instant,
    deadline: Option<Instant>,
}

impl Fill {
    /// A batch whose first frame is put in at `now`.
    #[must_use]
    pub fn opened(now: Instant, capacity: usize, timeout: Option<Duration>) -> Self {
        Self {
            capacity,
            frames: 0,
            opened_at: now,
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
        }
    }

    /// Counts one more frame; says whether the batch is now full.
    pub fn add(&mut self) -> bool {
        self.frames += 1;
        self.frames >= self.capacity
    }

    /// Frames of a full batch.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Frames that are missing in a full batch.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.capacity.saturating_sub(self.frames)
    }

    /// When its first frame came.
    #[must_use]
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// The time at which the oldest frame has waited long enough; `None` if there is no limit.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_at_its_capacity_and_not_before() {
        let mut fill = Fill::opened(Instant::now(), 3, None);
        assert_eq!([fill.add(), fill.add(), fill.add()], [false, false, true]);
    }

    #[test]
    fn the_deadline_counts_from_the_oldest_frame() {
        let start = Instant::now();
        let mut fill = Fill::opened(start, 3, Some(Duration::from_millis(20)));
        fill.add();
        let before = fill.deadline();
        fill.add();
        assert_eq!(before, Some(start + Duration::from_millis(20)));
        assert_eq!(fill.deadline(), before);
    }

    #[test]
    fn without_a_time_out_a_batch_waits_for_ever() {
        assert_eq!(Fill::opened(Instant::now(), 3, None).deadline(), None);
    }

    #[test]
    fn a_timeout_beyond_the_clock_is_no_timeout() {
        assert_eq!(
            Fill::opened(Instant::now(), 3, Some(Duration::MAX)).deadline(),
            None
        );
    }
}
