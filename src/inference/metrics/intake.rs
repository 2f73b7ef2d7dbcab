//! The datums of one call, from arrival to answer, in the order in which they came, whatever models they are for. Datums of a
//! dropped call are counted as abandoned, so that every datum received is also completed.

use super::counts::Counts;
use crate::frame::frame_number;
use numaflow::batchmap::Datum;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// See the module's essay.
#[derive(Debug)]
pub struct Intake {
    counts: Arc<Counts>,
    /// When the first datum came.
    first: Option<Instant>,
    /// Received and not yet answered.
    open: usize,
    /// Of these, not yet added to the count, and their bytes.
    uncounted: usize,
    uncounted_bytes: usize,
    /// Their numbers, and their event times in ns.
    numbers: Vec<(u64, Option<i64>)>,
}

impl Intake {
    /// The intake of a new call.
    #[must_use]
    pub fn new(counts: &Arc<Counts>) -> Self {
        Self {
            counts: Arc::clone(counts),
            first: None,
            open: 0,
            uncounted: 0,
            uncounted_bytes: 0,
            numbers: Vec::new(),
        }
    }

    /// A datum has come in.
    pub fn arrived(&mut self, datum: &Datum, at: Instant) {
        self.first.get_or_insert(at);
        self.open += 1;
        self.uncounted += 1;
        self.uncounted_bytes += datum.value.len();
        if let Some(number) = frame_number(&datum.headers) {
            let since =
                event_time(datum).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let taken = since.and_then(|since| since.as_nanos().try_into().ok());
            self.numbers.push((number, taken));
        }
    }

    /// The time since the first datum came; none before it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| first.elapsed())
    }

    /// Datums that have come and are not answered.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Adds what has arrived to the count: once per batch.
    pub fn count(&mut self) {
        let frames = std::mem::take(&mut self.uncounted);
        let bytes = std::mem::take(&mut self.uncounted_bytes);
        self.counts.received(frames, bytes);
        self.counts.numbered(self.numbers.drain(..));
    }

    /// So many datums are answered. When none is left, gaps in their numbers are certain.
    pub fn answered(&mut self, datums: usize) {
        self.open = self.open.saturating_sub(datums);
        if self.open == 0 {
            self.settle_gaps();
        }
    }

    /// No datum comes that fills a gap.
    pub fn settle_gaps(&mut self) {
        self.count();
        self.counts.settle_gaps();
    }
}

/// A datum's event time. One without comes with a time at the epoch, or before it.
#[must_use]
pub fn event_time(datum: &Datum) -> Option<SystemTime> {
    let event = SystemTime::from(datum.event_time);
    (event > SystemTime::UNIX_EPOCH).then_some(event)
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.count();
        self.counts.abandoned(self.open);
    }
}
