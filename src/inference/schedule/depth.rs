//! The number of batches that pipelined mode keeps in flight: fixed, or derived from measured times.
//!
//! While one batch is computed, `inference / collection` more fill up. With that many in flight neither side waits.
//! `Depth::following` starts at 3 and follows this ratio plus a quarter, because some batches take longer. It changes,
//! between 1 and 8, only after three calls in a row need another depth; it then takes the depth of the last of them and
//! logs the change.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where a following depth starts.
pub(crate) const FOLLOWING_START: usize = 3;
/// The most a following depth comes to.
pub(crate) const FOLLOWING_MOST: usize = 8;
/// Added to the ratio, because batches are not alike.
const HEADROOM: f64 = 1.25;
/// Calls in a row that must ask for another depth.
const REPEATS: u32 = 3;
/// How much the newest call counts in the smoothed ratio.
const NEWEST: f64 = 0.3;

/// See the module's essay.
#[derive(Debug)]
pub struct Depth {
    now: AtomicUsize,
    following: Option<Mutex<Following>>,
}

#[derive(Debug, Default)]
struct Following {
    ratio: Option<f64>,
    asked: u32,
}

impl Depth {
    /// Always `depth`.
    #[must_use]
    pub(crate) fn fixed(depth: usize) -> Self {
        Self {
            now: AtomicUsize::new(depth),
            following: None,
        }
    }

    /// Derived from the measured times.
    #[must_use]
    pub(crate) fn following() -> Self {
        Self {
            now: AtomicUsize::new(FOLLOWING_START),
            following: Some(Mutex::default()),
        }
    }

    /// Batches in flight, now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Batches handed to the lanes before the collector waits. A fixed depth has as many lanes: a batch beyond it waits
    /// before them, where a lane that is done finds it at once. One that follows has more lanes than it uses.
    #[must_use]
    pub(crate) fn places(&self) -> usize {
        self.now() + usize::from(self.following.is_none())
    }

    /// Takes note of a call: the mean time in which a batch filled, and that for which it was on its lane.
    pub(crate) fn note(&self, collection: Duration, inference: Duration) {
        let Some(following) = &self.following else {
            return;
        };
        // The resolution of the clock: a batch may fill faster than that.
        let collection = collection.max(Duration::from_micros(1));
        let measured = inference.as_secs_f64() / collection.as_secs_f64();
        let mut following = following.lock();
        let ratio = following
            .ratio
            .map_or(measured, |ratio| ratio + NEWEST * (measured - ratio));
        following.ratio = Some(ratio);
        let (from, to) = (self.now(), suited(ratio));
        if to == from {
            following.asked = 0;
            return;
        }
        following.asked += 1;
        if following.asked >= REPEATS {
            following.asked = 0;
            self.now.store(to, Ordering::Relaxed);
            tracing::info!(
                from,
                to,
                inference_to_collection = format!("{ratio:.2}"),
                "The pipeline depth follows the measured times."
            );
        }
    }
}

/// The depth for a ratio of inference to collection time: the ratio and a quarter, rounded up, from 1 to
/// [`FOLLOWING_MOST`].
#[must_use]
pub(crate) fn suited(ratio: f64) -> usize {
    // `as` saturates, and the range is small.
    ((ratio * HEADROOM).ceil() as usize).clamp(1, FOLLOWING_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(calls: usize, collection: Duration, inference: Duration) -> usize {
        let depth = Depth::following();
        (0..calls).for_each(|_| depth.note(collection, inference));
        depth.now()
    }

    #[test]
    fn the_depth_follows_the_ratio_of_inference_to_collection() {
        for (collection, inference, depth) in
            [(10, 1, 1), (10, 10, 2), (10, 30, 4), (1, 100, 8), (0, 5, 8)]
        {
            assert_eq!(
                after(10, collection * MS, inference * MS),
                depth,
                "{inference} to {collection}"
            );
        }
    }

    #[test]
    fn one_odd_call_changes_nothing() {
        assert_eq!(after(REPEATS as usize - 1, MS, 100 * MS), FOLLOWING_START);
        assert_eq!(after(REPEATS as usize, MS, 100 * MS), FOLLOWING_MOST);
    }

    #[test]
    fn a_fixed_depth_stays() {
        let depth = Depth::fixed(5);
        (0..10).for_each(|_| depth.note(MS, 100 * MS));
        assert_eq!((depth.now(), depth.places()), (5, 6));
    }
}
