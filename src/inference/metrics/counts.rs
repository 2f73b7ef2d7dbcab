//! What the sidecar counts and measures, once for all who ask: `/metrics`, `/stats`, the last log line, tests.
//!
//! Counts are added to once per batch or call, never per pixel. At rest, frames received are the sum of frames completed: a frame is done, rejected,
//! failed, or abandoned because numa gave its call up.

use super::gaps::FrameNumbers;
use super::totals::Totals;
use crate::engine::StageTimes;
use crate::frame::Rejection;
use crate::inference::batch::Close;
use crate::inference::failure::Failure;
use crate::inference::ledger::Tally;
use crate::inference::schedule::Mode;
use crate::telemetry::names;
use crate::telemetry::rate::RateLimit;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// Lines of one kind that may come once a frame or batch, per window.
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// What can become of a frame.
const OUTCOMES: [&str; 4] = ["done", "rejected", "failed", "abandoned"];
const DONE: &str = "done";
const REJECTED: &str = "rejected";
const FAILED: &str = "failed";
const ABANDONED: &str = "abandoned";

/// One label, with values from a fixed list.
type Label = [(&'static str, &'static str); 1];
type Seconds = Counter<f64, AtomicU64>;
type Counters = Family<Label, Counter>;
type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// A batch that is about to be computed.
#[derive(Clone, Copy, Debug)]
pub struct BatchNote {
    /// Frames in it.
    pub frames: usize,
    /// Rows computed beyond them.
    pub padding: usize,
    /// Why it closed.
    pub close: Close,
    /// How long its frames took to come and be converted.
    pub filling: Duration,
    /// Of this, how long they took to be decoded and converted.
    pub decoding: Duration,
}

/// What the sidecar counts and measures. See the module's essay.
#[derive(Debug)]
pub struct Counts {
    mode: &'static str,
    calls: Counter,
    frames_received: Counter,
    received_bytes: Counter,
    sent_bytes: Counter,
    frame_latency: Histogram,
    frames_completed: Counters,
    frames_rejected: Counters,
    frame_gaps: Counter,
    frame_numbers: Mutex<FrameNumbers>,
    batches: Family<[(&'static str, &'static str); 2], Counter>,
    batch_frames: Histogram,
    padding: Counter,
    retries: Counter,
    lanes_replaced: Counter,
    engine_errors: Counters,
    handler_duration: Histograms,
    read_batch_frames: Histogram,
    stage_duration: Histograms,
    /// Sums of what the histograms hold, which do not tell theirs.
    batched_frames: Counter,
    answering: Seconds,
    latency: Seconds,
    rejection_lines: Mutex<RateLimit>,
    gap_lines: Mutex<RateLimit>,
    failure_lines: Mutex<RateLimit>,
}

/// Batches and read batches of 1 to 8,192 frames.
fn frames() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 14))
}

/// Times from 10 µs to 20 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-5, 2.0, 22))
}

fn counters(name: &'static str, values: &[&'static str]) -> Counters {
    let family = Counters::default();
    for value in values {
        // From the start, so that a rate over it is right from the first one on.
        drop(family.get_or_create(&[(name, *value)]));
    }
    family
}

impl Counts {
    /// All at zero, registered in `registry` under the names below, for a sidecar in `mode`.
    #[must_use]
    pub fn new(registry: &mut Registry, mode: Mode) -> Self {
        let lines = || Mutex::new(RateLimit::new(LINES, WINDOW));
        let counts = Self {
            mode: mode.name(),
            calls: Counter::default(),
            frames_received: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            frame_latency: seconds(),
            frames_completed: counters("outcome", &OUTCOMES),
            frames_rejected: counters("reason", &Rejection::KINDS),
            frame_gaps: Counter::default(),
            frame_numbers: Mutex::default(),
            batches: Family::default(),
            batch_frames: frames(),
            padding: Counter::default(),
            retries: Counter::default(),
            lanes_replaced: Counter::default(),
            engine_errors: counters("kind", &Failure::KINDS),
            handler_duration: Histograms::new_with_constructor(seconds),
            read_batch_frames: frames(),
            stage_duration: Histograms::new_with_constructor(seconds),
            batched_frames: Counter::default(),
            answering: Seconds::default(),
            latency: Seconds::default(),
            rejection_lines: lines(),
            gap_lines: lines(),
            failure_lines: lines(),
        };
        for close in Close::ALL {
            drop(counts.batches.get_or_create(&counts.closed(close)));
        }
        let r = registry;
        names::READ_BATCHES.register(r, counts.calls.clone());
        names::FRAMES_RECEIVED.register(r, counts.frames_received.clone());
        names::RECEIVED_BYTES.register(r, counts.received_bytes.clone());
        names::SENT_BYTES.register(r, counts.sent_bytes.clone());
        names::FRAME_LATENCY_SECONDS.register(r, counts.frame_latency.clone());
        names::FRAMES_COMPLETED.register(r, counts.frames_completed.clone());
        names::FRAMES_REJECTED.register(r, counts.frames_rejected.clone());
        names::FRAME_GAPS.register(r, counts.frame_gaps.clone());
        names::BATCHES.register(r, counts.batches.clone());
        names::BATCH_FRAMES.register(r, counts.batch_frames.clone());
        names::BATCH_PADDING_FRAMES.register(r, counts.padding.clone());
        names::BATCHES_RETRIED.register(r, counts.retries.clone());
        names::LANES_REPLACED.register(r, counts.lanes_replaced.clone());
        names::ENGINE_ERRORS.register(r, counts.engine_errors.clone());
        names::HANDLER_DURATION_SECONDS.register(r, counts.handler_duration.clone());
        names::READ_BATCH_FRAMES.register(r, counts.read_batch_frames.clone());
        names::STAGE_DURATION_SECONDS.register(r, counts.stage_duration.clone());
        counts
    }

    /// Adds an answered call that took `total`.
    pub fn call(&self, tally: Tally, total: Duration) {
        self.calls.inc();
        self.completed(DONE, tally.done);
        self.completed(REJECTED, tally.rejected);
        self.completed(FAILED, tally.failed);
        if tally.frames > 0 {
            self.answering.inc_by(total.as_secs_f64());
            self.handler_duration
                .get_or_create(&[("mode", self.mode)])
                .observe(total.as_secs_f64());
            self.read_batch_frames.observe(tally.frames as f64);
        }
    }

    fn completed(&self, outcome: &'static str, frames: usize) {
        self.frames_completed
            .get_or_create(&[("outcome", outcome)])
            .inc_by(frames as u64);
    }

    /// Adds datums that came in, and their bytes.
    pub(crate) fn received(&self, frames: usize, bytes: usize) {
        self.frames_received.inc_by(frames as u64);
        self.received_bytes.inc_by(bytes as u64);
    }

    /// Adds datums whose call was given up.
    pub(crate) fn abandoned(&self, frames: usize) {
        self.completed(ABANDONED, frames);
    }

    /// Adds the gaps before frames with these numbers, in the order in which they came.
    pub(crate) fn numbered(&self, numbers: impl Iterator<Item = u64>) {
        let mut seen = self.frame_numbers.lock();
        for number in numbers {
            let missing = seen.note(number);
            if missing == 0 {
                continue;
            }
            self.frame_gaps.inc_by(missing);
            if let Some(held_back) = self.gap_lines.lock().pass(Instant::now()) {
                tracing::warn!(
                    missing,
                    before = number,
                    unlogged_before = held_back,
                    "Frames are missing: their numbers were left out upstream."
                );
            }
        }
    }

    /// Adds the time from a datum's event to its answer.
    pub(crate) fn latency(&self, time: Duration) {
        self.frame_latency.observe(time.as_secs_f64());
        self.latency.inc_by(time.as_secs_f64());
    }

    /// Adds the payloads of an answer.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.inc_by(bytes as u64);
    }

    /// Adds a batch that is about to be computed.
    pub fn batch(&self, batch: BatchNote) {
        self.batches.get_or_create(&self.closed(batch.close)).inc();
        self.batch_frames.observe(batch.frames as f64);
        self.batched_frames.inc_by(batch.frames as u64);
        self.padding.inc_by(batch.padding as u64);
        self.stage("decode", batch.decoding);
        self.stage("fill", batch.filling);
    }

    /// The labels of a batch.
    fn closed(&self, close: Close) -> [(&'static str, &'static str); 2] {
        [("mode", self.mode), ("close", close.label())]
    }

    /// Adds a run that succeeded, after `waited` in the queue.
    pub fn ran(&self, waited: Duration, times: StageTimes) {
        self.stage("wait", waited);
        self.stage("copy_in", times.copy_in);
        self.stage("compute", times.compute);
        self.stage("copy_out", times.copy_out);
    }

    /// Adds the time that a batch's results took to encode.
    pub fn encoded(&self, time: Duration) {
        self.stage("encode", time);
    }

    fn stage(&self, stage: &'static str, time: Duration) {
        self.stage_duration
            .get_or_create(&[("stage", stage)])
            .observe(time.as_secs_f64());
    }

    /// Adds a run that failed.
    pub fn engine_error(&self, failure: &Failure) {
        self.engine_errors
            .get_or_create(&[("kind", failure.kind())])
            .inc();
    }

    /// Whether a line about a failed batch may be logged: if so, how many were not before it.
    pub fn failure_line(&self) -> Option<u64> {
        self.failure_lines.lock().pass(Instant::now())
    }

    /// Adds a batch run a second time.
    pub fn retry(&self) {
        self.retries.inc();
    }

    /// Adds a lane that was abandoned and replaced.
    pub fn lane_replaced(&self) {
        self.lanes_replaced.inc();
    }

    /// Adds a rejected frame by its reason, and logs it unless too many are being logged.
    pub fn rejection(&self, frame: &str, rejection: &Rejection) {
        self.frames_rejected
            .get_or_create(&[("reason", rejection.kind())])
            .inc();
        if let Some(held_back) = self.rejection_lines.lock().pass(Instant::now()) {
            tracing::warn!(
                frame,
                reason = rejection.kind(),
                unlogged_before = held_back,
                "A frame is rejected: {rejection}."
            );
        }
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let of = |family: &Counters, name, value| family.get_or_create(&[(name, value)]).get();
        let [done, rejected, failed, abandoned] =
            OUTCOMES.map(|outcome| of(&self.frames_completed, "outcome", outcome));
        let closed = |close| self.batches.get_or_create(&self.closed(close)).get();
        let (full, timed_out) = (closed(Close::Full), closed(Close::TimedOut));
        let reasons = Rejection::KINDS
            .iter()
            .map(|reason| (*reason, of(&self.frames_rejected, "reason", reason)))
            .filter(|(_, frames)| *frames > 0);
        Totals {
            calls: self.calls.get(),
            frames: done + rejected + failed,
            done,
            rejected,
            failed,
            abandoned,
            gaps: self.frame_gaps.get(),
            batches: full + timed_out + closed(Close::EndOfStream),
            full_batches: full,
            timed_out_batches: timed_out,
            batched_frames: self.batched_frames.get(),
            padding: self.padding.get(),
            retries: self.retries.get(),
            lanes_replaced: self.lanes_replaced.get(),
            answering_seconds: self.answering.get(),
            latency_seconds: self.latency.get(),
            rejections: reasons.collect(),
        }
    }
}
