//! What the sidecar tells of itself: logs for people, counts for everyone else.

/// What the sidecar counts and measures.
pub mod counts;
/// Frames that never came.
mod gaps;
/// The last two minutes, second by second.
mod history;
/// Metrics, stats and health over HTTP.
pub mod http;
/// The datums of one call.
pub mod intake;
/// Where log lines go and how they look.
pub mod logs;
/// The names of all metrics.
mod names;
/// The newest frame beside its results.
pub mod newest;
/// Some of many: log lines that may come once a frame.
pub mod rate;
/// What is known once the model is loaded.
pub mod running;
/// The settings in force and where each came from.
pub mod settings;
/// The answer to `/stats`.
pub mod stats;
/// What the sidecar is and how it is.
pub mod status;
/// The totals at one moment.
pub mod totals;
