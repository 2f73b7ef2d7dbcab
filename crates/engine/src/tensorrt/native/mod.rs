//! TensorRT and CUDA, by way of their libraries. The only place of this program with `unsafe` in it.

/// From `.onnx` to an engine file.
mod build;
/// Engines built at start.
mod cache;
/// A loaded engine file.
mod engine;
/// The CUDA driver's side.
mod gpu;
/// How an engine's kernels come to be compiled.
mod kernels;
/// The libraries that are opened at run time.
mod library;
/// What TensorRT says.
mod messages;
/// An engine file opened on one thread.
mod plan;
/// How far a build has come.
mod progress;
/// A lane's session.
mod session;

pub(crate) use build::build;
pub(crate) use cache::load_onnx;

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
        // Without a GPU or TensorRT, or with others than the engine is for, the description has to do.
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
