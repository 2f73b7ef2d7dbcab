//! What is counted and measured of one model, under the label `model`.
//!
//! `Families` are registered once, whatever number of models there is. `ModelCounts` holds the series of one model, so that
//! a batch is counted without looking its labels up.

use crate::engine::StageTimes;
use crate::inference::batch::Close;
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
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The outcomes of a frame that is answered, in the order of [`ModelCounts::answered`].
const OUTCOMES: [&str; 4] = ["done", "not_finite", "rejected", "failed"];

/// `model` and further labels with values from fixed lists.
type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

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
    /// How long they took to be decoded and converted, one after the other; compressed ones are decoded side by side.
    pub decoding: Duration,
}

/// The metrics of all models, by the label `model`.
#[derive(Debug)]
pub(super) struct Families {
    mode: Mode,
    batches: Counters,
    batch_frames: Histograms,
    padding: Counters,
    retries: Counters,
    lanes_replaced: Counters,
    engine_errors: Counters,
    frames_with_bad_pixels: Counters,
    bad_pixels: Counters,
    results_not_finite: Counters,
    frames: Counters,
    backlog_full: Counters,
    stage_duration: Histograms,
}

impl Families {
    pub(super) fn new(registry: &mut Registry, mode: Mode) -> Self {
        let families = Self {
            mode,
            batches: Counters::default(),
            batch_frames: Histograms::new_with_constructor(super::frames),
            padding: Counters::default(),
            retries: Counters::default(),
            lanes_replaced: Counters::default(),
            engine_errors: Counters::default(),
            frames_with_bad_pixels: Counters::default(),
            bad_pixels: Counters::default(),
            results_not_finite: Counters::default(),
            frames: Counters::default(),
            backlog_full: Counters::default(),
            stage_duration: Histograms::new_with_constructor(super::seconds),
        };
        let r = registry;
        names::BATCHES.register(r, families.batches.clone());
        names::BATCH_FRAMES.register(r, families.batch_frames.clone());
        names::BATCH_PADDING_FRAMES.register(r, families.padding.clone());
        names::BATCHES_RETRIED.register(r, families.retries.clone());
        names::LANES_REPLACED.register(r, families.lanes_replaced.clone());
        names::ENGINE_ERRORS.register(r, families.engine_errors.clone());
        names::FRAMES_WITH_BAD_PIXELS.register(r, families.frames_with_bad_pixels.clone());
        names::BAD_PIXELS.register(r, families.bad_pixels.clone());
        names::RESULTS_NOT_FINITE.register(r, families.results_not_finite.clone());
        names::MODEL_FRAMES.register(r, families.frames.clone());
        names::BACKLOG_FULL.register(r, families.backlog_full.clone());
        names::STAGE_DURATION_SECONDS.register(r, families.stage_duration.clone());
        families
    }

    /// The series of a model. They are there from the start, at zero, so that a rate over them is right from the first
    /// batch on.
    pub(super) fn of(&self, model: &str) -> ModelCounts {
        let labels = |others: &[(&'static str, &str)]| -> Labels {
            let others = others
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            std::iter::once(("model", model.to_owned()))
                .chain(others)
                .collect()
        };
        let alone = labels(&[]);
        let counter = |family: &Counters, labels| family.get_or_create(&labels).clone();
        let stage = |stage| {
            let labels = labels(&[("stage", stage)]);
            self.stage_duration.get_or_create(&labels).clone()
        };
        ModelCounts {
            name: model.to_owned(),
            batches: Close::ALL.map(|close| {
                let labels = labels(&[("mode", self.mode.name()), ("close", close.label())]);
                (close, counter(&self.batches, labels))
            }),
            batch_frames: self.batch_frames.get_or_create(&alone).clone(),
            batched_frames: Counter::default(),
            padding: counter(&self.padding, alone.clone()),
            retries: counter(&self.retries, alone.clone()),
            lanes_replaced: counter(&self.lanes_replaced, alone.clone()),
            frames_with_bad_pixels: counter(&self.frames_with_bad_pixels, alone.clone()),
            bad_pixels: counter(&self.bad_pixels, alone.clone()),
            results_not_finite: counter(&self.results_not_finite, alone.clone()),
            backlog_full: counter(&self.backlog_full, alone),
            frames: OUTCOMES.map(|outcome| counter(&self.frames, labels(&[("outcome", outcome)]))),
            engine_errors: Failure::KINDS.map(|kind| {
                (
                    kind,
                    counter(&self.engine_errors, labels(&[("kind", kind)])),
                )
            }),
            stages: Stages {
                decode: stage("decode"),
                fill: stage("fill"),
                wait: stage("wait"),
                copy_in: stage("copy_in"),
                compute: stage("compute"),
                copy_out: stage("copy_out"),
                encode: stage("encode"),
            },
            failure_lines: Mutex::new(super::lines()),
            bad_pixel_lines: Mutex::new(super::lines()),
            not_finite_lines: Mutex::new(super::lines()),
            backlog_lines: Mutex::new(super::lines()),
        }
    }
}

/// The times of a batch.
#[derive(Debug)]
struct Stages {
    decode: Histogram,
    fill: Histogram,
    wait: Histogram,
    copy_in: Histogram,
    compute: Histogram,
    copy_out: Histogram,
    encode: Histogram,
}

/// The counts of one model. See the module's essay.
#[derive(Debug)]
pub struct ModelCounts {
    pub(super) name: String,
    batches: [(Close, Counter); Close::ALL.len()],
    batch_frames: Histogram,
    /// The sum of `batch_frames`, which the histogram does not give back.
    pub(super) batched_frames: Counter,
    pub(super) padding: Counter,
    pub(super) retries: Counter,
    pub(super) lanes_replaced: Counter,
    engine_errors: [(&'static str, Counter); Failure::KINDS.len()],
    stages: Stages,
    pub(super) frames_with_bad_pixels: Counter,
    pub(super) bad_pixels: Counter,
    pub(super) results_not_finite: Counter,
    frames: [Counter; OUTCOMES.len()],
    backlog_full: Counter,
    failure_lines: Mutex<RateLimit>,
    bad_pixel_lines: Mutex<RateLimit>,
    not_finite_lines: Mutex<RateLimit>,
    backlog_lines: Mutex<RateLimit>,
}

fn observe(stage: &Histogram, time: Duration) {
    stage.observe(time.as_secs_f64());
}

impl ModelCounts {
    /// Adds a batch that is about to be computed.
    pub fn batch(&self, batch: BatchNote) {
        for (close, batches) in &self.batches {
            if *close == batch.close {
                batches.inc();
            }
        }
        self.batch_frames.observe(batch.frames as f64);
        self.batched_frames.inc_by(batch.frames as u64);
        self.padding.inc_by(batch.padding as u64);
        observe(&self.stages.decode, batch.decoding);
        observe(&self.stages.fill, batch.filling);
    }

    /// Adds a run that succeeded, after `waited` in the queue.
    pub fn ran(&self, waited: Duration, times: StageTimes) {
        observe(&self.stages.wait, waited);
        observe(&self.stages.copy_in, times.copy_in);
        observe(&self.stages.compute, times.compute);
        observe(&self.stages.copy_out, times.copy_out);
    }

    /// Adds the time that a batch's results took to encode.
    pub fn encoded(&self, time: Duration) {
        observe(&self.stages.encode, time);
    }

    /// Adds a run that failed.
    pub fn engine_error(&self, failure: &Failure) {
        for (kind, errors) in &self.engine_errors {
            if *kind == failure.kind() {
                errors.inc();
            }
        }
    }

    /// Whether a line about a failed batch may be logged: if so, how many were left out before it.
    pub fn failure_line(&self) -> Option<u64> {
        self.failure_lines.lock().pass(Instant::now())
    }

    /// Adds a frame with `pixels` bad pixels, which were replaced, and logs it unless too many are being logged.
    pub fn bad_pixels(&self, frame: &str, pixels: usize) {
        self.frames_with_bad_pixels.inc();
        self.bad_pixels.inc_by(pixels as u64);
        if let Some(held_back) = self.bad_pixel_lines.lock().pass(Instant::now()) {
            tracing::warn!(
                frame,
                pixels,
                unlogged_before = held_back,
                "Pixels of a frame are bad and were replaced. If they are gaps of the detector, name them in --mask."
            );
        }
    }

    /// Adds a frame of whose results `values` values are not finite, and logs it unless too many are being logged.
    pub fn not_finite(&self, values: usize) {
        self.results_not_finite.inc();
        if let Some(held_back) = self.not_finite_lines.lock().pass(Instant::now()) {
            tracing::warn!(
                values,
                unlogged_before = held_back,
                "A result has values that are no finite numbers; --on-nonfinite says what is answered."
            );
        }
    }

    /// Adds answered frames by outcome.
    pub(crate) fn answered(&self, tally: Tally) {
        let counts = [tally.done, tally.not_finite, tally.rejected, tally.failed];
        for (frames, count) in self.frames.iter().zip(counts) {
            frames.inc_by(count as u64);
        }
    }

    /// Answered frames by outcome.
    #[must_use]
    pub(crate) fn frames(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.frames.iter().map(Counter::get);
        OUTCOMES.into_iter().zip(counts).collect()
    }

    /// Adds a frame for which the backlog had no room, and logs it unless too many are being logged.
    pub fn backlog_full(&self) {
        self.backlog_full.inc();
        if let Some(held_back) = self.backlog_lines.lock().pass(Instant::now()) {
            tracing::warn!(
                model = self.name,
                unlogged_before = held_back,
                "The backlog of a model is full: frames of all models wait for it. Raise its backlog to \
                 limits.readBatchSize of the vertex, in streaming mode to limits.concurrency."
            );
        }
    }

    /// Adds a batch run a second time.
    pub fn retry(&self) {
        self.retries.inc();
    }

    /// Adds a lane that was abandoned and replaced.
    pub fn lane_replaced(&self) {
        self.lanes_replaced.inc();
    }

    /// Batches that closed for this reason.
    pub(super) fn closed(&self, close: Close) -> u64 {
        let of = self.batches.iter().find(|(known, _)| *known == close);
        of.map_or(0, |(_, batches)| batches.get())
    }
}
