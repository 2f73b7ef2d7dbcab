//! TensorRT, through its library.

/// Device memory of one session.
mod buffer;
/// Builds an engine file from an `.onnx` file.
mod build;
/// Engines built at start, and their cache.
mod cache;
/// The GPUs and drivers that TensorRT runs on.
mod cards;
/// A loaded engine file.
mod engine;
/// Kernels kept for the next start.
mod kept;
/// Compilation of an engine's kernels.
mod kernels;
/// The libraries that are opened at run time.
mod library;
/// TensorRT's log lines, kept to explain errors.
mod messages;
/// An engine file opened on one thread.
mod opened;
/// An opened engine file with an execution context.
mod plan;
/// Progress of a build.
mod progress;
/// A lane's session.
mod session;
/// The GPU generation to build for.
mod target;

pub(crate) use build::build;
pub(crate) use cache::{load_onnx, prebuild};

use super::description::Inspection;
use crate::{Engine, EngineError, EngineOptions};
use engine::TensorRtEngine;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(TensorRtEngine::load(path, options)?))
}

pub(crate) fn inspect(path: &Path, options: &EngineOptions) -> Result<Inspection, EngineError> {
    let engine = match TensorRtEngine::load(path, options) {
        Ok(engine) => engine,
        // Without the GPU and the TensorRT version that the engine is for, use the description.
        Err(error) => {
            let described = match &error {
                EngineError::NoEngine { reason, .. } | EngineError::Load { reason, .. } => {
                    Inspection::from_description(path, reason.to_string())?
                }
                _ => None,
            };
            return described.ok_or(error);
        }
    };
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    Ok(Inspection {
        model: engine.model().clone(),
        opened_with: Some(engine.library()),
        opened_on: engine.opened_on()?,
        not_opened: None,
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        description: engine.into_description(),
    })
}
