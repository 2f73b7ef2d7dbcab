//! What inference counts and measures. The names are in `crate::telemetry::names`.

/// Counters and histograms.
pub mod counts;
/// The datums of one call.
pub mod intake;
/// Counts of one model.
pub mod model;
/// What is read off a loaded model at the moment of a scrape.
pub(crate) mod running;
/// The totals at one moment.
pub(crate) mod totals;

use crate::telemetry::rate::RateLimit;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::time::Duration;

/// Log lines of one kind per [`WINDOW`], of those that may come once a frame or batch.
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

pub(super) fn lines() -> RateLimit {
    RateLimit::new(LINES, WINDOW)
}

/// Batches and read batches of 1 to 8,192 frames.
fn frames() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 14))
}

/// Times from 10 µs to 20 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-5, 2.0, 22))
}
