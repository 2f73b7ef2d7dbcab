//! What the process counts and measures: the one source for `/metrics`, `/stats`, the last log line and tests.
//!
//! Counts are updated once per batch or call, never per pixel. At rest, frames received equal frames completed. A frame is
//! completed as done, rejected, failed, or abandoned because numa dropped its call.

use super::model::{Families, ModelCounts};
use super::totals::Totals;
use crate::frame::Rejection;
use crate::frame::numbers::{FrameNumbers, Lost};
use crate::inference::batch::Close;
use crate::inference::deliveries::Delivery;
use crate::inference::failure::Failure;
use crate::inference::ledger::Tally;
use crate::inference::schedule::Mode;
use crate::telemetry::names;
use crate::telemetry::rate::RateLimit;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// The outcomes of a frame.
const OUTCOMES: [&str; 5] = ["done", "not_finite", "rejected", "failed", "abandoned"];
const DONE: &str = "done";
const NOT_FINITE: &str = "not_finite";
const REJECTED: &str = "rejected";
const FAILED: &str = "failed";
const ABANDONED: &str = "abandoned";

/// Why the host replaces a response.
const REPLACED: [&str; 2] = ["unanswered", "too_large"];

/// One label, with values from a fixed list.
type Label = [(&'static str, &'static str); 1];
type Seconds = Counter<f64, AtomicU64>;
type Counters = Family<Label, Counter>;
type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// What the sidecar counts and measures. See the module's essay.
#[derive(Debug)]
pub struct Counts {
    mode: &'static str,
    families: Families,
    models: Mutex<Vec<Arc<ModelCounts>>>,
    calls: Counter,
    frames_received: Counter,
    received_bytes: Counter,
    sent_bytes: Counter,
    frame_latency: Histogram,
    frames_completed: Counters,
    frames_rejected: Counters,
    frames_unlisted: Counter,
    deliveries_exhausted: Counters,
    responses_replaced: Counters,
    frame_gaps: Counter,
    frame_gaps_filled: Counter,
    frame_numbers: Mutex<FrameNumbers>,
    handler_duration: Histograms,
    read_batch_frames: Histogram,
    /// Counts and sums of the histograms, which do not give them back.
    handled: Counter,
    answering: Seconds,
    latency: Seconds,
    rejection_lines: Mutex<RateLimit>,
    failure_lines: Mutex<RateLimit>,
    unlisted_lines: Mutex<RateLimit>,
    gap_lines: Mutex<RateLimit>,
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
        let lines = || Mutex::new(super::lines());
        let counts = Self {
            mode: mode.name(),
            families: Families::new(registry, mode),
            models: Mutex::default(),
            calls: Counter::default(),
            frames_received: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            frame_latency: super::seconds(),
            frames_completed: counters("outcome", &OUTCOMES),
            frames_rejected: counters("reason", &Rejection::KINDS),
            frames_unlisted: Counter::default(),
            deliveries_exhausted: counters("reason", &Failure::KINDS),
            responses_replaced: counters("reason", &REPLACED),
            frame_gaps: Counter::default(),
            frame_gaps_filled: Counter::default(),
            frame_numbers: Mutex::default(),
            handler_duration: Histograms::new_with_constructor(super::seconds),
            read_batch_frames: super::frames(),
            handled: Counter::default(),
            answering: Seconds::default(),
            latency: Seconds::default(),
            rejection_lines: lines(),
            failure_lines: lines(),
            unlisted_lines: lines(),
            gap_lines: lines(),
        };
        let r = registry;
        names::READ_BATCHES.register(r, counts.calls.clone());
        names::FRAMES_RECEIVED.register(r, counts.frames_received.clone());
        names::RECEIVED_BYTES.register(r, counts.received_bytes.clone());
        names::SENT_BYTES.register(r, counts.sent_bytes.clone());
        names::FRAME_LATENCY_SECONDS.register(r, counts.frame_latency.clone());
        names::FRAMES_COMPLETED.register(r, counts.frames_completed.clone());
        names::FRAMES_REJECTED.register(r, counts.frames_rejected.clone());
        names::FRAMES_UNLISTED.register(r, counts.frames_unlisted.clone());
        names::DELIVERIES_EXHAUSTED.register(r, counts.deliveries_exhausted.clone());
        names::RESPONSES_REPLACED.register(r, counts.responses_replaced.clone());
        names::FRAME_GAPS.register(r, counts.frame_gaps.clone());
        names::FRAME_GAPS_FILLED.register(r, counts.frame_gaps_filled.clone());
        names::HANDLER_DURATION_SECONDS.register(r, counts.handler_duration.clone());
        names::READ_BATCH_FRAMES.register(r, counts.read_batch_frames.clone());
        counts
    }

    /// The counts of a model, which begin at zero when they are first asked for.
    #[must_use]
    pub fn model(&self, name: &str) -> Arc<ModelCounts> {
        let mut models = self.models.lock();
        if let Some(known) = models.iter().find(|model| model.name == name) {
            return Arc::clone(known);
        }
        let new = Arc::new(self.families.of(name));
        models.push(Arc::clone(&new));
        new
    }

    /// Adds answered frames by outcome.
    pub fn answered(&self, tally: Tally) {
        self.completed(DONE, tally.done);
        self.completed(NOT_FINITE, tally.not_finite);
        self.completed(REJECTED, tally.rejected);
        self.completed(FAILED, tally.failed);
    }

    /// Adds an answered read batch of `frames` frames that took `total`.
    pub fn call(&self, frames: usize, total: Duration) {
        self.calls.inc();
        if frames > 0 {
            self.handled(total);
            self.read_batch_frames.observe(frames as f64);
        }
    }

    /// Adds the time from the first datum of a call to its last answer; in streaming mode a call is a datum.
    pub(crate) fn handled(&self, total: Duration) {
        self.handled.inc();
        self.answering.inc_by(total.as_secs_f64());
        self.handler_duration
            .get_or_create(&[("mode", self.mode)])
            .observe(total.as_secs_f64());
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

    /// Notes frames with these numbers and event times, in the order in which they came.
    pub(crate) fn numbered(&self, numbers: impl Iterator<Item = (u64, Option<i64>)>) {
        let mut seen = self.frame_numbers.lock();
        for (number, taken) in numbers {
            let noted = seen.note(number, taken);
            self.frame_gaps_filled.inc_by(u64::from(noted.filled));
            self.gaps(noted.lost);
        }
    }

    /// Counts gaps that are still open.
    pub(crate) fn settle_gaps(&self) {
        let lost = self.frame_numbers.lock().settle();
        self.gaps(lost);
    }

    fn gaps(&self, lost: Vec<Lost>) {
        for Lost { missing, before } in lost {
            self.frame_gaps.inc_by(missing);
            if let Some(held_back) = self.gap_lines.lock().pass(Instant::now()) {
                tracing::warn!(
                    missing,
                    before,
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

    /// Adds a response that the host replaced: the datum was not answered, or its response was too large to send.
    pub(crate) fn replaced(&self, too_large: bool) {
        let [unanswered, large] = REPLACED;
        let reason = if too_large { large } else { unanswered };
        self.responses_replaced
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    /// Adds the payloads of an answer.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.inc_by(bytes as u64);
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

    /// Adds a frame whose header no route lists, and logs it unless too many are being logged.
    pub fn unlisted(&self, frame: &str) {
        self.frames_unlisted.inc();
        if let Some(held_back) = self.unlisted_lines.lock().pass(Instant::now()) {
            tracing::warn!(
                frame,
                unlogged_before = held_back,
                "A frame has a header of the routes with a value that no route lists: it goes to the default model."
            );
        }
    }

    /// Adds a frame that has failed in its last delivery, and logs it unless too many are being logged. `is_kept`: there is a
    /// dead letter.
    pub(crate) fn exhausted(&self, id: &str, delivery: Delivery, why: &Failure, is_kept: bool) {
        let kind = why.kind();
        let label = [("reason", kind)];
        self.deliveries_exhausted.get_or_create(&label).inc();
        let Some(held_back) = self.failure_lines.lock().pass(Instant::now()) else {
            return;
        };
        let deliveries = delivery.number;
        if is_kept {
            tracing::warn!(
                datum = id,
                deliveries,
                kind,
                unlogged_before = held_back,
                "A frame failed in its last delivery and becomes a dead letter: {why}."
            );
        } else {
            tracing::error!(
                datum = id,
                deliveries,
                kind,
                unlogged_before = held_back,
                "A frame failed in its last delivery and is dropped: {why}."
            );
        }
    }

    /// Logs a frame that is dropped because it failed, unless too many are being logged.
    pub(crate) fn dropped(&self, id: &str, why: &Failure) {
        if let Some(held_back) = self.failure_lines.lock().pass(Instant::now()) {
            tracing::error!(
                datum = id,
                kind = why.kind(),
                unlogged_before = held_back,
                "A frame failed and is dropped: {why}."
            );
        }
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let of = |family: &Counters, name, value| family.get_or_create(&[(name, value)]).get();
        let [done, not_finite, rejected, failed, abandoned] =
            OUTCOMES.map(|outcome| of(&self.frames_completed, "outcome", outcome));
        let models = self.models.lock();
        let sum = |of: &dyn Fn(&ModelCounts) -> u64| models.iter().map(|model| of(model)).sum();
        let closed = |close| sum(&|model: &ModelCounts| model.closed(close));
        let (full, timed_out): (u64, u64) = (closed(Close::Full), closed(Close::TimedOut));
        let exhausted = Failure::KINDS
            .iter()
            .map(|reason| of(&self.deliveries_exhausted, "reason", reason));
        let reasons = Rejection::KINDS
            .iter()
            .map(|reason| (*reason, of(&self.frames_rejected, "reason", reason)))
            .filter(|(_, frames)| *frames > 0);
        Totals {
            calls: self.calls.get(),
            frames: done + not_finite + rejected + failed,
            done,
            not_finite,
            rejected,
            failed,
            abandoned,
            exhausted: exhausted.sum(),
            frames_with_bad_pixels: sum(&|model| model.frames_with_bad_pixels.get()),
            bad_pixels: sum(&|model| model.bad_pixels.get()),
            gaps: self
                .frame_gaps
                .get()
                .saturating_sub(self.frame_gaps_filled.get()),
            batches: sum(&|model| Close::ALL.map(|close| model.closed(close)).iter().sum()),
            full_batches: full,
            timed_out_batches: timed_out,
            batched_frames: sum(&|model| model.batched_frames.get()),
            padding: sum(&|model| model.padding.get()),
            retries: sum(&|model| model.retries.get()),
            lanes_replaced: sum(&|model| model.lanes_replaced.get()),
            handled: self.handled.get(),
            answering_seconds: self.answering.get(),
            latency_seconds: self.latency.get(),
            rejections: reasons.collect(),
        }
    }
}
