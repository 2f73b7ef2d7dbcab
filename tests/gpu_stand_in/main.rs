//! Tests of the GPU code without a GPU: the real program runs on a stand-in for the NVIDIA driver and TensorRT.
//!
//! `tests/stand_in` holds the stand-in and documents what it can and cannot detect. The tests read the
//! program's answers from its socket, and its use of the device from the report that the stand-in writes when
//! the process ends. No test depends on timing.

#![cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
// Tests and their helpers may panic; clippy.toml allows it only in the tests themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

/// Engines for the GPU at hand.
#[cfg(feature = "tensorrt-rtx")]
mod build;
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
/// Kernels that TensorRT-RTX compiles just in time.
mod kernels;
/// The kit for machines with a card.
#[cfg(feature = "tensorrt-rtx")]
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
