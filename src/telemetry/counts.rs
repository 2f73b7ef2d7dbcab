//! Totals of this process.
//!
//! Kept as plain atomics, added to once per batch or call, never per pixel. Of answered
//! calls, frames = done + rejected + failed; a call that numa gave up counts in batches and rejections only.

use super::rate::RateLimit;
use crate::batch::Close;
use crate::frame::Rejection;
use crate::ledger::Tally;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Lines that say why a frame was rejected, per window.
const REJECTION_LINES: u32 = 5;
const REJECTION_WINDOW: Duration = Duration::from_secs(10);

/// Totals of this process. See the module's essay.
#[derive(Debug)]
pub struct Counts {
    calls: AtomicU64,
    frames: AtomicU64,
    done: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    batches: AtomicU64,
    full_batches: AtomicU64,
    timed_out_batches: AtomicU64,
    padding: AtomicU64,
    retries: AtomicU64,
    lanes_replaced: AtomicU64,
    rejections: Mutex<Rejections>,
}

#[derive(Debug)]
struct Rejections {
    by_kind: BTreeMap<&'static str, u64>,
    lines: RateLimit,
}

/// The totals at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Calls answered.
    pub calls: u64,
    /// Datums answered.
    pub frames: u64,
    /// Of these, with results.
    pub done: u64,
    /// Of these, wrong in themselves.
    pub rejected: u64,
    /// Of these, failed by the engine.
    pub failed: u64,
    /// Batches computed, whatever their outcome.
    pub batches: u64,
    /// Of these, closed because they were full.
    pub full_batches: u64,
    /// Of these, closed because their oldest frame had waited long enough.
    pub timed_out_batches: u64,
    /// Rows computed beyond the frames, because the model's batch is fixed.
    pub padding: u64,
    /// Batches run a second time.
    pub retries: u64,
    /// Lanes abandoned because they hung.
    pub lanes_replaced: u64,
    /// Rejected frames by reason.
    pub rejections: BTreeMap<&'static str, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            done: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            full_batches: AtomicU64::new(0),
            timed_out_batches: AtomicU64::new(0),
            padding: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            lanes_replaced: AtomicU64::new(0),
            rejections: Mutex::new(Rejections {
                by_kind: BTreeMap::new(),
                lines: RateLimit::new(REJECTION_LINES, REJECTION_WINDOW),
            }),
        }
    }
}

fn add(total: &AtomicU64, n: usize) {
    total.fetch_add(n as u64, Ordering::Relaxed);
}

impl Counts {
    /// Adds an answered call.
    pub fn call(&self, tally: Tally) {
        add(&self.calls, 1);
        add(&self.frames, tally.frames);
        add(&self.done, tally.done);
        add(&self.rejected, tally.rejected);
        add(&self.failed, tally.failed);
    }

    /// Adds a batch that is about to be computed.
    pub fn batch(&self, padding: usize, close: Close) {
        add(&self.batches, 1);
        add(&self.padding, padding);
        match close {
            Close::Full => add(&self.full_batches, 1),
            Close::TimedOut => add(&self.timed_out_batches, 1),
            Close::EndOfStream => {}
        }
    }

    /// Adds a batch run a second time.
    pub fn retry(&self) {
        add(&self.retries, 1);
    }

    /// Adds a lane that was abandoned and replaced.
    pub fn lane_replaced(&self) {
        add(&self.lanes_replaced, 1);
    }

    /// Adds a rejected frame by its reason, and logs it unless too many are being logged.
    pub fn rejection(&self, frame: &str, rejection: &Rejection) {
        let mut rejections = self.rejections.lock();
        *rejections.by_kind.entry(rejection.kind()).or_default() += 1;
        if let Some(held_back) = rejections.lines.pass(Instant::now()) {
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
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Totals {
            calls: get(&self.calls),
            frames: get(&self.frames),
            done: get(&self.done),
            rejected: get(&self.rejected),
            failed: get(&self.failed),
            batches: get(&self.batches),
            full_batches: get(&self.full_batches),
            timed_out_batches: get(&self.timed_out_batches),
            padding: get(&self.padding),
            retries: get(&self.retries),
            lanes_replaced: get(&self.lanes_replaced),
            rejections: self.rejections.lock().by_kind.clone(),
        }
    }
}
