//! Engines: from a batch of frames to a batch of results.
//!
//! An `Engine` is a loaded model. It opens `Session`s, and each session belongs to one lane: a
//! named OS thread that creates it, runs it and drops it. A session is plain synchronous code and
//! need not be `Send`, because it never leaves the thread that opened it; CUDA contexts and
//! TensorRT execution contexts are designed for this use. An engine may have several devices; a session is
//! opened on one of them and stays there.
//!
//! What always holds:
//! - an engine knows nothing of Numaflow, datums or calls;
//! - row `k` of every output depends on row `k` of the input alone;
//! - an engine reports errors as `EngineError`. After one for which `EngineError::is_fatal` holds, the session must be
//!   dropped;
//! - only `heap` and the modules that call NVIDIA's libraries contain `unsafe`: `cuda`, `tensorrt::native` and
//!   `onnxruntime::cuda`.

#![deny(unreachable_pub)]

/// What a file is that is not a model.
mod content;
/// What engines on NVIDIA GPUs share: the driver, memory, streams.
#[cfg(any(
    feature = "tensorrt",
    feature = "tensorrt-rtx",
    feature = "onnxruntime"
))]
#[allow(unsafe_code)]
mod cuda;
/// What can go wrong.
mod error;
/// Rewrites `.onnx` models in half precision.
pub mod fp16;
/// Memory that is freed.
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
mod heap;
/// Loads the engine for a model's name.
mod load;
/// A model's input and outputs.
mod model;
/// `.onnx` files on the CPU, in pure Rust.
pub mod onnx;
/// `.onnx` files with onnxruntime, on the CPU or on NVIDIA GPUs.
#[cfg(feature = "onnxruntime")]
pub mod onnxruntime;
/// Options for loading an engine and opening its sessions.
pub mod options;
/// Whether the lanes fit into the devices' memory.
pub mod room;
/// The rows of a batch, and the host memory that holds them.
mod rows;
/// A device with given times and scripted faults, for tests, benches and sizing.
pub mod simulated;
/// NVIDIA TensorRT engine files.
pub mod tensorrt;
/// The two traits, `Engine` and `Session`.
mod traits;
/// A trial of a model before it serves.
mod trial;

pub use error::{Cause, EngineError};
pub use load::{load, version};
pub use model::BatchDimension;
pub use model::{ModelSpec, TensorSpec};
pub use options::EngineOptions;
pub use rows::Batch;
pub use rows::{HostBuffer, HostMemory, OutputRows, ordinary_memory};
pub use traits::Engine;
pub use traits::Place;
pub use traits::{Session, StageTimes, warm_up};
pub use trial::{Trial, TrialError, trial};
