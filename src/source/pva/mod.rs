//! Frames from a detector: EPICS pvAccess.
//!
//! ```text
//!  PV ══▶ monitor ──▶ rules ──▶ datum ──▶ backlog ──▶ Sourcer ──▶ numa
//!          (one task for each PV)          ▲ acks, nacks ─┘
//! ```
//!
//! - `rules`: which updates are frames, which frames are missing, and who lost them;
//! - `identity`: what a frame is called in offsets;
//! - `datum`: payload, headers and event time;
//! - `backlog`: frames that are unread, unacked or to be delivered again;
//! - `pv`: all of that for one PV, with its counts (`tally`) and log lines;
//! - `sourcer`: the SDK's `Sourcer`, and the tasks.
//!
//! What always holds:
//!
//! 1. Pixels are not changed. A compressed frame is sent on as it came.
//! 2. Every frame has one identity, the same in every pod: its PV, uniqueId and both time stamps.
//! 3. Nothing waits for Numaflow. The oldest unread frame is dropped, and counted; one that was read never is.
//! 4. `updates = frames + skipped`, and `frames = acked + dropped + unread + unacked + waiting`, at any time.

/// Frames that were received and are not acked.
pub(crate) mod backlog;
/// From an update to a datum.
mod datum;
/// The identity of a frame.
mod identity;
/// Metrics.
pub(crate) mod metrics;
/// Decompression, and pictures for the status page.
mod pixels;
/// One PV.
pub(crate) mod pv;
/// Which updates are frames.
pub(crate) mod rules;
/// Settings.
pub(crate) mod settings;
/// The SDK's `Sourcer`.
pub(crate) mod sourcer;
/// What has happened to a PV.
pub(crate) mod tally;
