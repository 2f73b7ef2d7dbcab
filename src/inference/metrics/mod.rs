//! What inference counts and measures. The names are in `crate::telemetry::names`.

/// Counters and histograms.
pub mod counts;
/// Frame numbers that never came.
mod gaps;
/// The datums of one call.
pub mod intake;
/// What is read off a loaded model at the moment of a scrape.
pub(crate) mod running;
/// The totals at one moment.
pub(crate) mod totals;
