//! The totals at one moment, and the rates between two of them.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The totals at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Calls answered.
    pub calls: u64,
    /// Datums answered.
    pub frames: u64,
    /// Of these, with results.
    pub done: u64,
    /// Of these, with results that have NaN or infinite values.
    pub not_finite: u64,
    /// Of these, wrong in themselves.
    pub rejected: u64,
    /// Of these, failed by the engine.
    pub failed: u64,
    /// Of these, in their last delivery.
    pub exhausted: u64,
    /// Frames in which bad pixels were replaced.
    pub frames_with_bad_pixels: u64,
    /// Pixels that were replaced.
    pub bad_pixels: u64,
    /// Datums whose call numa gave up.
    pub abandoned: u64,
    /// Frames whose numbers were left out upstream, without those that came late.
    pub(crate) gaps: u64,
    /// Batches computed, whatever their outcome.
    pub batches: u64,
    /// Of these, closed because they were full.
    pub full_batches: u64,
    /// Of these, closed because their oldest frame had waited long enough.
    pub timed_out_batches: u64,
    /// Frames in them.
    pub(crate) batched_frames: u64,
    /// Rows computed beyond the frames, because the model's batch is fixed.
    pub padding: u64,
    /// Batches run a second time.
    pub retries: u64,
    /// Lanes abandoned because they hung.
    pub lanes_replaced: u64,
    /// Calls whose time is in `answering_seconds`: read batches, or the datums of streams.
    pub(crate) handled: u64,
    /// From first datum to last answer, over these calls, in seconds.
    pub(crate) answering_seconds: f64,
    /// From event time to answer, over all datums, in seconds.
    pub(crate) latency_seconds: f64,
    /// Rejected frames by reason, in answered calls and others.
    pub rejections: BTreeMap<&'static str, u64>,
}

/// The rates between two totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Recent {
    /// The time between them.
    pub(crate) seconds: f64,
    /// Datums answered.
    pub(crate) frames: u64,
    /// Of these, wrong in themselves.
    pub(crate) rejected: u64,
    /// Of these, failed by the engine.
    pub(crate) failed: u64,
    /// Batches computed.
    pub(crate) batches: u64,
    /// Datums answered per second.
    pub(crate) frames_per_second: f64,
    /// Frames in a batch, in the mean; none without a batch.
    pub(crate) batch_frames: Option<f64>,
    /// Datums in a read batch, in the mean; none without a call.
    pub(crate) read_batch_frames: Option<f64>,
    /// From a read batch's first datum to its last answer, in streaming mode from datum to answer, in the mean.
    pub(crate) answer_seconds: Option<f64>,
    /// From a datum's event time to its answer, in the mean.
    pub(crate) latency_seconds: Option<f64>,
}

impl Recent {
    /// What happened from `before` to `now`, in `time`.
    #[must_use]
    pub(crate) fn between(before: &Totals, now: &Totals, time: Duration) -> Self {
        let frames = now.frames.saturating_sub(before.frames);
        let batches = now.batches.saturating_sub(before.batches);
        let calls = now.calls.saturating_sub(before.calls);
        let handled = now.handled.saturating_sub(before.handled);
        let batched = now.batched_frames.saturating_sub(before.batched_frames);
        let mean = |sum: f64, of: u64| (of > 0).then(|| sum / of as f64);
        let seconds = time.as_secs_f64();
        Self {
            seconds,
            frames,
            rejected: now.rejected.saturating_sub(before.rejected),
            failed: now.failed.saturating_sub(before.failed),
            batches,
            frames_per_second: if seconds > 0.0 {
                frames as f64 / seconds
            } else {
                0.0
            },
            batch_frames: mean(batched as f64, batches),
            read_batch_frames: mean(frames as f64, calls),
            answer_seconds: mean(now.answering_seconds - before.answering_seconds, handled),
            latency_seconds: mean(now.latency_seconds - before.latency_seconds, frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_means_are_those_of_the_time_between() {
        let before = Totals {
            calls: 10,
            frames: 100,
            batches: 20,
            batched_frames: 90,
            handled: 10,
            answering_seconds: 5.0,
            latency_seconds: 50.0,
            ..Totals::default()
        };
        let now = Totals {
            calls: 12,
            frames: 140,
            rejected: 4,
            batches: 26,
            batched_frames: 126,
            handled: 12,
            answering_seconds: 6.0,
            latency_seconds: 70.0,
            ..Totals::default()
        };
        let recent = Recent::between(&before, &now, Duration::from_secs(10));
        assert_eq!(recent.frames_per_second, 4.0);
        assert_eq!(recent.rejected, 4);
        assert_eq!(recent.batch_frames, Some(6.0));
        assert_eq!(recent.read_batch_frames, Some(20.0));
        assert_eq!(recent.answer_seconds, Some(0.5));
        assert_eq!(recent.latency_seconds, Some(0.5));
    }

    #[test]
    fn where_nothing_happened_there_is_no_mean() {
        let recent = Recent::between(&Totals::default(), &Totals::default(), Duration::ZERO);
        assert_eq!(recent, Recent::default());
    }
}
