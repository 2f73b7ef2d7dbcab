//! NVIDIA TensorRT engine files (`.engine`, `.plan`, `.trt`).
//!
//! This build has no TensorRT: asked for an engine file it says so and names what runs instead. The
//! engine fills this folder behind the same `Engine` and `Session` traits:
//! sessions are opened on their lane's thread, and `Engine::allocate` is where page-locked
//! memory comes in.

use super::{Engine, EngineError};
use std::path::Path;
use std::sync::Arc;

/// Refuses `path`, saying what to use instead.
///
/// # Errors
/// Always [`EngineError::NoEngine`] in this build.
pub fn load(path: &Path) -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::NoEngine {
        path: path.to_owned(),
        reason: "it is a TensorRT engine file, and this build has no TensorRT; give the model's \
                 .onnx file with --model-path to run it on the CPU"
            .to_owned(),
    })
}
