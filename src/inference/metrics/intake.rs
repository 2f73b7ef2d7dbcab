//! The datums of one call, from arrival to answer. Datums of a dropped call are counted as abandoned, so that every datum
//! received is also completed.

use super::counts::Counts;
use std::sync::Arc;
use std::time::SystemTime;

/// See the module's essay.
#[derive(Debug)]
pub struct Intake {
    counts: Arc<Counts>,
    /// Received and not yet answered.
    open: usize,
    /// Of these, not yet added to the count, and their bytes.
    uncounted: usize,
    uncounted_bytes: usize,
    /// Their numbers, and their event times in ns.
    numbers: Vec<(u64, Option<i64>)>,
    event_times: Vec<SystemTime>,
}

impl Intake {
    /// The intake of a new call.
    #[must_use]
    pub fn new(counts: &Arc<Counts>) -> Self {
        Self {
            counts: Arc::clone(counts),
            open: 0,
            uncounted: 0,
            uncounted_bytes: 0,
            numbers: Vec::new(),
            event_times: Vec::new(),
        }
    }

    /// A datum of `bytes` bytes has come in; its event was at `event_time`, and its frame has that number.
    pub fn arrived(&mut self, bytes: usize, event_time: SystemTime, number: Option<u64>) {
        self.open += 1;
        self.uncounted += 1;
        self.uncounted_bytes += bytes;
        // A datum without an event time comes with one at the epoch, or before it.
        let since = event_time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let since = since.filter(|since| !since.is_zero());
        if since.is_some() {
            self.event_times.push(event_time);
        }
        if let Some(number) = number {
            let taken = since.and_then(|since| since.as_nanos().try_into().ok());
            self.numbers.push((number, taken));
        }
    }

    /// Adds what has arrived to the count: once per batch.
    pub fn count(&mut self) {
        let frames = std::mem::take(&mut self.uncounted);
        let bytes = std::mem::take(&mut self.uncounted_bytes);
        self.counts.received(frames, bytes);
        self.counts.numbered(self.numbers.drain(..));
    }

    /// The call is answered: its frames are counted by their outcomes, and gaps in their numbers are certain.
    pub fn answered(&mut self) {
        self.count();
        self.counts.settle_gaps();
        self.open = 0;
        let now = SystemTime::now();
        for event_time in self.event_times.drain(..) {
            // An event in the future is another machine's clock: it took no time then.
            let latency = now.duration_since(event_time).unwrap_or_default();
            self.counts.latency(latency);
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.count();
        self.counts.abandoned(self.open);
    }
}
