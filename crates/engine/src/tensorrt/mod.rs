//! NVIDIA TensorRT engines.
//!
//! Two flavours, by Cargo feature: `tensorrt` (TensorRT 11) and `tensorrt-rtx` (TensorRT-RTX 1.7). A build has one of
//! them or none. The libraries and the NVIDIA driver are opened when the first engine file is loaded, so one
//! binary runs everywhere. If a library is missing, the error says what was found and what is needed.
//!
//! ```text
//!  model.onnx ── build ──▶ model.engine + model.engine.json ── load ──▶ Engine ── open_session ──▶ lane
//!                              (description: what is in it, and for which TensorRT and GPU)
//! ```
//!
//! What always holds:
//! - everything a session uses (runtime, engine, execution context, stream, device buffers, graph) is made on its
//!   lane's thread and dropped there;
//! - a run returns only when the GPU no longer uses the memory of the batch, also after an error;
//! - an error of the CUDA driver in a run is `EngineError::DeviceLost`, because the context cannot be trusted after it.
//!   The exception is a refused launch on a stream that still answers;
//! - `native` is the only module of the program with `unsafe`.

/// What an engine file holds, as written beside it.
pub mod description;
/// What is to be built.
pub mod request;

#[cfg(not(any(feature = "tensorrt", feature = "tensorrt-rtx")))]
mod absent;
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
#[allow(unsafe_code)]
mod native;

#[cfg(all(feature = "tensorrt", feature = "tensorrt-rtx"))]
compile_error!(
    "the features tensorrt and tensorrt-rtx exclude each other: the binding is compiled against the headers of one"
);

#[cfg(not(any(feature = "tensorrt", feature = "tensorrt-rtx")))]
use absent as flavour;
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
use native as flavour;

use super::{Engine, EngineError, EngineOptions};
use description::{Description, Inspection};
use request::BuildRequest;
use std::path::Path;
use std::sync::Arc;

/// Loads the engine file at `path`.
///
/// # Errors
/// [`EngineError::NoEngine`] where TensorRT, the driver or a GPU is missing or of the wrong version,
/// [`EngineError::Load`] and [`EngineError::Unsuitable`] where the file is not one that frames can be run through.
pub fn load(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    flavour::load(path, options)
}

/// Loads the engine built from the `.onnx` file at `path` for the GPU at hand, building it first if the cache
/// has none.
///
/// # Errors
/// As [`load`], and [`EngineError::Build`].
pub fn load_onnx(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    flavour::load_onnx(path, options)
}

/// Builds an engine file, and the description beside it.
///
/// # Errors
/// [`EngineError::NoEngine`] where TensorRT is missing, [`EngineError::Build`] where it cannot build this.
pub fn build(
    request: &BuildRequest,
    progress: Box<dyn BuildProgress>,
) -> Result<Description, EngineError> {
    flavour::build(request, progress)
}

/// What the engine file at `path` holds: from the engine itself where there is a GPU, else from the description
/// beside it.
///
/// # Errors
/// As [`load`], where there is neither.
pub fn inspect(path: &Path, options: &EngineOptions) -> Result<Inspection, EngineError> {
    flavour::inspect(path, options)
}

/// The observer of a build.
pub trait BuildProgress: Send + Sync {
    /// `step` of the `steps` steps of `phase` are done.
    fn step(&self, phase: &str, step: usize, steps: usize);
}
