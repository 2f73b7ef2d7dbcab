//! beamflow: a Numaflow sidecar that runs detector frames through a neural network, in batches.
//!
//! ```text
//!   numa ══ gRPC over a Unix socket ══▶ vertex ── datums ──▶ inference ── answers ──▶ numa
//!                                                              │   ▲
//!                                                frame ▶ slot ▶ lane ▶ engine
//! ```
//!
//! `ARCHITECTURE.md` has the map: a caption for each room, the arrows that are allowed between them, the invariants, and
//! the ways of a datum, a flag, an error and a metric. `tests/architecture.rs` holds the imports against it.

// The walls. `pub` is only what tests, benches and fuzz targets use; clippy.toml gives a reason for each ban.
#![forbid(unsafe_code)]
#![deny(unreachable_pub)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::disallowed_types, dead_code)
)]

/// Wiring: from the settings to the drained stop, one file for each kind of vertex.
pub mod app;
/// The command line.
pub mod cli;
/// What the program does besides serving.
pub mod commands;
/// The settings of a sidecar, checked.
pub mod config;
/// One answer for every datum, whatever fails.
pub mod inference;
/// From the command line to the exit code.
mod program;
/// Where results go.
#[cfg(any(feature = "pva", feature = "hdf5"))]
pub(crate) mod sink;
/// Where frames come from.
pub(crate) mod source;
/// The status page, metrics and health over HTTP.
pub mod status;
/// Logs, metric names, rate limits, text.
pub mod telemetry;
/// Numaflow's protocols.
pub mod vertex;

/// A model on a device: the crate `crates/engine`.
pub use beamflow_engine as engine;
/// What a datum means, and what a result looks like: the crate `crates/frame`.
pub use beamflow_frame as frame;
/// The simulated experiment, and pictures of it: the crate `crates/lab`.
pub use beamflow_lab as lab;
pub(crate) use beamflow_mosaic as mosaic;
/// EPICS pvAccess: the crate `crates/pva`.
#[cfg(feature = "pva")]
pub use beamflow_pva as pva;

pub use program::run;
