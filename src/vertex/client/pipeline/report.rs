//! What a pipeline did.

use std::time::Duration;

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many ended without an error.
    pub count: u64,
    /// The time of all of them.
    pub total: Duration,
    /// The time of the longest.
    pub longest: Duration,
}

impl Calls {
    /// Enters one call.
    pub(super) fn enter(&mut self, time: Duration) {
        self.count += 1;
        self.total += time;
        self.longest = self.longest.max(time);
    }

    /// The mean time of a call.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.total.checked_div(count).unwrap_or_default()
    }
}

/// Counts of messages of the source, of outputs, and of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages read, each delivery counted.
    pub read: u64,
    /// Of these, delivered before.
    pub again: u64,
    /// Of these, already in hand, and left out.
    pub repeated: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages nacked because the map or the sink asked for it.
    pub nacked: u64,
    /// Messages given back, or left to the source, because a part was gone or a run ended early.
    pub returned: u64,
    /// Messages read and not settled yet.
    pub in_hand: u64,
    /// Messages that the map answered.
    pub mapped: u64,
    /// Outputs that the map dropped.
    pub dropped: u64,
    /// Outputs written, to the fallback sink too.
    pub written: u64,
    /// Of these, by the fallback sink.
    pub fell_back: u64,
    /// Outputs written by the onSuccess sink, after they were written.
    pub passed_on: u64,
    /// Outputs sent to a sink again.
    pub retried: u64,
    /// Outputs that a sink failed to write, given up.
    pub failed: u64,
    /// How often everything was connected again.
    pub restarts: u64,
    /// Reads.
    pub reads: Calls,
    /// Read batches mapped.
    pub maps: Calls,
    /// Batches written; a retry is a batch.
    pub writes: Calls,
    /// Read batches acked, nacked, or both.
    pub acks: Calls,
}

impl Report {
    /// Whether each message read is in exactly one place.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let places = [
            self.repeated,
            self.acked,
            self.nacked,
            self.returned,
            self.in_hand,
        ];
        self.read == places.iter().sum::<u64>()
    }
}
