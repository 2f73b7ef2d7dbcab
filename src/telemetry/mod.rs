//! What every room reports with. This room imports no other.

/// Where log lines go and how they look.
pub(crate) mod logs;
/// The names of all metrics.
pub(crate) mod names;
/// The newest frame, for a status page.
pub mod newest;
/// The message of a panic.
pub mod panic;
/// Rate limits for log lines that may come once a frame.
pub(crate) mod rate;
/// A setting in force.
pub mod setting;
/// Text from outside, made fit for one line.
pub(crate) mod text;
