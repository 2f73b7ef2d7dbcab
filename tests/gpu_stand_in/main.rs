//! Tests of the GPU code without a GPU: the real program runs on a stand-in for the NVIDIA driver and TensorRT.
//!
//! `tests/stand_in` holds the stand-in and documents what it can and cannot detect. The tests read the
//! program's answers from its socket, and its use of the device from the report that the stand-in writes when
//! the process ends. No test depends on timing.

// Tests and their helpers may panic; clippy.toml allows it only in the tests themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

/// `beamflow inspect` and `beamflow bench-engine`.
mod commands;
/// Faults of the device, and the outcomes of frames.
mod faults;
/// Building the stand-in.
mod fixture;
/// Frames, and their expected results.
mod frames;
/// CUDA graphs, and the ways to wait for the device.
mod graphs;
/// The kit for machines with a card.
mod kit;
/// Device memory: too little of it, and leaks.
mod memory;
/// Missing parts of a machine, and the messages about them.
mod missing;
/// The same for onnxruntime's CUDA provider.
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
/// Results, and the bytes copied for them.
mod results;
/// The program on the stand-in.
mod sidecar;
