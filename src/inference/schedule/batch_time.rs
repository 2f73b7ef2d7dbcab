//! How long a batch of a model takes.

use crate::inference::sync::Mutex;
use std::time::Duration;

/// How much the newest batch counts in the smoothed time.
const NEWEST: f64 = 0.2;

/// A run of more than this many times the smoothed time may hang.
const UNUSUAL: u32 = 8;

/// Nothing shorter is unusual.
const AT_LEAST: Duration = Duration::from_millis(100);

/// The same, before the first batch is done.
const AT_FIRST: Duration = Duration::from_secs(1);

/// The time of a batch on its lane, smoothed; zero before the first is done.
pub(crate) struct BatchTime(Mutex<Duration>);

impl BatchTime {
    /// Of a model that has computed nothing.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Duration::ZERO))
    }

    /// A batch took `time`.
    pub(crate) fn add(&self, time: Duration) {
        let mut smoothed = self.0.lock();
        *smoothed = if smoothed.is_zero() {
            time
        } else {
            smoothed.mul_f64(1.0 - NEWEST) + time.mul_f64(NEWEST)
        };
    }

    /// The smoothed time.
    pub(crate) fn get(&self) -> Duration {
        *self.0.lock()
    }

    /// After this time a run is unusual, and may hang.
    pub(crate) fn unusual(&self) -> Duration {
        match self.get() {
            Duration::ZERO => AT_FIRST,
            time => time.saturating_mul(UNUSUAL).max(AT_LEAST),
        }
    }
}
