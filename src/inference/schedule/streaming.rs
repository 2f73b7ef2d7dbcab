//! A batcher that never ends: the mode for a unary map, whose datums come without read batches.
//!
//! A read batch is a barrier: at its end the device drains, the answers leave, and the next one is read. A stream has none.
//! So there is no end that would close a batch that is not full, and something else has to. The rule is:
//!
//! ```text
//!                        ┌─ B frames ───────────────────────────────▶ close: full
//!  n frames in a batch ──┤
//!                        └─ a device has nothing to do
//!                             └─ the oldest frame has waited
//!                                --batch-wait × (1 − n ÷ B) ────────▶ close: idle
//! ```
//!
//! A device is idle when no batch of any model runs on it or waits for it. While every device is busy, nothing but a full
//! batch is closed, because a short one would not start any sooner: its frames use the time to become more. When a device is
//! idle, a short batch is worth more than waiting. `--batch-wait` trades latency for fuller batches; the fuller the batch, the
//! less is left to win, so the wait shrinks with each frame. With no wait at all, the default, the load sets the size of the
//! batches: few frames run at once and alone, many find the device busy and fill up. An engine with a fixed batch computes as
//! long for one frame as for a full batch; there the default is half that time.
//!
//! The rule (`verdict`) is pure: it knows frames and times, and no clock.
//!
//! What always holds: a frame that was converted leaves with the next batch that closes; at most `depth` batches are in flight,
//! and one that has filled may wait behind them; when the stream ends, what is in hand is computed and answered.

use super::{Call, Closing, Collector, Datums, Depth, Schedule, answer};
use crate::inference::batch::{Close, Fill};
use crate::inference::model::Model;
use crate::inference::sync::{Mutex, sleep_until};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

/// Full batches over which an automatic depth takes the mean of the times.
const DEPTH_OVER: u32 = 16;

/// Fills batches from a stream without an end. See the module's essay.
pub(crate) struct Streaming {
    pub(crate) model: Arc<Model>,
    /// Batches in flight.
    pub(crate) depth: Arc<Depth>,
    /// The most that a frame waits for others while a device is idle.
    pub(crate) wait: BatchWait,
}

/// The most that a frame waits for others while a device is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchWait {
    /// So long.
    Exactly(Duration),
    /// Half the time that a batch of the model takes; none before the first is done.
    HalfOfCompute,
}

impl BatchWait {
    /// What suits an engine whose batch is fixed, or one that runs any number of frames.
    pub(crate) fn suited(has_fixed_batch: bool) -> Self {
        if has_fixed_batch {
            Self::HalfOfCompute
        } else {
            Self::Exactly(Duration::ZERO)
        }
    }

    fn of(self, model: &Model) -> Duration {
        match self {
            Self::Exactly(wait) => wait,
            Self::HalfOfCompute => model.batch_time.get() / 2,
        }
    }
}

/// What to do with a batch that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Close,
    /// Unless a frame or a device comes first.
    CloseAt(Instant),
    /// Every device has something to do.
    Fill,
}

/// The rule of the module's essay, for a batch that is not full and not empty.
fn verdict(fill: Fill, now: Instant, device_is_idle: bool, wait: Duration) -> Verdict {
    if !device_is_idle {
        return Verdict::Fill;
    }
    let missing = fill.missing() as f64 / fill.capacity().max(1) as f64;
    match fill.opened_at().checked_add(wait.mul_f64(missing)) {
        Some(at) if at <= now => Verdict::Close,
        Some(at) => Verdict::CloseAt(at),
        // Beyond the clock: only a full batch closes.
        None => Verdict::Fill,
    }
}

/// The batches in flight, for the one task that submits them.
struct InFlight {
    batches: Mutex<usize>,
    left: Notify,
}

impl InFlight {
    fn none() -> Arc<Self> {
        Arc::new(Self {
            batches: Mutex::new(0),
            left: Notify::new(),
        })
    }

    fn enter(self: &Arc<Self>) -> Place {
        *self.batches.lock() += 1;
        Place(Arc::clone(self))
    }

    fn now(&self) -> usize {
        *self.batches.lock()
    }

    /// Waits until fewer than `limit` are in flight, which is asked for again each time.
    async fn below(&self, limit: impl Fn() -> usize) {
        while self.now() >= limit().max(1) {
            self.left.notified().await;
        }
    }
}

/// A batch in flight; dropped when it has left the lanes.
struct Place(Arc<InFlight>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.batches.lock() -= 1;
        // If no task waits, the notification is stored: the next wait ends at once.
        self.0.left.notify_one();
    }
}

/// The rule, with the clock and the devices of a running stream.
struct WhenIdle<'a> {
    schedule: &'a Streaming,
    in_flight: Arc<InFlight>,
}

impl Closing for WhenIdle<'_> {
    async fn due(&self, fill: Fill) -> Close {
        loop {
            // A batch goes to the device with the least to do: with fewer batches than devices one is idle.
            // Without any, every batch fails at once.
            let lanes = &self.schedule.model.lanes;
            let freed = lanes.device_freed();
            let devices = lanes.devices().max(1);
            let idle = self.in_flight.now() < devices && lanes.has_idle_device();
            let wait = self.schedule.wait.of(&self.schedule.model);
            match verdict(fill, Instant::now(), idle, wait) {
                Verdict::Close => return Close::Idle,
                Verdict::CloseAt(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => {
                        // Another model may have taken the device meanwhile.
                        if lanes.has_idle_device() {
                            return Close::Idle;
                        }
                    }
                    () = self.in_flight.left.notified() => {}
                    () = freed => {}
                },
                Verdict::Fill => tokio::select! {
                    biased;
                    () = self.in_flight.left.notified() => {}
                    () = freed => {}
                },
            }
        }
    }
}

#[async_trait::async_trait]
impl Schedule for Streaming {
    async fn run(&self, datums: Datums<'_>, call: &Call<'_>) {
        let slots = self.model.ring.slots();
        let (start, started) = mpsc::channel(slots);
        let collect = async move {
            let in_flight = InFlight::none();
            let closing = WhenIdle {
                schedule: self,
                in_flight: Arc::clone(&in_flight),
            };
            let mut collector = Collector::new(&self.model, call, datums, closing);
            while let Some(batch) = collector.next().await {
                call.mark_filled(&batch);
                in_flight.below(|| self.depth.places()).await;
                call.mark_submission();
                let running = self.model.start_batch(batch, in_flight.enter());
                if start.send(running).await.is_err() {
                    break; // Never: the receiver below outlives it.
                }
                if let Some((collection, inference)) = call.per_batch(DEPTH_OVER) {
                    self.depth.note(collection, inference);
                }
            }
            call.mark_collected();
        };
        tokio::join!(collect, answer(call, ReceiverStream::new(started), slots));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn filled(opened: Instant, frames: usize, capacity: usize) -> Fill {
        let mut fill = Fill::opened(opened, capacity, None);
        for _ in 0..frames {
            fill.add();
        }
        fill
    }

    #[test]
    fn nothing_closes_a_short_batch_while_every_device_is_busy() {
        let start = Instant::now();
        let fill = filled(start, 7, 8);
        for (after, wait) in [(0, 0), (1_000_000, 0), (1_000_000, 1)] {
            let verdict = verdict(fill, start + after * MS, false, wait * MS);
            assert_eq!(verdict, Verdict::Fill);
        }
    }

    #[test]
    fn without_a_wait_a_short_batch_closes_when_a_device_is_idle() {
        let start = Instant::now();
        let verdict = verdict(filled(start, 1, 8), start, true, Duration::ZERO);
        assert_eq!(verdict, Verdict::Close);
    }

    #[test]
    fn the_wait_shrinks_with_each_frame() {
        let start = Instant::now();
        let closes = |frames| verdict(filled(start, frames, 8), start, true, 80 * MS);
        assert_eq!(closes(1), Verdict::CloseAt(start + 70 * MS));
        assert_eq!(closes(4), Verdict::CloseAt(start + 40 * MS));
        assert_eq!(closes(7), Verdict::CloseAt(start + 10 * MS));
    }

    #[test]
    fn a_wait_beyond_the_clock_leaves_full_batches_only() {
        let start = Instant::now();
        let verdict = verdict(filled(start, 1, 8), start, true, Duration::MAX);
        assert_eq!(verdict, Verdict::Fill);
    }

    proptest! {
        /// A batch that is to close at a time does close then, and not a nanosecond before.
        #[test]
        fn a_batch_closes_at_the_time_that_was_given(
            frames in 1usize..64, more in 1usize..64, wait in 0u64..10_000_000_000, late in 0u64..10_000_000_000,
        ) {
            let start = Instant::now();
            let fill = filled(start, frames, frames + more);
            let wait = Duration::from_nanos(wait);
            let at = |now| verdict(fill, now, true, wait);
            match at(start) {
                Verdict::CloseAt(due) => {
                    prop_assert!(due <= start + wait);
                    prop_assert_eq!(at(due + Duration::from_nanos(late)), Verdict::Close);
                    prop_assert_eq!(at(due - Duration::from_nanos(1)), Verdict::CloseAt(due));
                }
                Verdict::Close => prop_assert!(wait < Duration::from_nanos(64)),
                Verdict::Fill => prop_assert!(false, "a device is idle"),
            }
        }
    }
}
