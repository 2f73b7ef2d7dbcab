//! NVIDIA TensorRT engines.
//!
//! There are two flavours, selected by Cargo feature: `tensorrt` (TensorRT 11) and `tensorrt-rtx` (TensorRT-RTX 1.7). A
//! build has one of them or none. The libraries and the NVIDIA driver are opened when the first engine file is loaded,
//! so one binary runs on every machine. If a library is missing, the error says what was found and what is needed.
//!
//! ```text
//!  model.onnx ── build ──▶ model.engine + model.engine.json ── load ──▶ Engine ── open_session ──▶ lane
//!                              (description: tensors, TensorRT version, GPU generation)
//! ```
//!
//! What always holds:
//! - everything a session uses (runtime, engine, execution context, stream, device buffers, graph) is created and
//!   dropped on its lane's thread;
//! - a run returns only when the GPU no longer uses the memory of the batch, also after an error;
//! - an error of the CUDA driver during a run is `EngineError::DeviceLost`, because the context is unreliable after it.
//!   The exception is a refused launch on a stream that still works.

/// The description of an engine file, stored next to it.
pub mod description;
/// Requests to build an engine.
pub mod request;

#[cfg(not(any(feature = "tensorrt", feature = "tensorrt-rtx")))]
mod absent;
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
#[allow(unsafe_code)]
mod native;

#[cfg(all(feature = "tensorrt", feature = "tensorrt-rtx"))]
compile_error!(
    "the features tensorrt and tensorrt-rtx cannot be combined: the binding is compiled against the headers of one"
);

#[cfg(not(any(feature = "tensorrt", feature = "tensorrt-rtx")))]
use absent as flavour;
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
use native as flavour;

use super::{Engine, EngineError, EngineOptions};
use description::{Description, Inspection};
use request::{BuildRequest, ComputeCapability};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Loads the engine file at `path`.
///
/// # Errors
/// [`EngineError::NoEngine`] if TensorRT, the driver or a GPU is missing or has the wrong version,
/// [`EngineError::Load`] if the file cannot be opened as an engine, [`EngineError::Unsuitable`] if frames cannot be run
/// through it.
pub fn load(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    flavour::load(path, options)
}

/// Loads the engine for the `.onnx` file at `path` and the GPUs of this machine. Builds it first if the cache has none.
///
/// # Errors
/// Those of [`load`], and [`EngineError::Build`].
pub fn load_onnx(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    flavour::load_onnx(path, options)
}

/// Builds an engine file and the description next to it.
///
/// # Errors
/// [`EngineError::NoEngine`] if TensorRT is missing, [`EngineError::Build`] if TensorRT cannot build the engine.
pub fn build(
    request: &BuildRequest,
    progress: Box<dyn BuildProgress>,
) -> Result<Description, EngineError> {
    flavour::build(request, progress)
}

/// Builds the engine that [`load_onnx`] with the same options loads on a GPU of `capability`, into the cache, unless it is
/// there. Needs no GPU, and does not open the engine. Returns the engine file and its description.
///
/// # Errors
/// Those of [`build`], among them a compute capability that this flavour cannot build for without the GPU;
/// [`EngineError::Load`] if the model or the cache cannot be used.
pub fn prebuild(
    path: &Path,
    options: &EngineOptions,
    capability: ComputeCapability,
    progress: Box<dyn BuildProgress>,
) -> Result<(PathBuf, Description), EngineError> {
    flavour::prebuild(path, options, capability, progress)
}

/// Inspects the engine file at `path`: from the engine itself if there is a GPU, otherwise from the description next to
/// it.
///
/// # Errors
/// Those of [`load`], if there is neither.
pub fn inspect(path: &Path, options: &EngineOptions) -> Result<Inspection, EngineError> {
    flavour::inspect(path, options)
}

/// Receives the progress of a build.
pub trait BuildProgress: Send + Sync {
    /// `step` of the `steps` steps of `phase` are complete.
    fn step(&self, phase: &str, step: usize, steps: usize);
}
