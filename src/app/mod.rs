//! Wiring: one file for each kind of vertex. It ties the rooms below together, from start to drained stop.

/// The models of a file, without serving.
pub(crate) mod check;
/// Why a map vertex stops.
mod error;
/// How the process ends when something in it hangs.
pub(crate) mod exit;
/// The sink vertex: results as files.
#[cfg(feature = "hdf5")]
pub(crate) mod file_sink;
/// The map vertex, hosted: from start to drained stop.
pub mod map;
/// The sink vertex: results as PVs.
#[cfg(feature = "pva")]
pub(crate) mod pva_sink;
/// The source vertex: a detector's PVs.
#[cfg(feature = "pva")]
pub(crate) mod pva_source;
/// The models of a map vertex: engines → lanes → schedules → handler.
mod sidecar;
/// SIGTERM and SIGINT.
pub(crate) mod signals;
/// The source vertex: a simulated detector.
pub(crate) mod source;
