//! Used in a build without TensorRT: every function returns an error that says what to use instead.

use super::BuildProgress;
use super::description::{Description, Inspection};
use super::request::{BuildRequest, ComputeCapability};
use crate::{Engine, EngineError, EngineOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REMEDY: &str = "this build of beamflow has no TensorRT: build it with --features tensorrt (TensorRT 11) or \
                      --features tensorrt-rtx (TensorRT-RTX 1.7)";

fn refusal(path: &Path, what: &str) -> EngineError {
    EngineError::NoEngine {
        path: path.to_owned(),
        reason: format!("{what}; {REMEDY}").into(),
    }
}

pub(crate) fn load(path: &Path, _: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    Err(refusal(
        path,
        "it is a TensorRT engine file (the model's .onnx file runs on the CPU)",
    ))
}

pub(crate) fn load_onnx(path: &Path, _: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    Err(refusal(path, "--device cuda needs TensorRT"))
}

pub(crate) fn build(
    request: &BuildRequest,
    _: Box<dyn BuildProgress>,
) -> Result<Description, EngineError> {
    Err(refusal(&request.model, "building an engine needs TensorRT"))
}

pub(crate) fn prebuild(
    path: &Path,
    _: &EngineOptions,
    _: ComputeCapability,
    _: Box<dyn BuildProgress>,
) -> Result<(PathBuf, Description), EngineError> {
    Err(refusal(path, "building an engine needs TensorRT"))
}

pub(crate) fn inspect(path: &Path, _: &EngineOptions) -> Result<Inspection, EngineError> {
    Inspection::from_description(path, REMEDY.to_owned())?
        .ok_or_else(|| refusal(path, "there is no description next to the engine file"))
}
