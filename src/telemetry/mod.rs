//! What the sidecar tells of itself: logs for people, counts for everyone else.

/// What the sidecar counts and measures.
pub mod counts;
/// Metrics, stats and health over HTTP.
pub mod http;
/// The datums of one call.
pub mod intake;
/// Where log lines go and how they look.
pub mod logs;
/// Some of many: log lines that may come once a frame.
pub mod rate;
/// The settings in force, for `--print-config`.
pub mod settings;
/// What the sidecar is and how it is.
pub mod status;
