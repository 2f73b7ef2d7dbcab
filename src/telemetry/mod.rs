//! What the sidecar tells of itself: logs for people, counts for everyone else.

/// What the sidecar counts and measures.
pub mod counts;
/// A frame or a result as a PNG.
mod drawing;
/// Frames that never came.
mod gaps;
/// The last two minutes, second by second.
mod history;
/// Metrics, stats and health over HTTP.
pub(crate) mod http;
/// The datums of one call.
pub mod intake;
/// Where log lines go and how they look.
pub(crate) mod logs;
/// The names of all metrics.
mod names;
/// The newest frame beside its results.
pub mod newest;
/// Where a sidecar is in its life.
mod phase;
/// Some of many: log lines that may come once a frame.
pub(crate) mod rate;
/// What is known once the model is loaded.
pub(crate) mod running;
/// A setting in force.
pub mod setting;
/// The answer to `/stats`.
pub(crate) mod stats;
/// What the sidecar is and how it is.
pub mod status;
/// Text from outside, made fit for one line.
pub(crate) mod text;
/// The totals at one moment.
pub(crate) mod totals;
