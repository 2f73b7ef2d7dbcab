//! The GPU code, run on machines without a GPU: the real program on a stand-in for the NVIDIA driver and TensorRT.
//!
//! `tests/stand_in` holds the stand-in and says what it can tell and what it cannot. The program's answers come
//! over its socket; what it did to the device is in the report that the stand-in writes as the process ends.
//! Nothing here depends on how long anything takes.

// Tests and their helpers stop at the first surprise; clippy.toml's leave reaches only the tests themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

/// `beamflow inspect` and `beamflow bench-engine`.
mod commands;
/// What the device does wrong, and what becomes of the frames.
mod faults;
/// Building the stand-in.
mod fixture;
/// Frames, and what they must become.
mod frames;
/// CUDA graphs, and how a lane waits.
mod graphs;
/// The kit for machines with a card.
mod kit;
/// Device memory: too little of it, and none lost.
mod memory;
/// What a machine may lack, and what is said of it.
mod missing;
/// Results, and what is copied for them.
mod results;
/// The program on the stand-in.
mod sidecar;
